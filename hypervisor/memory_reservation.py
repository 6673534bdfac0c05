"""XENMEM_increase_reservation, decrease_reservation and populate_physmap (xen/memory.h).

They return the number of extents done, whatever stopped them.
"""

from abi.errno import Errno, XenError
from abi.memory import (
    MEMORY_RESERVATION,
    MemoryOp,
    XENMEMF_exact_node_request,
    XENMEMF_populate_on_demand,
    XENMEMF_vnode,
)
from abi.types import PAGE_SHIFT, Domid
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.memory_call import EXTENT_SHIFT, SHARE, MemoryHost, copied_in, target_of
from hypervisor.unimplemented import not_implemented

_DOMU_MAX_ORDER, _CONTROL_MAX_ORDER = 9, 18
_MAX_NODES = 64


def reservation(hv: MemoryHost, call: Call, op: MemoryOp, start: int, arg: int) -> int:
    """One of the three operations, from extent `start` on.  Raises Continuation."""
    try:
        list_at, count, order, flags, dom = copied_in(call, MEMORY_RESERVATION, arg)
        if start >= count or count > (1 << call.width) - 1 >> EXTENT_SHIFT:
            return start
        domid = target_of(hv, call, dom)
        below = _frames_below(hv, call, flags)
        if order > (_CONTROL_MAX_ORDER if hv.domains.privileged[call.domid] else _DOMU_MAX_ORDER):
            return start
    except XenError:
        return start
    if not hv.memory.root(domid):
        not_implemented(hv, call, "memory_op", f"{op.name} of a PV domain")
    size = call.width // 8
    done = start
    try:
        while done < count:
            if done != start and (done - start) << order >= SHARE:
                raise Continuation(op | done << EXTENT_SHIFT, arg)
            if op == MemoryOp.increase_reservation:
                hv.memory.allocate_pages(domid, 1 << order, 1 << order, below)
            else:
                gfn = int.from_bytes(call.memory.read(list_at + done * size, size), "little")
                if op == MemoryOp.decrease_reservation:
                    for page in range(gfn, gfn + (1 << order)):
                        hv.memory.physmap.remove_and_free(domid, page)
                else:
                    _populate(hv, call, domid, gfn, order, flags, below)
            done += 1
    except XenError:
        pass
    return done


def _populate(hv: MemoryHost, call: Call, domid: Domid, gfn: int, order: int, flags: int, below: int) -> None:
    """As in Xen, frames that then cannot be mapped stay with the domain, unseen."""
    if flags & XENMEMF_populate_on_demand:
        if domid == call.domid:
            raise XenError(Errno.EINVAL)
        not_implemented(hv, call, "memory_op", "populate on demand")
    hv.memory.physmap.add_page(domid, gfn, hv.memory.allocate_pages(domid, 1 << order, 1 << order, below), order)


def _frames_below(hv: MemoryHost, call: Call, flags: int) -> int:
    """The frame below which memory must lie.  Raises XenError(EINVAL) where `flags` ask for what cannot be had."""
    frames = hv.memory.frames.count
    node = (flags >> 8) - 1 & 0xFF
    if not flags & XENMEMF_vnode and node != 0xFF:
        refused = node >= _MAX_NODES if hv.domains.privileged[call.domid] else flags & XENMEMF_exact_node_request
        if refused:
            raise XenError(Errno.EINVAL)
    bits = flags & 0xFF
    if not bits or bits >= (frames - 1).bit_length() + PAGE_SHIFT:
        return frames
    if bits <= PAGE_SHIFT:
        raise XenError(Errno.EINVAL)
    return 1 << bits - PAGE_SHIFT
