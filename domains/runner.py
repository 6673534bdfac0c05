"""The loop that gives vCPUs their turns, as one process sees it.

In a round, whoever has his team's baton runs the groups of the team one after the other, each up to the horizon: he
picks the next vCPU of the group from the shared table, and runs a slice of it if it is one of his own; if not, he hands
the baton to the process that has it.  In one process all vCPUs are its own and nothing is handed over: the order, and
so the trace, is the same.  Who is the last to be through ends the round for all (`hypervisor.rounds`).
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from time import perf_counter

from abi.types import NEVER, Domid, VcpuRow
from domains.seat import HYPERVISOR, Seat, Task
from domains.teams import GroupRows
from domains.vcpu import Vcpu
from hypervisor.hypervisor import Hypervisor
from hypervisor.run_queue import RunQueue
from hypervisor.tables import RunState

_RUNNABLE = int(RunState.RUNNABLE)
_HOST_ROW = VcpuRow(0)


class Outcome(IntEnum):
    """How a run ended; 0 in `HostTable.outcome` while it goes on."""

    FINISHED = 1
    """Every domain has ended."""
    DEADLOCK = 2
    """Every domain waits, and nothing will wake one."""
    STOPPED = 3
    """`HostTable.stop` was set."""


class Runner:
    """Runs the vCPUs in `mine`.

    `serve()` does what was asked of the hypervisor's process; None in the others.  `wait_until(ns)` sleeps until the
    host's clock says so, or less (only where time is the host's).  `marked()` is called between two
    rounds when all are at `HostTable.mark`, which it has to move; None in processes other than the hypervisor's.
    """

    def __init__(self, hv: Hypervisor, mine: Mapping[VcpuRow, Vcpu], seat: Seat, serve: Callable[[], None] | None,
                 wait_until: Callable[[int], None], marked: Callable[[], None] | None = None) -> None:
        self._hv, self._mine, self._seat = hv, mine, seat
        self._serve, self._wait_until, self._marked = serve, wait_until, marked
        self._groups = GroupRows(hv.groups, hv.domains, hv.vcpus)
        self._queues: list[RunQueue] = []
        self._topology = -1
        self._now: Callable[[], int] = hv.clock.now

    def run(self) -> Outcome:
        """Take turns until the run has ended."""
        seat, virtual = self._seat, self._hv.clock.virtual
        outcome = self._hv.host.outcome
        while not outcome[0] and (task := seat.wait()):
            if task == Task.RUN:
                through = self._run_team() if virtual else self._run_team_in_host_time()
                if not through or not seat.leave():
                    continue
            self._between_rounds()
        return Outcome(outcome[0] or Outcome.STOPPED)  # 0: the run goes on without this process

    # -- a team's round

    def _run_team(self) -> bool:
        """Run what the team has to run in this round, or until the baton is another's.  True where it is through."""
        queues, seat = self._team_queues(), self._seat
        while self._run_to(seat.bound(), queues):
            if self._hv.host.stop[0] or not seat.onward(
                    lambda: min((queue.least_due() for queue in queues), default=NEVER)):
                return True
        return False

    def _run_to(self, bound: int, queues: Sequence[RunQueue]) -> bool:
        """Run what is due before `bound` and the horizon.  False where the baton is another's now."""
        hv, mine = self._hv, self._mine
        sched, due, process, stop = hv.sched, hv.vcpus.due, hv.vcpus.process, hv.host.stop
        horizon = hv.host.horizon
        for queue in queues:
            row = queue.smallest()
            if row is None or due[row] >= bound or due[row] >= horizon[0]:
                continue
            sched.use(queue)
            while row is not None and due[row] < bound and due[row] < horizon[0]:
                vcpu = mine.get(row)
                if vcpu is None:
                    self._seat.give(process[row])
                    return False
                self._turn(row, vcpu, 0)
                if hv.to_destroy:
                    hv.reap()
                if stop[0]:
                    return True
                row = sched.pick()
        return True

    def _run_team_in_host_time(self) -> bool:
        """The same where time is the host's: who is due first comes first, and what is not due yet is waited for."""
        hv = self._hv
        sched, process, host = hv.sched, hv.vcpus.process, hv.host
        horizon, queues = host.horizon, self._team_queues()
        while not host.stop[0] and not host.request[0]:
            chosen, first = None, NEVER
            for queue in queues:
                least = queue.least_due()
                if least < first:
                    chosen, first = queue, least
            now = self._now()
            if chosen is None or first >= horizon[0] or now >= horizon[0]:
                return True
            row = chosen.smallest()
            assert row is not None
            vcpu = self._mine.get(row)
            if vcpu is None:
                self._seat.give(process[row])
                return False
            if first > now:
                self._wait_until(first)
                continue
            sched.use(chosen)
            self._turn(row, vcpu, now)
            if hv.to_destroy:
                hv.reap()
        return True

    def _team_queues(self) -> list[RunQueue]:
        topology = self._hv.host.topology[0]
        if topology != self._topology:
            process = self._hv.vcpus.process
            self._queues = self._groups.queues(
                rows for rows in self._groups.rows() if self._seat.mine(process[rows[0]]))
            self._topology = topology
        return self._queues

    def _turn(self, row: VcpuRow, vcpu: Vcpu, now: int) -> None:
        """A vCPU of ours is due: run a slice of it, or let its timers fire."""
        hv = self._hv
        sched = hv.sched
        if hv.vcpus.runstate[row] != _RUNNABLE:
            sched.fire_timers(row, now)
            return
        started = perf_counter()
        sched.start(row, now)
        if not sched.changed:
            vcpu.run_slice()
        sched.preempt(row)
        hv.poll_console(vcpu.domid)
        vcpu.host_seconds += perf_counter() - started

    # -- between rounds

    def _between_rounds(self) -> None:
        """All stand still: do what waited for that, and begin the next round, or end the run."""
        hv, host = self._hv, self._hv.host
        marked = self._is_marked()
        if host.request[0] or marked:
            if self._serve is None:
                self._seat.hand_round(HYPERVISOR)
                return
            host.request[0] = 0
            hv.rounds.arrive(None if hv.clock.virtual else self._now())
            hv.sched.current = _HOST_ROW
            self._serve()
        hv.sched.current = _HOST_ROW
        hv.reap()
        if marked and self._marked is not None:
            self._marked()
        while not host.outcome[0]:
            now = None if hv.clock.virtual else self._now()
            hv.rounds.end(now)
            if host.stop[0] or not host.alive[0]:
                host.outcome[0] = Outcome.STOPPED if host.alive[0] else Outcome.FINISHED
            elif not hv.rounds.next(now):
                host.outcome[0] = Outcome.DEADLOCK
            elif active := hv.rounds.active():
                self._seat.start(active)
                return
            elif now is not None:
                self._wait_until(hv.host.horizon[0])

    def _is_marked(self) -> bool:
        """Nobody has anything to do before the mark, in virtual time, or the host's time has come to it."""
        mark = self._hv.host.mark[0]
        if mark == NEVER:
            return False
        if self._hv.clock.virtual:
            first = min(self._hv.vcpus.due)
            return first >= mark and first != NEVER
        return self._now() >= mark


def vcpus_of(hv: Hypervisor, domid: Domid) -> list[VcpuRow]:
    """The rows of a domain's vCPUs."""
    first = hv.domains.vcpu_base[domid]
    return [VcpuRow(row) for row in range(first, first + hv.domains.vcpu_count[domid])]
