"""The local APIC: registers, priorities, interrupts to itself, and its timer."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abi.types import NEVER
from hypervisor.apic import LVT_MASKED, LVT_PERIODIC, SVR_ENABLED, ApicRegister
from hypervisor.apic_bus import ApicBus
from hypervisor.vlapic import BUS_CYCLE, SHORTEST_PERIOD, ApicFault, Vlapic

R = ApicRegister
DIVIDE_BY_1 = 0xB


class Alone:
    """No other processors."""

    def init(self, vcpu_id: int) -> None:
        pass

    def start_up(self, vcpu_id: int, page: int) -> None:
        pass


class Machine:
    """An APIC, a clock that the test moves, and a vCPU that has its interrupts shut."""

    def __init__(self, vcpu_id: int = 0, enabled: bool = True) -> None:
        self.now, self.deadline = 1000, NEVER
        self.pending = memoryview(bytearray(8)).cast("Q")
        self.apic = Vlapic(vcpu_id, self.pending, lambda: self.now, self.set_timer,
                           ApicBus(Alone()))
        self.read, self.write = self.apic.read, self.apic.write
        if enabled:
            self.write(R.SVR, SVR_ENABLED | 0xFF)

    def set_timer(self, deadline: int) -> None:
        self.deadline = deadline

    def pass_time(self, nanoseconds: int) -> int:
        """How often the timer fires meanwhile."""
        end, fired = self.now + nanoseconds, 0
        while self.deadline <= end:
            self.now, self.deadline = self.deadline, NEVER
            self.apic.timer_fired(self.now)
            fired += 1
        self.now = end
        return fired


def bits(read: Callable[[int], int], first: int) -> set[int]:
    return {32 * word + bit for word in range(8) for bit in range(32) if read(first + word) >> bit & 1}


def test_after_a_reset_it_is_off_and_masked():
    machine = Machine(enabled=False)
    assert machine.read(R.SVR) == 0xFF
    assert {machine.read(register) for register in range(R.LVT_TIMER, R.LVT_ERROR + 1)} == {LVT_MASKED}
    assert machine.read(R.VERSION) == 0x50014
    machine.write(R.SELF_IPI, 0x40)
    assert bits(machine.read, R.IRR) == set()


@pytest.mark.parametrize(("vcpu_id", "number", "logical"), [(0, 0, 1), (3, 6, 1 << 6), (9, 18, 1 << 16 | 1 << 2)])
def test_its_numbers_are_xens(vcpu_id, number, logical):
    machine = Machine(vcpu_id)
    assert (machine.read(R.ID), machine.read(R.LDR)) == (number, logical)


@pytest.mark.parametrize("register", [0x00, R.EOI, 0x0C, 0x0E, 0x2F, 0x31, R.SELF_IPI, 0xFF])
def test_what_cannot_be_read_faults(register):
    with pytest.raises(ApicFault):
        Machine().read(register)


@pytest.mark.parametrize(("register", "value"), [
    (R.ID, 0), (R.VERSION, 0), (R.PPR, 0), (R.LDR, 0), (R.ISR, 0), (R.IRR, 0), (R.TIMER_CURRENT, 0), (0x0E, 0),
    (0x2F, 0), (R.EOI, 1), (R.ESR, 1), (R.TPR, 0x100), (R.SVR, 0x1200), (R.LVT_TIMER, 1 << 18), (R.LVT_ERROR, 1 << 8),
    (R.TIMER_INITIAL, 1 << 32), (R.TIMER_DIVIDE, 4), (R.ICR, 1 << 12), (R.SELF_IPI, 0x100)])
def test_what_cannot_be_written_faults_and_changes_nothing(register, value):
    machine = Machine()
    before = machine.apic.save()
    with pytest.raises(ApicFault):
        machine.write(register, value)
    assert machine.apic.save() == before


def test_an_interrupt_waits_is_served_and_ends():
    machine = Machine()
    machine.write(R.SELF_IPI, 0x41)
    assert (machine.pending[0], bits(machine.read, R.IRR), bits(machine.read, R.ISR)) == (0x41, {0x41}, set())
    assert machine.apic.accept() == 0x41
    assert (machine.pending[0], bits(machine.read, R.IRR), bits(machine.read, R.ISR)) == (0, set(), {0x41})
    assert machine.read(R.PPR) == 0x40
    machine.write(R.EOI, 0)
    assert (bits(machine.read, R.ISR), machine.read(R.PPR)) == (set(), 0)


def test_only_a_higher_class_interrupts_what_is_in_service():
    machine = Machine()
    machine.write(R.SELF_IPI, 0x45)
    machine.apic.accept()
    machine.write(R.SELF_IPI, 0x4F)
    assert machine.pending[0] == 0
    machine.write(R.SELF_IPI, 0x50)
    assert machine.apic.accept() == 0x50
    machine.write(R.EOI, 0)
    assert (machine.pending[0], bits(machine.read, R.ISR)) == (0, {0x45})
    machine.write(R.EOI, 0)
    assert machine.pending[0] == 0x4F


def test_an_end_of_nothing_is_nothing():
    machine = Machine()
    machine.write(R.EOI, 0)
    assert bits(machine.read, R.ISR) == set()


def test_the_task_priority_holds_its_class_and_lower_ones_back():
    machine = Machine()
    machine.write(R.SELF_IPI, 0x4F)
    for priority, pending in ((0x40, 0), (0x4F, 0), (0x3F, 0x4F), (0xFF, 0), (0, 0x4F)):
        machine.write(R.TPR, priority)
        assert (machine.pending[0], machine.read(R.PPR)) == (pending, priority)


def test_switched_off_it_keeps_what_waits_and_masks_its_own():
    machine = Machine()
    machine.write(R.SELF_IPI, 0x60)
    machine.write(R.LVT_TIMER, 0x70)
    machine.write(R.SVR, 0xFF)
    assert (machine.pending[0], machine.read(R.LVT_TIMER)) == (0, LVT_MASKED | 0x70)
    machine.write(R.LVT_TIMER, 0x70)
    assert machine.read(R.LVT_TIMER) == LVT_MASKED | 0x70
    machine.write(R.SVR, SVR_ENABLED)
    assert machine.pending[0] == 0x60


@pytest.mark.parametrize(("command", "comes"), [
    (1 << 18 | 0x60, True), (2 << 18 | 0x60, True), (3 << 18 | 0x60, False),  # self, all, others
    (6 << 32 | 0x60, True), (0 << 32 | 0x60, False), (0xFFFFFFFF << 32 | 0x60, True),
    (1 << 38 | 1 << 11 | 0x60, True), (1 << 37 | 1 << 11 | 0x60, False), (1 << 48 | 1 << 38 | 1 << 11 | 0x60, False),
    (6 << 32 | 1 << 8 | 0x60, True),  # lowest priority
    (1 << 18 | 4 << 8 | 0x60, False), (6 << 32 | 5 << 8, False), (6 << 32 | 6 << 8 | 0x60, False)])  # NMI, INIT, SIPI
def test_for_whom_a_command_is(command, comes):
    machine = Machine(vcpu_id=3)
    machine.write(R.ICR, command)
    assert (machine.pending[0] == 0x60, machine.read(R.ICR)) == (comes, command)


def test_an_illegal_vector_is_an_error_that_can_interrupt():
    machine = Machine()
    machine.write(R.LVT_ERROR, 0x33)
    machine.write(R.SELF_IPI, 0xF)
    assert (machine.pending[0], machine.read(R.ESR)) == (0x33, 0)
    machine.write(R.ESR, 0)
    assert machine.read(R.ESR) == 1 << 5
    machine.write(R.ESR, 0)
    assert machine.read(R.ESR) == 0


def test_an_illegal_vector_for_errors_is_an_error_and_no_more():
    machine = Machine()
    machine.write(R.LVT_ERROR, 1)
    machine.write(R.SELF_IPI, 0)
    machine.write(R.ESR, 0)
    assert (machine.pending[0], machine.read(R.ESR)) == (0, 1 << 5 | 1 << 6)


@pytest.mark.parametrize(("divide", "by"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xA, 128), (0xB, 1)])
def test_the_timer_counts_down_and_fires_once(divide, by):
    machine = Machine()
    machine.write(R.TIMER_DIVIDE, divide)
    machine.write(R.LVT_TIMER, 0x80)
    machine.write(R.TIMER_INITIAL, 1000)
    step = by * BUS_CYCLE
    assert machine.pass_time(400 * step) == 0
    assert machine.read(R.TIMER_CURRENT) == 600
    assert machine.pass_time(600 * step - 1) == 0
    assert (machine.read(R.TIMER_CURRENT), machine.pending[0]) == (1, 0)
    assert machine.pass_time(1) == 1
    assert (machine.read(R.TIMER_CURRENT), machine.pending[0], machine.deadline) == (0, 0x80, NEVER)


def test_a_periodic_timer_keeps_its_pace_however_late_it_is_seen():
    machine = Machine()
    machine.write(R.TIMER_DIVIDE, DIVIDE_BY_1)
    machine.write(R.LVT_TIMER, LVT_PERIODIC | 0x80)
    machine.write(R.TIMER_INITIAL, 100_000)
    period, begin = 100_000 * BUS_CYCLE, machine.now
    assert machine.pass_time(3 * period) == 3
    machine.now = begin + 5 * period + 7
    machine.apic.timer_fired(machine.now)
    assert machine.deadline == begin + 6 * period


def test_a_timer_cannot_tick_faster_than_anybody_could_work():
    machine = Machine()
    machine.write(R.LVT_TIMER, LVT_PERIODIC | 0x80)
    machine.write(R.TIMER_INITIAL, 1)
    assert machine.pass_time(10 * SHORTEST_PERIOD) <= 11


def test_a_masked_timer_runs_and_says_nothing():
    machine = Machine()
    machine.write(R.TIMER_INITIAL, 10)
    assert machine.pass_time(1000) == 1
    assert bits(machine.read, R.IRR) == set()


def test_a_count_of_zero_stops_it():
    machine = Machine()
    machine.write(R.TIMER_INITIAL, 10)
    machine.write(R.TIMER_INITIAL, 0)
    assert (machine.deadline, machine.read(R.TIMER_CURRENT)) == (NEVER, 0)


def test_another_divisor_changes_the_pace_of_what_is_left():
    machine = Machine()
    machine.write(R.TIMER_DIVIDE, DIVIDE_BY_1)
    machine.write(R.TIMER_INITIAL, 100)
    machine.pass_time(40 * BUS_CYCLE)
    machine.write(R.TIMER_DIVIDE, 0)
    assert machine.read(R.TIMER_CURRENT) == 60
    assert machine.deadline == machine.now + 60 * 2 * BUS_CYCLE


def test_it_goes_on_elsewhere_as_it_was():
    machine, other = Machine(), Machine()
    machine.write(R.LVT_TIMER, LVT_PERIODIC | 0x80)
    machine.write(R.TIMER_INITIAL, 77)
    for vector in (0x31, 0x95, 0xFE):
        machine.write(R.SELF_IPI, vector)
    machine.apic.accept()
    other.apic.restore(machine.apic.save())
    assert other.apic.save() == machine.apic.save()
    other.write(R.EOI, 0)
    assert other.pending[0] == 0x95


VECTORS = st.integers(16, 255)
STEPS = st.lists(st.one_of(
    st.tuples(st.just(R.SELF_IPI), VECTORS), st.tuples(st.just(R.TPR), st.integers(0, 255)),
    st.tuples(st.just(R.EOI), st.just(0)), st.tuples(st.just("accept"), st.just(0))), max_size=60)


@settings(deadline=None)
@given(STEPS)
def test_what_is_pending_is_always_the_highest_that_may_come(steps):
    machine, waiting, serving, priority = Machine(), set(), [], 0
    for step, value in steps:
        if step == "accept":
            if machine.pending[0]:
                vector = machine.apic.accept()
                waiting.discard(vector)
                serving.append(vector)
        else:
            machine.write(step, value)
            if step == R.SELF_IPI:
                waiting.add(value)
            elif step == R.TPR:
                priority = value
            elif serving:
                serving.remove(max(serving))
        floor = max([priority, *serving]) >> 4
        assert machine.pending[0] == max((vector for vector in waiting if vector >> 4 > floor), default=0)
        assert (bits(machine.read, R.IRR), bits(machine.read, R.ISR)) == (waiting, set(serving))
