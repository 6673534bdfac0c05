"""Teams: processes that have to take turns, because they run domains of the same sharing group."""

from array import array
from collections.abc import Iterable

import numpy

from hypervisor.groups import Groups
from hypervisor.run_queue import RunQueue, queue_of
from hypervisor.tables import DomainState, DomainTable, VcpuTable

_NDArray = "numpy.typing.NDArray[numpy.int64]"


def teams_of(processes: int, linked: Iterable[set[int]]) -> "array[int]":
    """By process, the lowest process that it has to take turns with, over any number of others; `linked` are the sets
    of processes that share a group."""
    team = array("I", range(processes))

    def find(process: int) -> int:
        while team[process] != process:
            team[process] = team[team[process]]
            process = team[process]
        return process

    for together in linked:
        lowest = min(map(find, together))
        for process in together:
            team[find(process)] = lowest
    for process in range(processes):
        team[process] = find(process)
    return team


class GroupRows:
    """The vCPU rows of each sharing group, and a run queue over them, kept for as long as the group stays as it is."""

    def __init__(self, groups: Groups, domains: DomainTable, vcpus: VcpuTable) -> None:
        self._groups, self._vcpus = groups, vcpus
        self._states = numpy.frombuffer(domains.state, numpy.uint8)
        self._domids = numpy.frombuffer(vcpus.domid, numpy.uint16)
        self._processes = numpy.frombuffer(vcpus.process, numpy.uint16)
        self._queues: dict[int, tuple[list[int], RunQueue]] = {}

    def rows(self) -> list[list[int]]:
        """The rows of each group with a domain that has not ended, groups in order of their names."""
        domids = self._domids
        states = self._states[domids]
        rows = numpy.flatnonzero((domids != 0) & (states != DomainState.FREE) & (states != DomainState.DEAD))
        if not len(rows):
            return []
        leaders = numpy.frombuffer(self._groups.table.leader, numpy.uint16)[domids[rows]]
        order = numpy.argsort(leaders, kind="stable")
        cuts = numpy.flatnonzero(numpy.diff(leaders[order])) + 1
        return [part.tolist() for part in numpy.split(rows[order], cuts)]

    def processes(self) -> list[set[int]]:
        """The processes of each group."""
        return [set(self._processes[rows].tolist()) for rows in self.rows()]

    def queues(self, rows: Iterable[list[int]]) -> list[RunQueue]:
        """A run queue for each of these groups."""
        kept, self._queues = self._queues, {}
        for group in rows:
            found = kept.get(group[0])
            if found is None or found[0] != group:
                found = group, queue_of(self._vcpus, group)
            self._queues[group[0]] = found
        return [queue for _, queue in self._queues.values()]
