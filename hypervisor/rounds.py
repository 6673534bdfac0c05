"""Rounds: how sharing groups run at the same time, and the result is that of one after the other.

In a round every group runs for itself, wherever and whenever the host likes: nothing that it does touches another
group.  It begins slices of its vCPUs as long as they are due before the *horizon*.  What concerns several groups takes
effect `LATENCY` after it was asked for: domains that ended are buried, the store serves who asked, groups join and
split.  No round is longer than that, and none goes beyond the next such event, so when one is due all groups stand
still.  Then it is done, in order of time and domid.

So a run is a function of its configuration, on any number of processors, in any number of processes; and what one group
sees does not depend on what others do, or on whether they are there.  (In the terms of the literature this is a
conservative parallel simulation with a fixed lookahead.)  A slice that has begun goes on beyond the horizon: rounds do
not decide who of a group runs when, so it does not matter where they end.  A group that is the only one has no need of
short rounds.
"""

from collections.abc import Callable
from typing import Protocol

import numpy

from abi.types import NEVER, Domid, VcpuRow
from hypervisor.groups import Groups
from hypervisor.host_state import HostTable
from hypervisor.tables import VcpuTable

LATENCY = 1_000_000
"""Nanoseconds from what a group asks for until it is done, where that concerns other groups."""
ALONE = 16_000_000
"""Nanoseconds of a round where there is one group: who waits for one from outside waits for so long."""
HOST_WINDOW = 5_000_000
"""The same where time is the host's."""
_HOST_ROW = VcpuRow(0)


class ServesStore(Protocol):
    serve_store: Callable[[Domid], None]
    """Has the store look at a domain's ring."""


class Rounds:
    """The rounds of one host.  Its methods are for whoever holds still all vCPUs.

    `bury(domid)` finishes a domain whose own things are gone.  It and the store act at the time in the local time of
    domain 0's vCPU row.
    """

    def __init__(self, host: HostTable, vcpus: VcpuTable, groups: Groups, bury: Callable[[Domid], None],
                 store: ServesStore) -> None:
        self._host, self._vcpus, self._groups = host, vcpus, groups
        self._bury, self._store = bury, store
        self._dues = numpy.frombuffer(vcpus.due, numpy.uint64)

    def end(self, now: int | None = None) -> None:
        """All groups are at the horizon, or have not begun: do what is due.  `now` is the host's time, as in `next`."""
        host, groups = self._host, self._groups
        now = self.arrive(now)
        if host.round[0] and groups.next_event() > now and not groups.wished():
            host.round[0] += 1  # of most rounds that is all; a quarter of a millisecond is saved, in which nobody runs
            return
        for column, act in ((groups.table.ended, self._bury), (groups.table.store, self._store.serve_store)):
            for domid in self._due(column):
                act(domid)
                column[domid] = 0  # not before: who dies in between has it done again
        changed = groups.regroup(now, now + LATENCY)
        if changed or self._alone() != host.alone[0] or not host.round[0]:
            self.look_round()
        host.round[0] += 1

    def arrive(self, now: int | None = None) -> int:
        """Domain 0's time is what all groups have reached; `now` is the host's time, as in `next`."""
        now = max(self._vcpus.local_time[_HOST_ROW], self._reached() if now is None else now)
        self._vcpus.local_time[_HOST_ROW] = now
        return now

    def next(self, now: int | None = None) -> bool:
        """Begin a round; `now` is the host's time where that counts.  False where every vCPU waits for ever."""
        first, event = int(self._dues.min()), self._groups.next_event()
        if first == event == NEVER:
            return False
        if now is None:
            mark = self._host.mark[0]  # a checkpoint is taken where everybody has come to it
            self._host.horizon[0] = min(event, first + (ALONE if self._host.alone[0] else LATENCY),
                                        mark if mark > first else NEVER)
        else:
            self._host.horizon[0] = max(min(first, event), now) + HOST_WINDOW
        return True

    def most(self, floor: int) -> int:
        """How far the round that is under way may go, where all groups have reached `floor`; in virtual time.

        That may be less than it goes already.  Where the round has to end, it is 0.
        """
        host = self._host
        if host.stop[0] or host.request[0] or host.alone[0] or self._groups.wished():
            return 0
        return min(self._groups.next_event(), floor + LATENCY, host.mark[0])

    def later(self, row: VcpuRow | None) -> int:
        """When something takes effect that the running vCPU at `row` does to other groups; none runs before the start.

        The only group sees to it itself that the round does not go on beyond that.
        """
        time = (0 if row is None else self._vcpus.local_time[row]) + LATENCY
        if self._host.alone[0] and time < self._host.horizon[0]:
            self._host.horizon[0] = time
        return time

    def active(self) -> list[VcpuRow]:
        """The vCPUs that have something to do in the round, in order."""
        return [VcpuRow(row) for row in numpy.flatnonzero(self._dues < self._host.horizon[0]).tolist()]

    def _reached(self) -> int:
        """The time that all groups have reached: the horizon's, or before the first round, that of who is furthest."""
        if self._host.horizon[0] != NEVER:
            return self._host.horizon[0]
        return int(numpy.frombuffer(self._vcpus.local_time, numpy.uint64).max())

    def _alone(self) -> bool:
        """There is one group: all of it sees the horizon that one of its members brings nearer (`later`)."""
        return self._groups.living() <= 1

    def look_round(self) -> None:
        """The groups are others."""
        self._host.topology[0] += 1
        self._host.alone[0] = self._alone()

    def _due(self, column: "memoryview[int]") -> list[Domid]:
        """The domains whose time in `column` has come, in order of that time."""
        times = numpy.frombuffer(column, numpy.uint64)
        found = numpy.flatnonzero((times != 0) & (times <= self._vcpus.local_time[_HOST_ROW])).tolist()
        return [Domid(domid) for _, domid in sorted((column[domid], domid) for domid in found)]
