"""To whom an APIC's commands go: by number, by cluster, to all, to one of several, and what INIT and start-up do."""

import pytest

from abi.types import NEVER
from hypervisor.apic import BROADCAST, ICR_ASSERT, ICR_LEVEL, ICR_LOGICAL, SVR_ENABLED, ApicRegister, DeliveryMode
from hypervisor.apic_bus import ApicBus
from hypervisor.vlapic import Vlapic

R = ApicRegister
VECTOR = 0x61
INIT, STARTUP = DeliveryMode.INIT << 8, DeliveryMode.STARTUP << 8
LOWEST = DeliveryMode.LOWEST_PRIORITY << 8
SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18


class Domain:
    """The APICs of ten vCPUs, all on, and what the bus asks of their processors."""

    def __init__(self, vcpus=10):
        self.asked = []
        self.bus = ApicBus(self)
        self.pending = [memoryview(bytearray(8)).cast("Q") for _ in range(vcpus)]
        self.apics = [Vlapic(number, pending, lambda: 0, lambda deadline: None, self.bus)
                      for number, pending in enumerate(self.pending)]
        for apic in self.apics:
            apic.write(R.SVR, SVR_ENABLED | 0xFF)

    def wake(self, number):
        self.asked.append(("wake", number))

    def init(self, number):
        self.asked.append(("init", number))

    def start_up(self, number, page):
        self.asked.append(("start", number, page))

    def send(self, source, command, destination=0):
        self.apics[source].write(R.ICR, destination << 32 | command)

    def reached(self):
        """Who has VECTOR waiting now."""
        return [number for number, pending in enumerate(self.pending) if pending[0] == VECTOR]

    def taken(self):
        """The same, and it is taken and served."""
        found = self.reached()
        for number in found:
            self.apics[number].accept()
            self.apics[number].write(R.EOI, 0)
        return found


@pytest.mark.parametrize(("command", "destination", "receivers"), [
    (0, 6, [3]), (0, 7, []), (0, 2, [1]), (0, BROADCAST, list(range(10))),
    (ICR_LOGICAL, 0b10100, [1, 2]), (ICR_LOGICAL, 1 << 16 | 0b101, [8, 9]), (ICR_LOGICAL, 2 << 16 | 1, []),
    (ICR_LOGICAL, BROADCAST, list(range(10))),
    (SELF, 6, [1]), (ALL, 6, list(range(10))), (OTHERS, 6, [0, 2, 3, 4, 5, 6, 7, 8, 9])])
def test_a_fixed_interrupt_reaches_whom_it_is_for(command, destination, receivers):
    domain = Domain()
    domain.send(1, command | VECTOR, destination)
    assert domain.reached() == receivers
    assert domain.asked == [("wake", number) for number in receivers if number != 1]


def test_whoever_is_off_or_busier_than_that_is_not_woken():
    domain = Domain(3)
    domain.apics[1].write(R.SVR, 0xFF)
    domain.apics[2].write(R.TPR, 0xF0)
    domain.send(0, OTHERS | VECTOR)
    assert domain.asked == []
    domain.apics[2].write(R.TPR, 0)
    assert domain.reached() == [2]


def test_an_interrupt_for_the_least_busy_goes_round_among_equals():
    domain = Domain(4)
    domain.apics[2].write(R.SVR, 0xFF)
    reached = []
    for _ in range(4):
        domain.send(0, LOWEST | ALL | VECTOR)
        reached += domain.taken()
    assert reached == [1, 3, 0, 1]
    assert domain.bus.last == 1


def test_whoever_has_less_to_do_comes_first():
    domain = Domain(4)
    for number in (1, 2):
        domain.apics[number].write(R.TPR, 0x30)
    domain.send(0, LOWEST | ALL | VECTOR)
    assert domain.taken() == [3]
    domain.send(0, LOWEST | ICR_LOGICAL | VECTOR, 1 << 2 | 1 << 4)
    assert domain.taken() == [1]
    domain.send(0, LOWEST | VECTOR, 99)
    assert domain.taken() == []


def test_init_and_start_up_are_the_processors_affair():
    domain = Domain(3)
    domain.send(0, INIT | ICR_ASSERT | ICR_LEVEL, 4)
    domain.send(0, INIT | ICR_LEVEL, 4)
    domain.send(0, STARTUP | 0x9A, 4)
    domain.send(0, STARTUP | 0x9A | OTHERS)
    assert domain.asked == [("init", 2), ("start", 2, 0x9A), ("start", 1, 0x9A), ("start", 2, 0x9A)]
    assert domain.reached() == []


@pytest.mark.parametrize("mode", [DeliveryMode.SMI, DeliveryMode.NMI, DeliveryMode.EXTINT])
def test_what_there_is_not_reaches_nobody(mode):
    domain = Domain(3)
    domain.send(0, mode << 8 | ALL | VECTOR)
    assert (domain.reached(), domain.asked) == ([], [])


def test_a_reset_forgets_interrupts_and_the_timer():
    timers = []
    apic = Vlapic(1, memoryview(bytearray(8)).cast("Q"), lambda: 0, timers.append, ApicBus(Domain(0)))
    fresh = apic.save()
    apic.write(R.SVR, SVR_ENABLED | 0xFF)
    apic.write(R.TIMER_INITIAL, 1000)
    apic.write(R.SELF_IPI, VECTOR)
    apic.reset()
    assert apic.save() == fresh
    assert timers[-1] == NEVER


def test_what_waits_is_told_where_it_is_to_be():
    pending, elsewhere = (memoryview(bytearray(8)).cast("Q") for _ in range(2))
    apic = Vlapic(0, pending, lambda: 0, lambda deadline: None, ApicBus(Domain(0)))
    apic.write(R.SVR, SVR_ENABLED | 0xFF)
    apic.write(R.SELF_IPI, VECTOR)
    apic.keep_pending(elsewhere)
    assert (pending[0], elsewhere[0]) == (VECTOR, VECTOR)
    apic.accept()
    assert (pending[0], elsewhere[0]) == (VECTOR, 0)
