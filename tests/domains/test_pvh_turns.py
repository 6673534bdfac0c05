"""The processors of a PVH domain with several vCPUs: who is in the engine, and what a new beginning forgets."""

import pytest
from new_domain import new_domain

from domains import envlayout as env
from domains import segments
from domains.fast_path import load_fast_path
from hypervisor.apic import SVR_ENABLED, ApicRegister
from hypervisor.domain import start_domain

VECTOR = 0x61


@pytest.fixture(params=["native front", "no front"])
def built(request):
    """A host whose domain has three vCPUs and may run, and them."""
    hv, found, _ = new_domain(load_fast_path() if request.param == "native front" else None, 3)
    vcpus = list(found.values())
    start_domain(hv, 1)
    hv.sched.current = vcpus[0].vcpu
    return hv, vcpus


def test_each_has_its_own_registers_and_interrupts(built):
    _, (first, second, _) = built
    turns, q = first.turns, first.q
    eip = q[env.RIP]
    first.engine.request_interrupt(0x41, True)
    turns.take(second)
    assert (second.q[env.RIP], first.engine.interrupt_request[0] & env.INTERRUPT_VIRQ) == (0, 0)
    q[env.RBX] = 7
    turns.take(first)
    assert (q[env.RIP], first.engine.int_vector[0]) == (eip, 0x41)
    assert first.engine.interrupt_request[0] & env.INTERRUPT_VIRQ
    turns.take(second)
    assert q[env.RBX] == 7


def test_what_waits_in_an_apic_waits_for_its_own_vcpu(built):
    _, vcpus = built
    turns = vcpus[0].turns
    for vcpu in vcpus:
        vcpu.apic.write(ApicRegister.SVR, SVR_ENABLED | 0xFF)
    vcpus[0].apic.write(ApicRegister.ICR, 2 << 32 | VECTOR)
    for current in (vcpus[1], vcpus[2], vcpus[0], vcpus[1]):
        turns.take(current)
        assert [vcpu.event_deliverable() for vcpu in vcpus] == [False] * 3  # interrupts are shut
        assert [vcpu._apic_pending[0] for vcpu in vcpus] == [0, VECTOR, 0]
        if current.front is not None:
            assert current.front.apic[0] == current._apic_pending[0]


def test_a_start_up_message_puts_it_where_the_message_says(built):
    hv, (first, second, _) = built
    first.turns.start_up(1, 0x12)
    assert hv.sched.is_up(second.vcpu)
    first.turns.start_up(1, 0x34)  # too late
    first.turns.take(second)
    assert segments.read(second.engine, env.CS).base == 0x12000
    assert not second.q[env.CR0] & segments.CR0_PE


def test_init_resets_who_has_begun_and_no_other(built):
    hv, (first, second, third) = built
    first.turns.start_up(1, 0x12)
    second.apic.write(ApicRegister.SVR, SVR_ENABLED | 0xFF)
    third.apic.write(ApicRegister.SVR, SVR_ENABLED | 0xFF)
    for number in (1, 2):
        first.turns.init(number)
    assert not hv.sched.is_up(second.vcpu)
    assert (second.apic.enabled, third.apic.enabled) == (False, True)


def test_a_new_beginning_forgets_an_access_to_absent_memory(built):
    _, (first, second, _) = built
    first.turns.start_up(1, 0x12)
    second.exceptions.null_mmio.restore((8192, 0))  # it is in the middle of one
    first.turns.init(1)
    first.turns.start_up(1, 0x12)
    assert second.exceptions.null_mmio.save() == (0, 0)


def test_the_time_stamp_counter_does_not_go_back_from_one_to_another(built):
    _, (first, second, _) = built
    for vcpu, reached in ((first, 5_000_000), (second, 1_000)):
        vcpu._started, vcpu._granted = reached, 0
        vcpu._budget[0] = 0
    ahead = first.tsc()
    behind = second.tsc()
    assert behind >= ahead > second._local_time[second.vcpu]
