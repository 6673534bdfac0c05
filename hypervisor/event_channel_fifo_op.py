"""EVTCHNOP_init_control and EVTCHNOP_expand_array: how a guest goes over to the FIFO ABI (event_channel.h)."""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.event_channel import EVTCHN_EXPAND_ARRAY, EVTCHN_FIFO_LINK_BITS, EVTCHN_INIT_CONTROL
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Gfn, Mfn, Port
from hypervisor import event_channel, vcpu_info
from hypervisor.call import Call
from hypervisor.event_channel_fifo import CONTROL_SIZE
from hypervisor.event_channel_tables import EventAbiNumber, channel_row
from hypervisor.tables import VcpuTable
from hypervisor.unimplemented import Unimplemented, not_implemented

_INIT_CONTROL, _EXPAND_ARRAY = EVTCHN_INIT_CONTROL.at(64), EVTCHN_EXPAND_ARRAY.at(64)


class Host(Protocol):
    """What these operations need of the hypervisor."""

    @property
    def vcpus(self) -> VcpuTable: ...
    @property
    def events(self) -> event_channel.EventChannels: ...
    @property
    def memory(self) -> vcpu_info.Memory: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def init_control(hv: Host, call: Call, arg: int) -> None:
    """ENOENT for no such vCPU; EINVAL where the block would not fit, where the vCPU has one, and for no such page."""
    gfn, offset, vcpu_id, _, *rest = _INIT_CONTROL.unpack(call.memory.read(arg, _INIT_CONTROL.size))
    events, domid = hv.events, call.domid
    if events.fifo is None:
        not_implemented(hv, call, "event_channel_op", "init_control")
    row = events.ports.vcpu_row(domid, vcpu_id)
    if offset > PAGE_SIZE - CONTROL_SIZE or offset & 7:
        raise XenError(Errno.EINVAL)
    mfn = _writable_frame(hv, domid, gfn)
    try:
        events.fifo.add_control_block(row, (mfn << PAGE_SHIFT) + offset)
    except XenError:
        hv.memory.put_writable_page(mfn)
        raise
    _use_fifo(events, domid)
    call.memory.write(arg, _INIT_CONTROL.pack(gfn, offset, vcpu_id, EVTCHN_FIFO_LINK_BITS, *rest))


def expand_array(hv: Host, call: Call, arg: int) -> None:
    """EOPNOTSUPP before `init_control`; ENOSPC where every port has a word; EINVAL for no such page."""
    gfn, = _EXPAND_ARRAY.unpack(call.memory.read(arg, _EXPAND_ARRAY.size))
    events, domid = hv.events, call.domid
    if events.fifo is None:
        not_implemented(hv, call, "event_channel_op", "expand_array")
    if events.ports.spaces.abi[domid] != EventAbiNumber.FIFO:
        raise XenError(Errno.EOPNOTSUPP)
    events.fifo.room_for_page(domid)
    for number in events.fifo.add_page(domid, _writable_frame(hv, domid, gfn)):
        if number < events.ports.spaces.valid[domid] and events.fifo.saved(domid, Port(number)):
            events.ports.set_pending(domid, Port(number))


def _use_fifo(events: event_channel.EventChannels, domid: Domid) -> None:
    """The domain has its first control block: what is pending waits until there are words for it."""
    spaces, two_level = events.ports.spaces, events.ports.abi(domid)
    if events.fifo is None or two_level is events.fifo:
        return
    for number in range(1, spaces.valid[domid]):
        port = Port(number)
        if events.ports.usable(channel_row(domid, port)):
            events.fifo.prepare(domid, port)
            if two_level.is_pending(domid, port):
                events.fifo.save(domid, port)
    spaces.abi[domid] = EventAbiNumber.FIFO


def _writable_frame(hv: Host, domid: Domid, gfn: int) -> Mfn:
    """The guest's page, held with the right to write to it.  Raises XenError(EINVAL)."""
    try:
        mfn, _ = hv.memory.lookup(domid, Gfn(gfn))
    except XenError:
        raise XenError(Errno.EINVAL) from None
    if not hv.memory.get_writable_page(mfn, domid):
        raise XenError(Errno.EINVAL)
    return mfn
