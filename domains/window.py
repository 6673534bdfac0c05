"""The window: how far the teams of a node may be apart in a round, so that none waits at each horizon for the others.

A round ends where something is to be done between groups, and as long as nothing is, it need not end.  Every half
`LATENCY` a team says how far it has come.  Nothing that it does from there on concerns others before a `LATENCY` later:
so when all are that far, and nothing else is due, the horizon moves on while they run.  Who comes to it goes on, unless
another team is half a `LATENCY` behind.

    reached (the slower) -------- half -------- reached (the faster) -------- half -------- horizon

Where rounds end changes nothing about what happens in them (`hypervisor.rounds`), so neither does this.  Two pairs of
domains on two processors are 5% faster for it: of a round of 20 ms, the faster team waited for the slower one for
0.8 ms, and both for the next one for 0.2 ms.
"""

from collections.abc import Callable, Sequence

import numpy

from abi.types import NEVER, VcpuRow
from domains.seat import BatonTable, TeamState
from hypervisor.host_state import HostTable
from hypervisor.rounds import LATENCY
from hypervisor.tables import VcpuTable

_STEP = LATENCY // 2


class Window:
    """The window of a host on one node, in virtual time, with `pcpus` processors.

    `most(floor)` says how far the round may go where nobody is
    before `floor` (`Rounds.most`).  Methods that change something are for whoever has the lock of the baton's table,
    but for `say`, which is for who has the team's baton.
    """

    def __init__(self, table: BatonTable, host: HostTable, vcpus: VcpuTable, most: Callable[[int], int],
                 pcpus: int) -> None:
        self._state, self._reached, self._horizon, self._stop = table.state, table.reached, host.horizon, host.stop
        self._most, self._pcpus = most, pcpus
        self._states = numpy.frombuffer(table.state, numpy.uint8)
        self._teams = numpy.frombuffer(table.team, numpy.uint32)
        self._dues = numpy.frombuffer(vcpus.due, numpy.uint64)
        self._processes = numpy.frombuffer(vcpus.process, numpy.uint16)

    def begin(self, active: Sequence[VcpuRow]) -> None:
        """The teams of these vCPUs, which do not run yet, have nothing to do before them."""
        first = int(self._dues[active].min())
        for team in set(self._teams[self._processes[active]].tolist()):
            self._reached[team] = first

    def bound(self, team: int) -> int:
        """The time up to which the team runs before it says how far it is: the horizon counts, too."""
        states = self._state.tobytes()
        if states.count(TeamState.RUNNING) < 2 or TeamState.WAITING in states:
            return NEVER  # nobody runs beside it, or another's turn is next
        return self._reached[team] + _STEP

    def say(self, team: int, first: int) -> bool:
        """The team does nothing before `first`.  May it be that the horizon can move?"""
        self._reached[team] = first
        return TeamState.WAITING not in self._state.tobytes() and self._slowest() + LATENCY > self._horizon[0]

    def before_horizon(self, team: int) -> bool:
        """Whether the team has something to do in this round, as the round is now."""
        return not self._stop[0] and self._reached[team] < self._horizon[0]

    def further(self) -> tuple[int, Sequence[VcpuRow]]:
        """How far the horizon can move, 0 where it cannot; and the vCPUs of other teams that are due before that.

        Where these are more teams than there are processors they had better wait for each other: the horizon stays.
        """
        if TeamState.WAITING in self._state.tobytes():
            return 0, ()
        # While a vCPU runs, its `due` says nothing.
        runs = self._states == TeamState.RUNNING
        others = numpy.where(runs[self._teams[self._processes]], NEVER, self._dues)
        horizon = self._most(min(self._slowest(), int(others.min())))
        if horizon <= self._horizon[0]:
            return 0, ()
        rows = numpy.flatnonzero(others < horizon)
        teams = set(self._teams[self._processes[rows]].tolist())
        if int(runs.sum()) + len(teams) > self._pcpus:
            return 0, ()
        return horizon, [VcpuRow(row) for row in rows.tolist()]

    def move(self, horizon: int) -> None:
        """Those that are due before `horizon` are to be started, and run to there."""
        self._horizon[0] = horizon

    def _slowest(self) -> int:
        reached = self._reached
        return min((reached[team] for team, state in enumerate(self._state.tobytes()) if state == TeamState.RUNNING),
                   default=NEVER)
