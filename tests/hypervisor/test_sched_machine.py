"""The scheduler under any sequence of what guests and toolstacks do."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sched_host import QUANTUM, Machine, schedule

from abi.sched import ShutdownReason
from abi.types import NEVER
from hypervisor.sched import MAX_SLICE, Scheduler
from hypervisor.tables import DomainState, DomainTable, RunState, VcpuTable
from hypervisor.watchdog import WatchdogTable

RUNNING, RUNNABLE, BLOCKED, OFFLINE = RunState
durations = st.integers(0, 3 * QUANTUM)
vcpus = st.integers(0, 30)


class SchedulerMachine(RuleBasedStateMachine):
    @initialize(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), wakes=st.booleans())
    def boot(self, sizes, wakes):
        self.machine = machine = Machine(*sizes)
        self.sched, self.tables = machine.sched, machine.vcpus
        self.count = sum(sizes)
        if wakes:
            self.sched.timer_event = self.sched.wake
        self.times = [0] * self.count
        self.running = None

    def row(self, number):
        return number % self.count

    # The engine.

    @precondition(lambda self: self.running is None)
    @rule()
    def start_the_next(self):
        row = schedule(self.sched)
        if row is None:
            assert self.sched.pick() is None
            assert RUNNABLE not in self.tables.runstate.tolist()
            return
        self.sched.start(row)
        self.running = row
        self.look()
        if self.running is not None:
            now = self.tables.local_time[row]
            assert now <= self.sched.slice_end <= now + MAX_SLICE

    @precondition(lambda self: self.running is not None)
    @rule(duration=durations)
    def work(self, duration):
        now = self.tables.local_time[self.running]
        self.tables.local_time[self.running] = max(now, min(now + duration, self.sched.slice_end))

    @precondition(lambda self: self.running is not None)
    @rule()
    def end_the_slice(self):
        self.tables.local_time[self.running] = max(self.tables.local_time[self.running], self.sched.slice_end)
        self.sched.preempt(self.running)
        self.running = None

    def look(self):
        """What the engine does after every exit."""
        if self.running is not None and self.tables.runstate[self.running] != RUNNING:
            assert self.sched.changed
            self.running = None

    # The vCPU that runs.

    @precondition(lambda self: self.running is not None)
    @rule()
    def block(self):
        assert self.sched.block(self.running)
        self.look()

    @precondition(lambda self: self.running is not None)
    @rule(ahead=st.none() | durations, port=st.sampled_from([-1, 3]))
    def poll(self, ahead, port):
        deadline = NEVER if ahead is None else self.tables.local_time[self.running] + ahead
        self.sched.poll(self.running, port, deadline)
        self.look()

    @precondition(lambda self: self.running is not None)
    @rule()
    def yield_(self):
        row = self.running
        others = [other for other in range(self.count) if self.tables.runstate[other] == RUNNABLE]
        assert self.sched.yield_(row) == bool(others)
        self.look()
        if others:
            dues = [(self.tables.due[other], other) for other in others]
            assert min(dues) < (self.tables.due[row], row)

    @precondition(lambda self: self.running is not None)
    @rule(ahead=st.integers(-QUANTUM, 5 * QUANTUM))
    def set_singleshot(self, ahead):
        self.sched.set_singleshot(self.running, max(1, self.tables.local_time[self.running] + ahead))
        self.look()

    @precondition(lambda self: self.running is not None)
    @rule(number=vcpus, period=st.sampled_from([0, QUANTUM, 4 * QUANTUM]))
    def set_periodic(self, number, period):
        self.sched.set_periodic(self.row(number), period)

    @precondition(lambda self: self.running is not None)
    @rule(number=vcpus)
    def send(self, number):
        row, now = self.row(number), self.tables.local_time[self.running]
        blocked = self.tables.runstate[row] == BLOCKED
        self.sched.wake(row)
        if blocked and not self.tables.paused[row]:
            assert self.tables.due[row] == self.tables.local_time[row] >= now
            assert self.sched.slice_end <= self.tables.due[row] + QUANTUM
        self.look()

    # Other people.

    @rule(number=vcpus)
    def bring_up(self, number):
        self.sched.up(self.row(number))

    @rule(number=vcpus)
    def take_down(self, number):
        self.sched.down(self.row(number))
        self.look()

    @rule(number=vcpus)
    def pause(self, number):
        self.sched.pause(self.row(number))
        self.look()

    @rule(number=vcpus)
    def unpause(self, number):
        if self.tables.paused[self.row(number)] & 0x3F:
            self.sched.unpause(self.row(number))

    @rule(number=vcpus, odds=st.integers(0, 15))
    def shut_down(self, number, odds):
        if odds == 0:
            self.sched.shutdown(self.tables.domid[self.row(number)], ShutdownReason.poweroff)
            self.look()

    @precondition(lambda self: self.running is not None)
    @rule(number=st.integers(0, 2), seconds=st.integers(0, 1))
    def set_watchdog(self, number, seconds):
        domid = self.tables.domid[self.running]
        timers = (self.machine.watchdogs.first, self.machine.watchdogs.second)
        in_use = [bool(timer[domid]) for timer in timers]
        if in_use[number - 1] if number else not all(in_use):
            self.sched.set_watchdog(domid, number, seconds)

    # What holds always.

    @invariant()
    def time_never_goes_back(self):
        for row in range(self.count):
            assert self.tables.local_time[row] >= self.times[row]
            self.times[row] = self.tables.local_time[row]

    @invariant()
    def due_says_when_a_vcpu_can_run(self):
        for row in range(self.count):
            state, due = self.tables.runstate[row], self.tables.due[row]
            if self.tables.paused[row]:
                assert state in (BLOCKED, OFFLINE)
                assert due == NEVER
            elif state == RUNNABLE:
                assert due == self.tables.local_time[row]
            elif state == RUNNING:
                assert (row, due) == (self.running, NEVER)
            else:
                assert state == BLOCKED
                assert due >= self.tables.local_time[row]

    @invariant()
    def a_timer_that_may_wake_is_not_forgotten(self):
        for row in range(self.count):
            if self.tables.runstate[row] == BLOCKED and not self.tables.paused[row]:
                first = min(self.tables.singleshot[row], self.tables.poll_deadline[row])
                assert self.tables.due[row] <= max(first, self.tables.local_time[row])

    @invariant()
    def only_those_who_poll_have_a_port(self):
        for row in range(self.count):
            if self.tables.poll_port[row]:
                assert self.tables.runstate[row] == BLOCKED

    @invariant()
    def the_smallest_due_is_picked_whoever_asks(self):
        dues = self.tables.due.tolist()
        expected = dues.index(min(dues)) if min(dues) != NEVER else None
        everybody = Scheduler(self.machine.domains, self.tables, QUANTUM, self.machine.watchdogs)
        scattered = self.machine.attach(rows=list(range(self.count)))
        assert self.sched.pick() == everybody.pick() == scattered.pick() == expected

    @invariant()
    def accounts_add_up(self):
        for row in range(self.count):
            now = max(self.tables.local_time[row], self.tables.state_entry_time[row])
            assert sum(self.sched.runstates.get(row, now)[2:]) == now

    @invariant()
    def a_domain_that_has_shut_down_does_not_run(self):
        for row in range(self.count):
            if self.machine.domains.state[self.tables.domid[row]] == DomainState.SHUTDOWN:
                assert self.tables.due[row] == NEVER
                assert self.tables.runstate[row] in (BLOCKED, OFFLINE)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)

crowds = st.lists(st.integers(0, 20 * QUANTUM), min_size=2, max_size=12)


def ready(local_times):
    machine = Machine(*[1] * len(local_times))
    for row, time in enumerate(local_times):
        machine.run(row, until=time)
        machine.sched.preempt(row)
    return machine


@given(crowds)
def test_nobody_who_can_run_starves(local_times):
    machine = ready(local_times)
    waiting = set(range(len(local_times)))
    for _ in range(25 * len(local_times)):
        row = schedule(machine.sched)
        waiting.discard(row)
        machine.run(row)
        machine.work(machine.sched.slice_end)
        machine.sched.preempt(row)
    assert not waiting
    times = machine.vcpus.local_time.tolist()
    assert max(times) - min(times) <= 2 * QUANTUM


@given(crowds, st.integers(1, 2 * QUANTUM), st.data())
def test_a_spinner_that_yields_lets_somebody_else_pass_each_time(local_times, spin, data):
    machine = ready(local_times)
    spinner = data.draw(st.integers(0, len(local_times) - 1))
    last = None
    for _ in range(100):
        row = schedule(machine.sched)
        machine.run(row)
        if row == spinner:
            assert last != spinner
            machine.work(min(machine.vcpus.local_time[row] + spin, machine.sched.slice_end))
            assert machine.sched.yield_(row)
        else:
            machine.work(machine.sched.slice_end)
            machine.sched.preempt(row)
        last = row


@given(crowds)
def test_the_whole_order_is_a_function_of_the_tables(local_times):
    """A copy of the bytes goes on in the same way."""
    machine = ready(local_times)
    copy = [Table(memoryview(bytearray(b"".join(padded(table, name) for name in table.COLUMNS))), table.rows)
            for Table, table in ((DomainTable, machine.domains), (VcpuTable, machine.vcpus),
                                 (WatchdogTable, machine.watchdogs))]
    twin = Scheduler(copy[0], copy[1], QUANTUM, copy[2])
    orders = []
    for sched in (machine.sched, twin):
        order = []
        for step in range(60):
            row = schedule(sched)
            order.append(row)
            sched.start(row)
            sched.vcpus.local_time[row] = sched.slice_end
            if step % 3:
                sched.preempt(row)
            else:
                sched.yield_(row)
        orders.append(order)
    assert orders[0] == orders[1]


def padded(table, name):
    """A column's bytes as they lie in the table."""
    data = bytes(getattr(table, name).cast("B"))
    return data + bytes(-len(data) % 64)
