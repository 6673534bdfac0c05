"""GNTTABOP_cache_flush: write back, or forget, what caches hold of a frame that a device uses (common/grant_table.c).

A simulated processor has no caches, so nothing happens; who may ask for what is Xen's, and so are the errors, which
concern the whole call.  As on all x86, forgetting without writing back is not there.
"""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.grant_table import GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_FLUSH, GNTTAB_CACHE_INVAL, GnttabOp
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Mfn
from abi.xen import DOMID_INVALID
from grants.grant_table import GrantTables
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.frames import Frames

SHARE = 256
"""Elements that one call does before it lets others run."""


class Host(Protocol):
    """What this operation needs of the hypervisor."""

    @property
    def frames(self) -> Frames: ...
    @property
    def grants(self) -> GrantTables: ...


def cache_flush(hv: Host, call: Call, uop: int, count: int) -> None:
    """EFAULT; EINVAL for a wrong range or operation, or a frame of another domain that is not mapped; EPERM for one of
    nobody's; EOPNOTSUPP."""
    shape = GNTTAB_CACHE_FLUSH.at(call.width)
    for index in range(min(count, SHARE)):
        data = call.memory.read(uop + index * shape.size, shape.size)
        address, (offset, length, operation) = int.from_bytes(data[:8], "little"), shape.unpack(data)[-3:]
        _one(hv, call.domid, address >> PAGE_SHIFT, offset, length, operation)
    if count > SHARE:
        raise Continuation(GnttabOp.cache_flush, uop + SHARE * shape.size, count - SHARE)


def _one(hv: Host, domid: Domid, mfn: int, offset: int, length: int, operation: int) -> None:
    if offset >= PAGE_SIZE or offset + length > PAGE_SIZE or operation & ~(GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL):
        raise XenError(Errno.EINVAL)
    if not length or not operation:
        return
    if not hv.frames.valid(mfn):
        raise XenError(Errno.EINVAL)
    owner = hv.frames.owner(Mfn(mfn))
    if owner == DOMID_INVALID or not hv.grants.exists(owner):
        raise XenError(Errno.EPERM)
    if owner != domid and not hv.grants.mappings.has_mapped(domid, Mfn(mfn)):
        raise XenError(Errno.EINVAL)
    if not operation & GNTTAB_CACHE_CLEAN:
        raise XenError(Errno.EOPNOTSUPP)
