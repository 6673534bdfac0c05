"""The loop that gives vCPUs their turns: the baton as one process sees it.

Whoever holds the baton picks the next vCPU from the shared table.  If that is one of its own, it runs a slice of it; if
not, it hands the baton to the process that has it.  In one process all vCPUs are its own and nothing is handed over:
the order, and so the trace, is the same.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from time import perf_counter

from abi.types import Domid, VcpuRow
from domains.vcpu import Vcpu
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import RunState

_RUNNABLE = int(RunState.RUNNABLE)
HYPERVISOR = 0
"""The process that is the hypervisor's, in `vcpus.process` and in the baton's table."""


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

    `hand_over(process)` gives the baton away and returns when this process has it again, or when the run has ended.
    `serve()` does what was asked of the hypervisor's process; None in the others.  `wait_until(ns)` sleeps until the
    host's clock says so, or less (only where time is the host's).  `marked()` is called before anybody runs beyond
    `HostTable.mark`, which it has to move; None in processes other than the hypervisor's.
    """

    def __init__(self, hv: Hypervisor, mine: Mapping[VcpuRow, Vcpu], hand_over: Callable[[int], None],
                 serve: Callable[[], None] | None, wait_until: Callable[[int], None],
                 marked: Callable[[], None] | None = None) -> None:
        self._hv, self._mine, self._marked = hv, mine, marked
        self._hand_over, self._serve, self._wait_until = hand_over, serve, wait_until

    def run(self) -> Outcome:
        """Take turns until the run has ended.  To be called with the baton."""
        hv = self._hv
        host, sched, due, process = hv.host, hv.sched, hv.vcpus.due, hv.vcpus.process
        virtual, mine = hv.clock.virtual, self._mine
        outcome, request, stop, mark = host.outcome, host.request, host.stop, host.mark
        while not outcome[0]:
            if hv.to_destroy:
                hv.reap()
            if request[0]:
                if self._serve is None:
                    self._hand_over(HYPERVISOR)
                else:
                    request[0] = 0
                    self._serve()
                continue
            if stop[0] or not host.alive[0]:
                return self._end(Outcome.STOPPED if host.alive[0] else Outcome.FINISHED)
            row = sched.pick()
            if row is None:
                return self._end(Outcome.DEADLOCK)
            if (due[row] if virtual else hv.clock.now()) >= mark[0]:
                if self._marked is None:
                    self._hand_over(HYPERVISOR)
                else:
                    self._marked()
                continue
            vcpu = mine.get(row)
            if vcpu is None:
                self._hand_over(process[row])
            elif virtual:
                self._turn(row, vcpu, 0)
            else:
                now = hv.clock.now()
                if due[row] > now:
                    self._wait_until(due[row])
                else:
                    self._turn(row, vcpu, now)
        return Outcome(outcome[0])

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

    def _end(self, outcome: Outcome) -> Outcome:
        self._hv.host.outcome[0] = outcome
        return outcome


def vcpus_of(hv: Hypervisor, domid: Domid) -> list[VcpuRow]:
    """The rows of a domain's vCPUs."""
    first = hv.domains.vcpu_base[domid]
    return [VcpuRow(row) for row in range(first, first + hv.domains.vcpu_count[domid])]
