"""Two hypercalls as guests made them before interface version 3.2.2: command and argument in one structure.

Kernels of that time, and libraries that fall back when the present call is -ENOSYS.  Their commands are those that the
structure has room for; any other is -EINVAL (xen/arch/x86/compat.c).
"""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.event_channel import EVTCHN_OP, EvtchnOp
from abi.physdev import PHYSDEV_OP, PhysdevOp
from hypervisor import event_channel_op, pv_physdev
from hypervisor.call import Call

_EVENT_CHANNELS = frozenset((
    EvtchnOp.bind_interdomain, EvtchnOp.bind_virq, EvtchnOp.bind_pirq, EvtchnOp.close, EvtchnOp.send, EvtchnOp.status,
    EvtchnOp.alloc_unbound, EvtchnOp.bind_ipi, EvtchnOp.bind_vcpu, EvtchnOp.unmask))
_PHYSDEV = frozenset((
    PhysdevOp.IRQ_UNMASK_NOTIFY, PhysdevOp.irq_status_query, PhysdevOp.set_iopl, PhysdevOp.set_iobitmap,
    PhysdevOp.apic_read, PhysdevOp.apic_write, PhysdevOp.alloc_irq_vector))


class Host(event_channel_op.Host, pv_physdev.Host, Protocol):
    """What these hypercalls need of the hypervisor."""


def event_channel_op_compat(hv: Host, call: Call, uop: int) -> int:
    """EFAULT, EINVAL, and the errors of `event_channel_op`."""
    # The layout of 64-bit callers is that of 32-bit ones.
    command = int.from_bytes(call.memory.read(uop, EVTCHN_OP.at(64).size)[:4], "little")
    if command not in _EVENT_CHANNELS:
        raise XenError(Errno.EINVAL)
    return event_channel_op.event_channel_op(hv, call, command, uop + EVTCHN_OP.at(64).offset["u"])


def physdev_op_compat(hv: Host, call: Call, uop: int) -> int:
    """EFAULT, EINVAL, and the errors of `physdev_op`."""
    shape = PHYSDEV_OP.at(call.width)
    command = int.from_bytes(call.memory.read(uop, shape.size)[:4], "little")
    if command not in _PHYSDEV:
        raise XenError(Errno.EINVAL)
    return pv_physdev.pv_physdev_op(hv, call, command, uop + shape.offset["u"])
