"""event_channel_op (event_channel.h): from a guest's argument to `EventChannels` and back.

An operation's argument is read whole before anything is checked and, where there is an answer, written back whole, with
what the operation does not set as the guest left it.  Raises XenError(EFAULT) where either cannot be done; what was
done stays done.
"""

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from abi.errno import Errno, XenError
from abi.event_channel import (
    EVTCHN_ALLOC_UNBOUND,
    EVTCHN_BIND_INTERDOMAIN,
    EVTCHN_BIND_IPI,
    EVTCHN_BIND_PIRQ,
    EVTCHN_BIND_VCPU,
    EVTCHN_BIND_VIRQ,
    EVTCHN_CLOSE,
    EVTCHN_RESET,
    EVTCHN_SEND,
    EVTCHN_SET_PRIORITY,
    EVTCHN_STATUS,
    EVTCHN_UNMASK,
    EvtchnOp,
    EvtchnStatus,
)
from hypervisor import event_channel_fifo_op
from hypervisor.call import Call
from hypervisor.event_channel import EventChannels
from hypervisor.tables import VcpuTable
from hypervisor.unimplemented import Unimplemented, not_implemented

NR_PIRQS = 56
"""Interrupt numbers that a domU has, none of them with a device behind it: 24 of an IO-APIC, and extra_domU_irqs."""
RESET_CONT = 14
"""EVTCHNOP_reset_cont: how Xen continues a preempted reset.  A guest can ask for it, though its header hides it."""

# These arguments are the same bytes for 32-bit and 64-bit callers.
_ALLOC_UNBOUND = EVTCHN_ALLOC_UNBOUND.at(64)
_BIND_INTERDOMAIN = EVTCHN_BIND_INTERDOMAIN.at(64)
_BIND_VIRQ = EVTCHN_BIND_VIRQ.at(64)
_BIND_IPI = EVTCHN_BIND_IPI.at(64)
_BIND_PIRQ = EVTCHN_BIND_PIRQ.at(64)
_BIND_VCPU = EVTCHN_BIND_VCPU.at(64)
_CLOSE = EVTCHN_CLOSE.at(64)
_SEND = EVTCHN_SEND.at(64)
_STATUS = EVTCHN_STATUS.at(64)
_UNMASK = EVTCHN_UNMASK.at(64)
_RESET = EVTCHN_RESET.at(64)
_SET_PRIORITY = EVTCHN_SET_PRIORITY.at(64)
_DOMID, _U32 = Struct("<H"), Struct("<I")


