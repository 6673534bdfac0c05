"""Rounds: how sharing groups run at the same time, and the result is that of one after the other.

A round goes from the earliest time at which any vCPU has something to do to the `horizon`, a window later.  In it every
group runs for itself, up to the horizon, wherever and whenever the host likes: nothing that it does touches another
group.  What concerns several groups waits for the end of the round, when all stand still, and is done there in order
of virtual time and domid: domains that ended are buried, the store serves who asked, groups join and split.  So a run
is a function of its configuration, on any number of processors, in any number of processes.  (This is a conservative
simulation with a barrier; what the window costs is that a guest's first call to another group waits for its end.)

The window is short after something has happened between groups, and doubles with each round in which nothing has.
"""

from collections.abc import Callable

import numpy

from abi.types import NEVER, Domid, VcpuRow
from hypervisor.groups import Groups
from hypervisor.host_state import HostTable
from hypervisor.tables import DomainState, DomainTable, VcpuTable

SHORTEST, LONGEST = 250_000, 16_000_000
"""Nanoseconds of a window."""
_MANY = 16
"""With more groups than this, windows are shorter: who asks from outside waits for a whole round."""
HOST_WINDOW = 5_000_000
"""Nanoseconds of a round where time is the host's: who waits for one waits for so long."""
_HOST_ROW = VcpuRow(0)


class Rounds:
    """The rounds of one host.  Its methods are for whoever holds still all vCPUs.

    `bury(domid)` finishes a domain whose own things are gone, `serve_store(domid)` has the store look at a domain's
    ring; both act at the time in the local time of domain 0's vCPU row.
    """

    def __init__(self, host: HostTable, domains: DomainTable, vcpus: VcpuTable, groups: Groups,
                 bury: Callable[[Domid], None], serve_store: Callable[[Domid], None]) -> None:
        self._host, self._domains, self._vcpus, self._groups = host, domains, vcpus, groups
        self._bury, self._serve_store = bury, serve_store

    def end(self) -> None:
        """All groups are at the horizon, or have not begun: do what waits for that."""
        host = self._host
        host.round[0] += 1
        self._vcpus.local_time[_HOST_ROW] = max(self._vcpus.local_time[_HOST_ROW], self._reached())
        happened = self._bury_all() | self._serve_all() | self._groups.regroup() | (not host.window[0])
        if happened:
            self.look_round()
        most = LONGEST if self._host.alone[0] else max(SHORTEST, LONGEST * _MANY // max(_MANY, self._groups.living()))
        host.window[0] = SHORTEST if happened else min(2 * host.window[0], most)

    def next(self, now: int | None = None) -> bool:
        """Begin a round; `now` is the host's time where that counts.  False where every vCPU waits for ever."""
        first = int(self._dues().min())
        if first == NEVER:
            return False
        if now is None:
            self._host.horizon[0] = first + self._host.window[0]
        else:
            self._host.horizon[0] = max(first, now) + HOST_WINDOW
        return True

    def active(self) -> list[VcpuRow]:
        """The vCPUs that have something to do in the round, in order."""
        return [VcpuRow(row) for row in numpy.flatnonzero(self._dues() < self._host.horizon[0]).tolist()]

    def _dues(self) -> "numpy.typing.NDArray[numpy.uint64]":
        return numpy.frombuffer(self._vcpus.due, numpy.uint64)

    def _reached(self) -> int:
        """The time that all groups have reached: that of the horizon, or of whoever came furthest before it."""
        latest = int(numpy.frombuffer(self._vcpus.local_time, numpy.uint64).max())
        return min(self._host.horizon[0], latest)

    def look_round(self) -> None:
        """The groups are others."""
        self._host.topology[0] += 1
        self._host.alone[0] = self._groups.living() <= 1

    def _bury_all(self) -> bool:
        states = numpy.frombuffer(self._domains.state, numpy.uint8)
        released = numpy.frombuffer(self._domains.released, numpy.uint8)
        dead = numpy.flatnonzero((states == DomainState.SHUTDOWN) & (released != 0)).tolist()
        ends = [(self._vcpus.local_time[self._domains.vcpu_base[domid]], domid) for domid in dead]
        for _, domid in sorted(ends):
            self._bury(Domid(domid))
        return bool(dead)

    def _serve_all(self) -> bool:
        store = self._groups.table.store
        asked = numpy.flatnonzero(numpy.frombuffer(store, numpy.uint64)).tolist()
        for _, domid in sorted((store[domid], domid) for domid in asked):
            self._serve_store(Domid(domid))
            store[domid] = 0  # not before: who dies in between has it served again
        return bool(asked)
