"""event_channel_op: the bytes of each argument, and what a bad one gets."""

from struct import pack

import pytest
from event_channel_host import Caller, EventHost, Hypervisor, errno_of

from abi.event_channel import EvtchnOp
from abi.xen import DOMID_SELF, Virq
from hypervisor.event_channel_op import RESET_CONT, event_channel_op

ARGUMENT = 0x1010
SIZES = {
    EvtchnOp.bind_interdomain: 12, EvtchnOp.bind_virq: 12, EvtchnOp.close: 4, EvtchnOp.send: 4, EvtchnOp.status: 24,
    EvtchnOp.alloc_unbound: 8, EvtchnOp.bind_ipi: 8, EvtchnOp.bind_vcpu: 8, EvtchnOp.unmask: 4, EvtchnOp.reset: 2,
    EvtchnOp.set_priority: 8, RESET_CONT: 2,
}


@pytest.fixture
def host():
    return EventHost()


@pytest.fixture
def hv(host):
    return Hypervisor(host)


@pytest.fixture(params=[32, 64])
def caller(request):
    return Caller(width=request.param)


def ask(hv, caller, operation, argument):
    """Make the hypercall and give back its argument as it is afterwards."""
    caller.memory.write(ARGUMENT, argument)
    assert event_channel_op(hv, caller, operation, ARGUMENT) == 0
    return caller.memory.read(ARGUMENT, len(argument))


def test_alloc_unbound(hv, caller):
    argument = pack("<HHI", DOMID_SELF, 2, 99)
    assert ask(hv, caller, EvtchnOp.alloc_unbound, argument) == pack("<HHI", DOMID_SELF, 2, 1)


def test_bind_interdomain_leaves_the_padding(hv, caller):
    port = hv.events.alloc_unbound(2, DOMID_SELF, 1)
    argument = pack("<HHII", 2, 0xABCD, port, 99)
    assert ask(hv, caller, EvtchnOp.bind_interdomain, argument) == pack("<HHII", 2, 0xABCD, port, 1)


def test_bind_virq(hv, caller):
    assert ask(hv, caller, EvtchnOp.bind_virq, pack("<III", Virq.TIMER, 1, 99)) == pack("<III", Virq.TIMER, 1, 1)


def test_bind_ipi(hv, caller):
    assert ask(hv, caller, EvtchnOp.bind_ipi, pack("<II", 2, 99)) == pack("<II", 2, 1)


def test_bind_vcpu(hv, caller):
    port = hv.events.alloc_unbound(1, DOMID_SELF, 2)
    ask(hv, caller, EvtchnOp.bind_vcpu, pack("<II", port, 2))
    assert hv.events.status(1, DOMID_SELF, port).vcpu == 2


def test_send_is_counted_for_the_sender(host, hv, caller):
    port = hv.events.bind_ipi(1, 0)
    ask(hv, caller, EvtchnOp.send, pack("<I", port))
    assert host.pending(1, port)
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.send, ARGUMENT + 4) == "EINVAL"
    assert host.vcpus.events_sent[caller.vcpu] == 1


def test_unmask(host, hv, caller):
    port = hv.events.bind_ipi(1, 0)
    host.mask(1, port)
    ask(hv, caller, EvtchnOp.unmask, pack("<I", port))
    assert not host.masked(1, port)


def test_close(hv, caller):
    port = hv.events.bind_ipi(1, 0)
    ask(hv, caller, EvtchnOp.close, pack("<I", port))
    assert hv.events.bind_ipi(1, 0) == port


def test_reset(hv, caller):
    hv.events.bind_ipi(1, 0)
    ask(hv, caller, EvtchnOp.reset, pack("<H", DOMID_SELF))
    assert hv.events.bind_ipi(1, 0) == 1