class Host(event_channel_fifo_op.Host, Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def vcpus(self) -> VcpuTable: ...
    @property
    def events(self) -> EventChannels: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def event_channel_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """HYPERVISOR_event_channel_op(cmd, arg)."""
    cmd &= 0xFFFFFFFF
    operation = _OPERATIONS.get(cmd)
    if operation is None:
        name = EvtchnOp(cmd).name if cmd in _NAMED else cmd
        return not_implemented(hv, call, "event_channel_op", name)
    operation(hv, call, arg)
    return 0


def _alloc_unbound(hv: Host, call: Call, arg: int) -> None:
    data = call.memory.read(arg, _ALLOC_UNBOUND.size)
    dom, remote_dom, _ = _ALLOC_UNBOUND.unpack(data)
    port = hv.events.alloc_unbound(call.domid, dom, remote_dom)
    call.memory.write(arg, data[:_ALLOC_UNBOUND.offset["port"]] + _U32.pack(port))


def _bind_interdomain(hv: Host, call: Call, arg: int) -> None:
    data = call.memory.read(arg, _BIND_INTERDOMAIN.size)
    remote_dom, remote_port, _ = _BIND_INTERDOMAIN.unpack(data)
    port = hv.events.bind_interdomain(call.domid, remote_dom, remote_port)
    call.memory.write(arg, data[:_BIND_INTERDOMAIN.offset["local_port"]] + _U32.pack(port))


def _bind_virq(hv: Host, call: Call, arg: int) -> None:
    virq, vcpu_id, _ = _BIND_VIRQ.unpack(call.memory.read(arg, _BIND_VIRQ.size))
    port = hv.events.bind_virq(call.domid, virq, vcpu_id)
    call.memory.write(arg, _BIND_VIRQ.pack(virq, vcpu_id, port))


def _bind_ipi(hv: Host, call: Call, arg: int) -> None:
    vcpu_id, _ = _BIND_IPI.unpack(call.memory.read(arg, _BIND_IPI.size))
    port = hv.events.bind_ipi(call.domid, vcpu_id)
    call.memory.write(arg, _BIND_IPI.pack(vcpu_id, port))


def _bind_vcpu(hv: Host, call: Call, arg: int) -> None:
    port, vcpu_id = _BIND_VCPU.unpack(call.memory.read(arg, _BIND_VCPU.size))
    hv.events.bind_vcpu(call.domid, port, vcpu_id)


def _send(hv: Host, call: Call, arg: int) -> None:
    port, = _SEND.unpack(call.memory.read(arg, 4))
    hv.events.send(call.domid, port)
    hv.vcpus.events_sent[call.vcpu] += 1


def _status(hv: Host, call: Call, arg: int) -> None:
    data = call.memory.read(arg, _STATUS.size)
    dom, port, *_ = _STATUS.unpack(data)
    told = hv.events.status(call.domid, dom, port)
    # The union is written as far as the kind of port has something to say.
    answer, offset = bytearray(data), _STATUS.offset
    _U32.pack_into(answer, offset["status"], told.status)
    _U32.pack_into(answer, offset["vcpu"], told.vcpu)
    if told.status in (EvtchnStatus.unbound, EvtchnStatus.interdomain):
        _DOMID.pack_into(answer, offset["u_unbound_dom"], told.dom)
    if told.status == EvtchnStatus.interdomain:
        _U32.pack_into(answer, offset["u_interdomain_port"], told.port)
    if told.status == EvtchnStatus.virq:
        _U32.pack_into(answer, offset["u_virq"], told.virq)
    call.memory.write(arg, bytes(answer))


def _unmask(hv: Host, call: Call, arg: int) -> None:
    port, = _UNMASK.unpack(call.memory.read(arg, _UNMASK.size))
    hv.events.unmask(call.domid, port)


def _close(hv: Host, call: Call, arg: int) -> None:
    port, = _CLOSE.unpack(call.memory.read(arg, _CLOSE.size))
    hv.events.close(call.domid, port)


def _reset(hv: Host, call: Call, arg: int) -> None:
    dom, = _RESET.unpack(call.memory.read(arg, _RESET.size))
    hv.events.reset(call.domid, dom)


def _reset_cont(hv: Host, call: Call, arg: int) -> None:
    dom, = _RESET.unpack(call.memory.read(arg, _RESET.size))
    hv.events.reset_cont(call.domid, dom)


def _set_priority(hv: Host, call: Call, arg: int) -> None:
    port, priority = _SET_PRIORITY.unpack(call.memory.read(arg, _SET_PRIORITY.size))
    hv.events.set_priority(call.domid, port, priority)


def _bind_pirq(hv: Host, call: Call, arg: int) -> None:
    """EINVAL for an interrupt that there is not; EPERM for every other: no guest has one."""
    pirq, *_ = _BIND_PIRQ.unpack(call.memory.read(arg, _BIND_PIRQ.size))
    raise XenError(Errno.EINVAL if pirq >= NR_PIRQS else Errno.EPERM)


_OPERATIONS: dict[int, Callable[[Host, Call, int], None]] = {
    EvtchnOp.bind_interdomain: _bind_interdomain,
    EvtchnOp.bind_virq: _bind_virq,
    EvtchnOp.close: _close,
    EvtchnOp.send: _send,
    EvtchnOp.status: _status,
    EvtchnOp.alloc_unbound: _alloc_unbound,
    EvtchnOp.bind_ipi: _bind_ipi,
    EvtchnOp.bind_vcpu: _bind_vcpu,
    EvtchnOp.unmask: _unmask,
    EvtchnOp.reset: _reset,
    EvtchnOp.set_priority: _set_priority,
    RESET_CONT: _reset_cont,
    EvtchnOp.init_control: event_channel_fifo_op.init_control,
    EvtchnOp.expand_array: event_channel_fifo_op.expand_array,
    EvtchnOp.bind_pirq: _bind_pirq,
}
_NAMED = frozenset(EvtchnOp)
