"""Event channels: sub-operations, their arguments, and the words of both ABIs (event_channel.h)."""

from enum import IntEnum

from abi.layout import U8, U16, U32, U64, Array, Layout, Union
from abi.naming import c_prefix


@c_prefix("EVTCHNOP_")
class EvtchnOp(IntEnum):
    bind_interdomain = 0
    bind_virq = 1
    bind_pirq = 2
    close = 3
    send = 4
    status = 5
    alloc_unbound = 6
    bind_ipi = 7
    bind_vcpu = 8
    unmask = 9
    reset = 10
    init_control = 11
    expand_array = 12
    set_priority = 13


@c_prefix("EVTCHNSTAT_")
class EvtchnStatus(IntEnum):
    """What EVTCHNOP_status says of a port."""

    closed = 0
    unbound = 1
    interdomain = 2
    pirq = 3
    virq = 4
    ipi = 5


BIND_PIRQ__WILL_SHARE = 1

EVTCHN_ALLOC_UNBOUND = Layout("evtchn_alloc_unbound", dom=U16, remote_dom=U16, port=U32)
EVTCHN_BIND_INTERDOMAIN = Layout("evtchn_bind_interdomain", remote_dom=U16, remote_port=U32, local_port=U32)
EVTCHN_BIND_VIRQ = Layout("evtchn_bind_virq", virq=U32, vcpu=U32, port=U32)
EVTCHN_BIND_PIRQ = Layout("evtchn_bind_pirq", pirq=U32, flags=U32, port=U32)
EVTCHN_BIND_IPI = Layout("evtchn_bind_ipi", vcpu=U32, port=U32)
EVTCHN_CLOSE = Layout("evtchn_close", port=U32)
EVTCHN_SEND = Layout("evtchn_send", port=U32)
EVTCHN_STATUS = Layout(
    "evtchn_status",
    dom=U16, port=U32, status=U32, vcpu=U32,
    u=Union(
        unbound=Layout("", dom=U16),
        interdomain=Layout("", dom=U16, port=U32),
        pirq=U32,
        virq=U32,
    ),
)
EVTCHN_BIND_VCPU = Layout("evtchn_bind_vcpu", port=U32, vcpu=U32)
EVTCHN_UNMASK = Layout("evtchn_unmask", port=U32)
EVTCHN_RESET = Layout("evtchn_reset", dom=U16)
EVTCHN_INIT_CONTROL = Layout(
    "evtchn_init_control", control_gfn=U64, offset=U32, vcpu=U32, link_bits=U8, _pad=Array(U8, 7),
)
EVTCHN_EXPAND_ARRAY = Layout("evtchn_expand_array", array_gfn=U64)
EVTCHN_SET_PRIORITY = Layout("evtchn_set_priority", port=U32, priority=U32)
EVTCHN_OP = Layout(
    "evtchn_op",
    cmd=U32,
    u=Union(
        alloc_unbound=EVTCHN_ALLOC_UNBOUND,
        bind_interdomain=EVTCHN_BIND_INTERDOMAIN,
        bind_virq=EVTCHN_BIND_VIRQ,
        bind_pirq=EVTCHN_BIND_PIRQ,
        bind_ipi=EVTCHN_BIND_IPI,
        close=EVTCHN_CLOSE,
        send=EVTCHN_SEND,
        status=EVTCHN_STATUS,
        bind_vcpu=EVTCHN_BIND_VCPU,
        unmask=EVTCHN_UNMASK,
    ),
)
"""The argument of the old hypercall, event_channel_op_compat."""

EVTCHN_2L_NR_CHANNELS = {32: 1024, 64: 4096}

EVTCHN_FIFO_PRIORITY_MAX = 0
EVTCHN_FIFO_PRIORITY_DEFAULT = 7
EVTCHN_FIFO_PRIORITY_MIN = 15
EVTCHN_FIFO_MAX_QUEUES = 16
EVTCHN_FIFO_PENDING = 31
EVTCHN_FIFO_MASKED = 30
EVTCHN_FIFO_LINKED = 29
EVTCHN_FIFO_BUSY = 28
"""The four above are bit numbers in an event word."""
EVTCHN_FIFO_LINK_BITS = 17
EVTCHN_FIFO_LINK_MASK = (1 << 17) - 1
EVTCHN_FIFO_NR_CHANNELS = 1 << 17
EVTCHN_FIFO_CONTROL_BLOCK = Layout(
    "evtchn_fifo_control_block", ready=U32, _rsvd=U32, head=Array(U32, EVTCHN_FIFO_MAX_QUEUES),
)