class TestStatus:
    """Argument: dom, padding, port, status, vcpu, and a union of 8 bytes, written as far as it says something."""

    def status(self, hv, caller, port):
        answer = ask(hv, caller, EvtchnOp.status, pack("<HHIII", DOMID_SELF, 0xABCD, port, 77, 77) + b"\xee" * 8)
        assert answer[:8] == pack("<HHI", DOMID_SELF, 0xABCD, port)
        return answer[8:]

    def test_closed(self, hv, caller):
        assert self.status(hv, caller, 5) == pack("<II", 0, 0) + b"\xee" * 8

    def test_unbound(self, hv, caller):
        port = hv.events.alloc_unbound(1, DOMID_SELF, 2)
        assert self.status(hv, caller, port) == pack("<IIH", 1, 0, 2) + b"\xee" * 6

    def test_interdomain(self, host, hv, caller):
        hv.events.bind_ipi(2, 0)
        ours, theirs = host.connected()
        assert self.status(hv, caller, ours) == pack("<IIH2sI", 2, 0, 2, b"\xee" * 2, theirs)

    def test_virq(self, hv, caller):
        port = hv.events.bind_virq(1, Virq.DEBUG, 2)
        assert self.status(hv, caller, port) == pack("<III", 4, 2, Virq.DEBUG) + b"\xee" * 4

    def test_ipi(self, hv, caller):
        assert self.status(hv, caller, hv.events.bind_ipi(1, 1)) == pack("<II", 5, 1) + b"\xee" * 8


@pytest.mark.parametrize("operation", SIZES)
def test_an_argument_that_cannot_be_read(hv, caller, operation):
    assert errno_of(event_channel_op, hv, caller, operation, 0) == "EFAULT"
    assert errno_of(event_channel_op, hv, caller, operation, 0x2000 - SIZES[operation] + 1) == "EFAULT"


@pytest.mark.parametrize(("operation", "argument"), [
    (EvtchnOp.alloc_unbound, pack("<HHI", DOMID_SELF, 2, 0)),
    (EvtchnOp.bind_interdomain, pack("<HHII", 2, 0, 1, 0)),
    (EvtchnOp.bind_virq, pack("<III", Virq.TIMER, 0, 0)),
    (EvtchnOp.bind_ipi, pack("<II", 0, 0)),
])
def test_an_answer_that_cannot_be_written_costs_a_port(hv, caller, operation, argument):
    hv.events.alloc_unbound(2, DOMID_SELF, 1)
    caller.memory.write(ARGUMENT, argument)
    caller.memory.writable_end = ARGUMENT
    assert errno_of(event_channel_op, hv, caller, operation, ARGUMENT) == "EFAULT"
    assert hv.events.alloc_unbound(1, DOMID_SELF, 2) == 2


def test_a_status_that_cannot_be_written(hv, caller):
    caller.memory.write(ARGUMENT, pack("<HHI", DOMID_SELF, 0, 0))
    caller.memory.writable_end = ARGUMENT
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.status, ARGUMENT) == "EFAULT"


def test_errors_leave_the_argument_alone(hv, caller):
    argument = pack("<HHI", 2, 2, 99)
    caller.memory.write(ARGUMENT, argument)
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.alloc_unbound, ARGUMENT) == "EPERM"
    assert caller.memory.read(ARGUMENT, 8) == argument


@pytest.mark.parametrize(("operation", "name"), [
    (EvtchnOp.init_control, "init_control"), (EvtchnOp.expand_array, "expand_array"),
    (15, "15"), (0xFFFFFFFF, "4294967295"),
])
def test_what_is_not_there_is_said_once_by_name(hv, caller, operation, name):
    for _ in range(2):
        assert errno_of(event_channel_op, hv, caller, operation, ARGUMENT) == "ENOSYS"
    (_, text), = hv.said
    assert f"event_channel_op/{name}:" in text


def test_no_guest_has_an_interrupt_of_the_machine(hv, caller):
    caller.memory.write(ARGUMENT, pack("<III", 3, 0, 0))
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.bind_pirq, ARGUMENT) == "EPERM"
    caller.memory.write(ARGUMENT, pack("<III", 1000, 0, 0))
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.bind_pirq, ARGUMENT) == "EINVAL"


def test_priorities_need_the_other_abi(hv, caller):
    caller.memory.write(ARGUMENT, pack("<II", hv.events.bind_ipi(1, 0), 3))
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.set_priority, ARGUMENT) == "ENOSYS"
    assert errno_of(event_channel_op, hv, caller, EvtchnOp.set_priority, ARGUMENT + 8) == "ENOSYS"


def test_a_reset_cannot_be_continued(hv, caller):
    caller.memory.write(ARGUMENT, pack("<H", DOMID_SELF))
    assert errno_of(event_channel_op, hv, caller, RESET_CONT, ARGUMENT) == "EBUSY"


def test_the_operation_is_an_int(hv, caller):
    caller.memory.write(ARGUMENT, pack("<I", hv.events.bind_ipi(1, 0)))
    assert event_channel_op(hv, caller, 1 << 32 | EvtchnOp.send, ARGUMENT) == 0
