"""The scheduler: which vCPU holds the baton next, and for how long.

The rule.  Every vCPU has a processor and a time of its own, `local_time`; only one at a time gets on.  `due` says when
each could run next: a runnable vCPU at its local time, one that waits at its first timer, NEVER where only an event
can wake it, where it is down or paused, and while it runs.  Next comes the vCPU with the smallest `due`, the lowest
row of several: the one that is furthest behind.  It runs until it blocks, until its own next timer, or until it is a
quantum ahead of the next vCPU, but for no more than 2 ms.  So no two vCPUs that can run are further apart than a
quantum, and when all wait, time jumps to the first timer.  An event reaches a waiting vCPU at its sender's time, or at
its own if that is later.  A vCPU that yields, or spins with PAUSE, goes behind the next one that is runnable.

All of this is a function of the tables, so it is the same in one process and in many.  One object serves one sharing
group in one process.  Where time is the host's, the caller stores it in `local_time` after each exit and starts vCPUs
with it; nothing else differs, except that a `due` in the future is to be slept for.

Groups run in rounds (`hypervisor.rounds`): no slice begins at the horizon or later.  One that has begun goes on beyond
it, so that rounds, which others have a part in, change nothing about who of a group runs when.
"""

from collections.abc import Callable, Sequence

from abi.sched import ShutdownReason
from abi.types import NEVER, Domid, VcpuRow
from hypervisor.run_queue import RunQueue, queue_of
from hypervisor.runstate import Runstates
from hypervisor.tables import DomainState, DomainTable, RunState, VcpuTable
from hypervisor.vcpu_timer import APIC, PERIODIC, POLL, SINGLESHOT, TYPING, WATCHDOG, VcpuTimers
from hypervisor.watchdog import WatchdogTable

MAX_SLICE = 2_000_000
"""Nanoseconds: the longest that a vCPU runs without a look at the world."""
SHUTDOWN_CODE_INVALID = 0xFF
"""In `domains.shutdown_code`: none was given yet."""
DOWN, SHUT_DOWN, PAUSES = 0x80, 0x40, 0x3F
"""`vcpus.paused` is 0 where a vCPU may run.  Bits: VCPUOP_down; the domain has shut down; how often it is paused."""

_RUNNING, _RUNNABLE, _BLOCKED, _OFFLINE = (int(state) for state in RunState)


