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
from hypervisor.memory_pv import PvPages, give, give_back
from hypervisor.unimplemented import not_implemented

DOMU_MAX_ORDER, CONTROL_MAX_ORDER = 9, 18
_MAX_NODES = 64


def reservation(hv: MemoryHost, call: Call, op: MemoryOp, start: int, arg: int) -> int:
    """One of the three operations, from extent `start` on.  Raises Continuation."""
    try:
        list_at, count, order, flags, dom = copied_in(call, MEMORY_RESERVATION, arg)
        if start >= count or count > (1 << call.width) - 1 >> EXTENT_SHIFT:
            return start
        domid = target_of(hv, call, dom)
        below = _frames_below(hv, call, flags)
        if order > (CONTROL_MAX_ORDER if hv.domains.privileged[call.domid] else DOMU_MAX_ORDER):
            return start
    except XenError:
        return start
    pages = None if hv.memory.root(domid) else hv.memory.pv
    if not hv.memory.root(domid) and pages is None:
        not_implemented(hv, call, "memory_op", f"{op.name} of a PV domain")
    size = call.width // 8
    done = start
    try:
        while done < count:
            if done != start and (done - start) << order >= SHARE:
                raise Continuation(op | done << EXTENT_SHIFT, arg)
            if pages is not None:
                _of_pv(hv, call, op, pages, domid, list_at and list_at + done * size, order, flags, below)
            elif op == MemoryOp.increase_reservation:
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


def _of_pv(hv: MemoryHost, call: Call, op: MemoryOp, pages: PvPages, domid: Domid, at: int, order: int, flags: int,
           below: int) -> None:
    """One extent of a PV domain, whose frame, or page and then its frame, are in the list at `at`."""
    size = call.width // 8
    number = None
    if op != MemoryOp.increase_reservation:
        number = int.from_bytes(call.memory.read(at, size), "little")
    if op == MemoryOp.decrease_reservation and number is not None:
        for mfn in range(number, number + (1 << order)):
            give_back(hv, domid, mfn)
        return
    if flags & XENMEMF_populate_on_demand and number is not None:
        raise XenError(Errno.EINVAL)
    mfn = give(hv, pages, domid, number, order, below)
    if at:
        call.memory.write(at, mfn.to_bytes(size, "little"))


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
