"""XENMEM_add_to_physmap, add_to_physmap_batch and remove_from_physmap (xen/memory.h), for translated domains."""

from abi.errno import Errno, XenError
from abi.memory import ADD_TO_PHYSMAP, ADD_TO_PHYSMAP_BATCH, REMOVE_FROM_PHYSMAP, MapSpace, MemoryOp
from abi.types import PAGE_SHIFT, Domid, Mfn
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.memory_call import (
    EXTENT_SHIFT,
    SHARE,
    MemoryHost,
    check_target,
    copied_in,
    domain_by_any_id,
    refuse_restart,
)

_LARGEST_SIZE = 0xFFFF


def add_to_physmap(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    """Map a page, or from number `start` on a range of pages, of some space.  Raises XenError, Continuation."""
    if start > _LARGEST_SIZE:
        raise XenError(Errno.EDOM)
    dom, size, space, idx, gpfn = copied_in(call, ADD_TO_PHYSMAP, arg)
    if space == MapSpace.gmfn_foreign:
        raise XenError(Errno.ENOSYS)
    domid = _permitted(hv, call, dom, space)
    if space != MapSpace.gmfn_range:
        _add_one(hv, domid, space, idx, gpfn)
        return 0
    if size < start:
        raise XenError(Errno.EILSEQ)
    if max(gpfn, idx) + size >> 64:
        raise XenError(Errno.EOVERFLOW)
    for done in range(start, size):
        if done - start == SHARE:
            raise Continuation(MemoryOp.add_to_physmap | done << EXTENT_SHIFT, arg)
        _add_one(hv, domid, MapSpace.gmfn, idx + done, gpfn + done)
    return 0


def add_to_physmap_batch(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    """Map pages of one space from number `start` on, with an error code for each.  Raises XenError, Continuation."""
    if start > _LARGEST_SIZE:
        raise XenError(Errno.EDOM)
    shape = ADD_TO_PHYSMAP_BATCH.at(call.width)
    dom, space, size, extra, idxs, gpfns, errs = shape.unpack(call.memory.read(arg, shape.size))
    if space == MapSpace.gmfn_range:
        raise XenError(Errno.EOPNOTSUPP)
    domid = _permitted(hv, call, dom, space)
    if size < start or (start and size == start):
        raise XenError(Errno.EILSEQ)
    foreign = int.from_bytes(extra, "little")
    word = call.width // 8
    for done in range(start, size):
        if done - start == SHARE:
            raise Continuation(MemoryOp.add_to_physmap_batch | done << EXTENT_SHIFT, arg)
        idx = int.from_bytes(call.memory.read(idxs + done * word, word), "little")
        gpfn = int.from_bytes(call.memory.read(gpfns + done * word, word), "little")
        result = 0
        try:
            if space == MapSpace.gmfn_foreign:
                _add_foreign(hv, call, domid, foreign, idx, gpfn)
            else:
                _add_one(hv, domid, space, idx, gpfn)
        except XenError as error:
            result = -error.errno
        call.memory.write(errs + done * 4, result.to_bytes(4, "little", signed=True))
    return 0


def remove_from_physmap(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    """Unmap a page; its frame stays whose it is.  Raises XenError."""
    refuse_restart(start)
    dom, gpfn = copied_in(call, REMOVE_FROM_PHYSMAP, arg)
    domid = domain_by_any_id(hv, call, dom)
    if not hv.memory.root(domid):
        raise XenError(Errno.EPERM)
    check_target(hv, call, domid)
    found = hv.memory.find(domid, gpfn)
    if found is None:
        raise XenError(Errno.ENOENT)
    hv.memory.physmap.remove_page(domid, gpfn, found[0])
    return 0


def _permitted(hv: MemoryHost, call: Call, dom: int, space: int) -> Domid:
    """The domain whose pages are to change.  Raises XenError: ESRCH, EACCES, EPERM."""
    domid = domain_by_any_id(hv, call, dom)
    if not hv.memory.root(domid) or space == MapSpace.dev_mmio:
        raise XenError(Errno.EACCES)
    check_target(hv, call, domid)
    return domid


def _add_one(hv: MemoryHost, domid: Domid, space: int, idx: int, gpfn: int) -> None:
    """Map page `idx` of a space at `gpfn`, and no longer where it was (xenmem_add_to_physmap_one).

    Raises XenError: EINVAL where there is no such page, EXDEV for an alias of a page, and what `Physmap` raises.
    """
    memory, physmap = hv.memory, hv.memory.physmap
    if space == MapSpace.shared_info and idx == 0:
        mfn = Mfn(hv.domains.shared_info[domid] >> PAGE_SHIFT)
    elif space == MapSpace.grant_table:
        mfn = hv.grants.shared_frame(domid, idx)
    elif space == MapSpace.gmfn:
        found = memory.find(domid, idx)
        if found is None or not memory.get_page(found[0], domid):
            raise XenError(Errno.EINVAL)
        mfn = found[0]
    else:
        raise XenError(Errno.EINVAL)
    try:
        if space == MapSpace.gmfn and memory.gfn_of(domid, mfn) != idx:
            raise XenError(Errno.EXDEV)
        physmap.vacate(domid, gpfn, mfn)
        physmap.add_page(domid, gpfn, mfn)
    finally:
        if space == MapSpace.gmfn:
            memory.put_page(mfn)


def _add_foreign(hv: MemoryHost, call: Call, domid: Domid, foreign: int, idx: int, gpfn: int) -> None:
    """Another domain's page, for the privileged alone (p2m_add_foreign).  Raises XenError."""
    if not hv.domains.privileged[domid]:
        raise XenError(Errno.EPERM)
    hv.memory.physmap.add_foreign(domid, gpfn, domain_by_any_id(hv, call, foreign), idx)