class Scheduler:
    """The vCPUs at `rows` (all of the table's by default), `quantum` nanoseconds of leeway.

    `current` is the vCPU that this process runs, or ran last, and `slice_end` the system time until which it may.
    `changed` is set when the current vCPU no longer runs or `slice_end` came nearer: the engine looks after every
    exit.  Every process of a host passes the same `watchdogs`.
    """

    def __init__(self, domains: DomainTable, vcpus: VcpuTable, quantum: int, watchdogs: WatchdogTable | None = None,
                 rows: Sequence[int] | None = None) -> None:
        self.domains, self.vcpus, self.quantum = domains, vcpus, quantum
        self.watchdogs = WatchdogTable.private(domains.rows) if watchdogs is None else watchdogs
        self.timers = VcpuTimers(vcpus, self.watchdogs)
        self.runstates = Runstates(vcpus)
        self.current: VcpuRow | None = None
        self.slice_end = 0
        self.changed = False
        self.timer_event: Callable[[VcpuRow], None] = lambda row: None
        """Raises VIRQ_TIMER on a vCPU."""
        self.shut_down: Callable[[Domid, int], None] = lambda domid, reason: None
        """Told of every domain that shuts down, with its SHUTDOWN_*."""
        self.watchdog_fired: Callable[[Domid], None] = lambda domid: None
        """Told first where it is a watchdog that shuts the domain down."""
        self.time_to_type: Callable[[Domid], None] = lambda domid: None
        """Told when what `set_typing` set has come."""
        self.apic_timer: Callable[[VcpuRow, int], bool] = lambda row, now: False
        """Told when what `set_apic_timer` set has come.  Whether the vCPU has something to wake up for."""
        self._due, self._local_time, self._runstate = vcpus.due, vcpus.local_time, vcpus.runstate
        self._paused, self._poll_port, self._poll_deadline = vcpus.paused, vcpus.poll_port, vcpus.poll_deadline
        self._entered, self._time_running, self._time_blocked = (
            vcpus.state_entry_time, vcpus.time_running, vcpus.time_blocked)
        self._change = self.runstates.change
        self._next_running, self._next_waiting = self.timers.next_running, self.timers.next_waiting
        self.set_group(range(vcpus.rows) if rows is None else rows)

    # Who belongs here.

    def set_group(self, rows: Sequence[int]) -> None:
        """The sharing group changed; `rows` ascend."""
        self.use(queue_of(self.vcpus, rows))

    def use(self, queue: RunQueue) -> None:
        """From now on the vCPUs in `queue` are scheduled."""
        self._queue = queue
        self.pick, self._least_due = queue.smallest, queue.least_due
        """Who comes next: to `start`, or where it is blocked, to `fire_timers` of.  None where all wait for ever."""

    def format(self) -> None:
        """Make a new host's table: nobody is due."""
        self._due.cast("B")[:] = b"\xff" * self._due.nbytes

    def add_domain(self, domid: Domid) -> None:
        """A new domain: no shutdown code, no watchdogs."""
        self.domains.shutdown_code[domid] = SHUTDOWN_CODE_INVALID
        self.watchdogs.clear(domid)

    def add_vcpu(self, row: VcpuRow, now: int = 0) -> None:
        """A new vCPU, down, whose time begins at `now`.  `up` brings it up."""
        self.timers.reset(row)
        self._poll_port[row] = 0
        self._paused[row], self._runstate[row] = DOWN, _OFFLINE
        self._due[row] = NEVER
        self._local_time[row] = self.vcpus.state_entry_time[row] = now

    # The baton's way.

    def fire_timers(self, row: VcpuRow, now: int = 0) -> None:
        """Let the timers fire for which a blocked vCPU is due, no earlier than `now` (the host's time, where that
        counts).  It may be blocked still: its event may be masked.
        """
        due = self._due[row]
        now = self._local_time[row] = due if due > now else now
        self.current = row
        self.expire(row, now)
        if self._runstate[row] == _BLOCKED and not self._paused[row]:
            timer = self._next_waiting(row)
            self._due[row] = timer if timer > now else now

    def start(self, row: VcpuRow, now: int = 0) -> None:
        """A runnable vCPU gets the baton, no earlier than `now` (the host's time, where that counts).

        Its timers fire.  Raises ValueError for one that is not runnable.
        """
        if self._runstate[row] != _RUNNABLE:
            raise ValueError(f"vCPU row {row} is {RunState(self._runstate[row]).name} and cannot be started")
        due = self._due[row]
        if due > now:
            now = due
        self._local_time[row] = now
        self._due[row] = NEVER
        if self._entered[row] == now:
            self._runstate[row] = _RUNNING
        else:
            self._change(row, _RUNNING, now)
        self.current = row
        self.changed = False
        timer = self._next_running(row)
        if timer <= now:
            self.expire(row, now)
            self.changed = self._runstate[row] != _RUNNING
            timer = self._next_running(row)
        other = self._least_due()
        end = (other if other > now else now) + self.quantum
        if end > now + MAX_SLICE:
            end = now + MAX_SLICE
        self.slice_end = timer if timer < end else end

    def preempt(self, row: VcpuRow) -> None:
        """The running vCPU's slice is over.  Nothing happens to one that no longer runs."""
        if self._runstate[row] == _RUNNING:
            now = self._due[row] = self._local_time[row]
            self._change(row, _RUNNABLE, now)

    # What the current vCPU does to itself.

    def block(self, row: VcpuRow, deliverable: bool = False) -> bool:
        """Wait for an event or a timer, unless an event is there already (`deliverable`).  Does it wait?

        What does not run, such as an outside caller, goes on.
        """
        if deliverable or self._runstate[row] != _RUNNING:
            return False
        now = self._local_time[row]
        # Written out: it is the account of a vCPU that leaves RUNNING, a hundred thousand times a second.
        self._time_running[row] += now - self._entered[row]
        self._entered[row], self._runstate[row] = now, _BLOCKED
        timer = self._next_waiting(row)
        self._due[row] = timer if timer > now else now
        self.changed = True
        return True

    def poll(self, row: VcpuRow, port: int, deadline: int = NEVER) -> None:
        """Wait for an event at `port`, at any port where it is -1, until `deadline`."""
        if self._runstate[row] == _RUNNING:
            self._poll_port[row] = port
            self._poll_deadline[row] = deadline
            self.block(row)

    def yield_(self, row: VcpuRow) -> bool:
        """Go behind the next vCPU that is runnable.  False, and nothing happens, where there is none."""
        other = self._queue.smallest_runnable()
        if other is None or self._runstate[row] != _RUNNING:
            return False
        now = self._local_time[row]
        self._change(row, _RUNNABLE, now)
        behind = self._due[other] + (row < other)  # of two with the same time, the lower row would come first
        self._due[row] = self._local_time[row] = behind if behind > now else now
        self.changed = True
        return True

    def defer(self, row: VcpuRow, until: int) -> None:
        """The running vCPU goes on at `until`."""
        if self._runstate[row] == _RUNNING:
            self._change(row, _RUNNABLE, self._local_time[row])
            self._due[row] = self._local_time[row] = until
            self.changed = True

    # What happens to others.

    def wake(self, row: VcpuRow) -> None:
        """An event for a vCPU: if it is blocked, or polls, it becomes runnable.  Xen's vcpu_unblock."""
        if self._runstate[row] == _BLOCKED:
            current = self.current
            self._unblock(row, 0 if current is None else self._local_time[current])

    def _unblock(self, row: VcpuRow, now: int) -> None:
        # What it polls is forgotten last: whoever dies in between leaves one that is awake, or one that can be woken.
        at = self._local_time[row]
        if now > at:
            at = self._local_time[row] = now
        paused = self._paused[row]
        if paused:
            self._change(row, _OFFLINE, at)
        else:
            self._time_blocked[row] += at - self._entered[row]
            self._entered[row], self._runstate[row] = at, _RUNNABLE
            self._due[row] = at
        if self._poll_port[row]:  # written only where it has to be: it is in a line with other domains'
            self._poll_port[row] = 0
        self._poll_deadline[row] = NEVER
        if at + self.quantum < self.slice_end and not paused:
            self._make_room(at)

    def _make_room(self, due: int) -> None:
        """Somebody is due now: the current vCPU may be a quantum ahead of him, no more."""
        end = due + self.quantum
        if end < self.slice_end:
            self.slice_end = end
            self.changed = True

    def _now(self) -> int:
        """The time at which the current vCPU does what it does; 0 before there was one."""
        return 0 if self.current is None else self._local_time[self.current]

    def up(self, row: VcpuRow) -> None:
        """VCPUOP_up."""
        self._paused[row] &= ~DOWN
        self._release(row)

    def down(self, row: VcpuRow) -> None:
        """VCPUOP_down.  When the last vCPU goes down, the domain powers off."""
        domid = Domid(self.vcpus.domid[row])
        if all(other == row or not self.is_up(other) for other in self._rows(domid)):
            self.shutdown(domid, ShutdownReason.poweroff)
        else:
            self._paused[row] |= DOWN
            self._hold(row)

    def reset(self, row: VcpuRow) -> None:
        """Down, and whatever it waited for is forgotten: Xen's vcpu_reset."""
        self.down(row)
        if self._runstate[row] == _BLOCKED:
            self._change(row, _OFFLINE, max(self._local_time[row], self._now()))
        self._poll_port[row] = 0
        self._poll_deadline[row] = NEVER

    def is_up(self, row: VcpuRow) -> bool:
        """Whether it is not down: it may be paused or blocked all the same."""
        return not self._paused[row] & DOWN

    def pause(self, row: VcpuRow) -> None:
        """Keep a vCPU from running until as many calls of `unpause`.  Raises OverflowError beyond 63."""
        if self._paused[row] & PAUSES == PAUSES:
            raise OverflowError(f"vCPU row {row} is paused too often")
        self._paused[row] += 1
        self._hold(row)

    def unpause(self, row: VcpuRow) -> None:
        """Undo one `pause`.  Raises ValueError where there was none."""
        if not self._paused[row] & PAUSES:
            raise ValueError(f"vCPU row {row} is not paused")
        self._paused[row] -= 1
        self._release(row)

    def _hold(self, row: VcpuRow) -> None:
        self._due[row] = NEVER
        if self._runstate[row] != _BLOCKED:
            self._change(row, _OFFLINE, self._local_time[row])
        if row == self.current:
            self.changed = True

    def _release(self, row: VcpuRow) -> None:
        if self._paused[row]:
            return
        at = max(self._local_time[row], self._now())
        if self._runstate[row] == _OFFLINE:
            self._change(row, _RUNNABLE, at)
            self._due[row] = self._local_time[row] = at
            self._make_room(at)
        else:
            self._retime(row)

    def latch_shutdown_code(self, domid: Domid, reason: int) -> None:
        """What the domain will have shut down for, whatever it says then; the first call counts."""
        if self.domains.shutdown_code[domid] == SHUTDOWN_CODE_INVALID:
            self.domains.shutdown_code[domid] = reason

    def shutdown(self, domid: Domid, reason: int) -> None:
        """Stop a domain (Xen's domain_shutdown).  `reason` is a SHUTDOWN_* or any other byte."""
        self.latch_shutdown_code(domid, reason)
        if self.domains.state[domid] in (DomainState.SHUTDOWN, DomainState.DEAD):
            return
        self.domains.state[domid] = DomainState.SHUTDOWN
        for row in self._rows(domid):
            self._paused[row] |= SHUT_DOWN
            self._hold(row)
        self.shut_down(domid, self.domains.shutdown_code[domid])

    def _rows(self, domid: Domid) -> list[VcpuRow]:
        first = self.domains.vcpu_base[domid]
        return [VcpuRow(row) for row in range(first, first + self.domains.vcpu_count[domid])]

    # Timers.

    def set_singleshot(self, row: VcpuRow, deadline: int) -> None:
        """Fire at `deadline`, at once where that is past; NEVER stops the timer."""
        if deadline <= self._now():
            self.vcpus.singleshot[row] = NEVER
            self.timer_event(row)
        else:
            self.vcpus.singleshot[row] = deadline
            self._retime(row)

    def set_periodic(self, row: VcpuRow, period: int) -> None:
        """Fire every `period` nanoseconds from now on while the vCPU runs; 0 stops the timer."""
        self.timers.set_periodic(row, period, self._now())
        self._retime(row)

    def set_watchdog(self, domid: Domid, number: int, timeout: int) -> int:
        """SCHEDOP_watchdog: see `WatchdogTable.set`."""
        result = self.watchdogs.set(domid, number, timeout, self._now())
        for row in self._rows(domid):
            self._retime(row)
        return result

    def set_typing(self, domid: Domid, deadline: int) -> None:
        """One of the domain's vCPUs is to be there at `deadline`, for what is typed; NEVER where nothing is."""
        self.watchdogs.set_typing(domid, deadline)
        for row in self._rows(domid):
            self._retime(row)

    def set_apic_timer(self, row: VcpuRow, deadline: int) -> None:
        """The timer of a vCPU's local APIC fires at `deadline`; NEVER stops it."""
        self.vcpus.apic_timer[row] = deadline
        self._retime(row)

    def expire(self, row: VcpuRow, now: int) -> int:
        """Let the timers of a vCPU fire that are due by `now`.  Gives which did, as bits of `vcpu_timer`."""
        fired = self.timers.take_expired(row, now, waiting=self._runstate[row] == _BLOCKED)
        if fired & WATCHDOG:
            domid = Domid(self.vcpus.domid[row])
            self.watchdog_fired(domid)
            self.shutdown(domid, ShutdownReason.watchdog)
        if fired & POLL:
            self._unblock(row, now)
        if fired & (SINGLESHOT | PERIODIC):
            self.timer_event(row)
        if fired & TYPING:
            self.time_to_type(Domid(self.vcpus.domid[row]))
        if fired & APIC and self.apic_timer(row, now) and self._runstate[row] == _BLOCKED:
            self._unblock(row, now)
        return fired

    def _retime(self, row: VcpuRow) -> None:
        """A timer changed."""
        if self._runstate[row] == _BLOCKED:
            if not self._paused[row]:
                due = self._due[row] = max(self._local_time[row], self._next_waiting(row))
                self._make_room(max(due, self._now()))
        elif row == self.current:
            timer = self._next_running(row)
            if timer < self.slice_end:
                self.slice_end = timer
                self.changed = True
