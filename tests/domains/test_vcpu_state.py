"""What a vCPU's bytes must be to be taken for one."""

import msgpack
import pytest
from new_domain import new_domain

from domains.fast_path import load_fast_path
from domains.runner import vcpus_of
from domains.vcpu_state import StateError, restore_vcpus, save_vcpus


@pytest.fixture(scope="module", params=[("pvh", 1), ("pvh", 3), ("pv", 3)])
def built(request):
    """A host with one domain that has not run, its vCPUs, and a meter."""
    kind, vcpus = request.param
    return new_domain(load_fast_path(), vcpus, kind)


def test_what_is_restored_is_saved_as_the_same_bytes(built):
    hv, vcpus, meter = built
    saved = save_vcpus(vcpus.values())
    again = restore_vcpus(hv, vcpus_of(hv, 1), meter, saved)
    assert save_vcpus(again.values()) == saved
    assert [type(vcpu) for vcpu in again.values()] == [type(vcpu) for vcpu in vcpus.values()]


def test_no_pointer_of_this_process_is_in_it(built):
    """Nothing in a processor's words looks like an address of this process's memory."""
    _, vcpus, _ = built
    for vcpu in vcpus.values():
        assert not [word for word in vcpu.q if 0x5500_0000_0000 <= word < 0x8000_0000_0000]


def test_an_interrupt_that_is_asked_for_is_kept(built):
    hv, vcpus, meter = built
    first = next(iter(vcpus.values()))
    first.engine.request_interrupt(0xF3, True)
    again = restore_vcpus(hv, vcpus_of(hv, 1), meter, save_vcpus(vcpus.values()))
    engine = next(iter(again.values())).engine
    assert engine.int_vector[0] == 0xF3
    assert engine.interrupt_request[0] == first.engine.interrupt_request[0] != 0
    first.engine.cancel_interrupt()


def test_what_is_no_state_is_refused(built):
    hv, vcpus, meter = built
    rows, saved = vcpus_of(hv, 1), save_vcpus(vcpus.values())
    processors, members = msgpack.unpackb(saved, strict_map_key=False)
    for broken in (b"", saved[:-1], saved[:100], b"\xc1", msgpack.packb(7), msgpack.packb((processors, [])),
                   msgpack.packb(([], members)), msgpack.packb(([[]], members)),
                   msgpack.packb((processors, [[99, *state] for _, *state in members]))):
        with pytest.raises(StateError):
            restore_vcpus(hv, rows, meter, broken)


def test_a_processor_of_another_build_is_refused(built):
    hv, vcpus, meter = built
    saved = save_vcpus(vcpus.values())
    words = next(iter(vcpus.values())).q.tobytes()
    shorter = saved.replace(msgpack.packb(words), msgpack.packb(words[:-8]), 1)
    assert shorter != saved
    with pytest.raises(StateError, match="the state of a processor"):
        restore_vcpus(hv, vcpus_of(hv, 1), meter, shorter)
