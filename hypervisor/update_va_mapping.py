"""HYPERVISOR_update_va_mapping and its _otherdomain (xen/xen.h): change the L1 entry of one linear address."""

from abi.errno import Errno, XenError
from abi.types import Domid
from abi.xen import UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_TLB_FLUSH
from hypervisor.call import Call
from hypervisor.mmu_owner import Host, check_target, page_owner
from hypervisor.pv_tables import PageType

_L1 = int(PageType.L1)


def update_va_mapping(hv: Host, call: Call, va: int, value: int, flags: int, more: int = 0) -> int:
    """Arguments: address, entry (in two halves from 32-bit callers), flags.

    Errors: EINVAL where the address has no L1, those of the entry, EFAULT for a mask of vCPUs.
    """
    if call.width == 32:
        value, flags = value | flags << 32, more
    return _update(hv, call, va, value, flags, call.domid)


def update_va_mapping_otherdomain(hv: Host, call: Call, va: int, *rest: int) -> int:
    """As `update_va_mapping`, to map a frame of the domain that the last argument names.  Also ESRCH, EPERM."""
    value, flags, domid = rest if call.width == 64 else (rest[0] | rest[1] << 32, rest[2], rest[3])
    owner = page_owner(hv, call, domid & 0xFFFF)
    check_target(hv, call, owner)
    return _update(hv, call, va, value, flags, owner)


def _update(hv: Host, call: Call, va: int, value: int, flags: int, owner: Domid) -> int:
    pv = hv.pv
    slot = pv.l1_slot(call.vcpu, va)
    # A recursive entry may lead to a table above L1.  Else what the caller's own tables name is its own live L1.
    if slot is None or pv.types.table.type[slot >> 9] != _L1:
        raise XenError(Errno.EINVAL)
    pv.entries.mod_l1(slot, value, call.domid, owner)
    if flags & UVMF_FLUSHTYPE_MASK:
        flush(hv, call, va, flags)
    return 0


def flush(hv: Host, call: Call, va: int, flags: int) -> None:
    """Forget what `flags` (UVMF_*) say, by the vCPUs that they name: a domain's vCPUs share one engine.

    Raises XenError(EFAULT) where a mask of vCPUs cannot be read.
    """
    where = flags & ~UVMF_FLUSHTYPE_MASK
    if where not in (0, UVMF_ALL):
        call.memory.read(where, -(-hv.domains.vcpu_count[call.domid] // 8))
    kind = flags & UVMF_FLUSHTYPE_MASK
    if kind == UVMF_TLB_FLUSH:
        hv.pv.flush(call.domid)
    elif kind == UVMF_INVLPG:
        hv.pv.invlpg(call.domid, va)
