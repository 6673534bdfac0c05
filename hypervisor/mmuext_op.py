"""HYPERVISOR_mmuext_op (xen/xen.h): pinning, base pointers, flushes, LDT, clearing and copying of pages."""

from collections.abc import Callable
from struct import Struct

from abi.errno import Errno, XenError
from abi.types import PAGE_SHIFT, Domid, Mfn
from abi.xen import MMUEXT_OP, MmuextOp
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.descriptors import MOST_LDT_ENTRIES
from hypervisor.guest_access import guest_handle_okay
from hypervisor.mmu_owner import PREEMPTED, Host, check_target, count_done, page_owner
from hypervisor.pv_tables import PageType
from hypervisor.tables import GuestKind

_OPERATION = {32: Struct("<III"), 64: Struct("<I4xQQ")}
"""`mmuext_op` with each of its unions as one word."""
assert all(_OPERATION[width].size == MMUEXT_OP.at(width).size for width in (32, 64))
_SHARE = 64
"""Operations that one call does before it lets others run; a pin may be a lot of work."""
_PINS = {MmuextOp.PIN_L1_TABLE: PageType.L1, MmuextOp.PIN_L2_TABLE: PageType.L2,
         MmuextOp.PIN_L3_TABLE: PageType.L3, MmuextOp.PIN_L4_TABLE: PageType.L4}
_FOR_OTHERS = frozenset((*_PINS, MmuextOp.UNPIN_TABLE))
"""What a caller that has no such tables itself may do to those of a domain that it manages."""
Operation = Callable[[Host, Call, Domid, int, int], None]
"""Does one: host, caller, whose frames, `arg1`, `arg2`.  Raises XenError."""


def mmuext_op(hv: Host, call: Call, uops: int, count: int, pdone: int, foreigndom: int) -> int:
    """Do `count` operations in order until one fails.

    Errors: EFAULT; ESRCH, EINVAL and EPERM for the domain that `foreigndom` names; ENOSYS for no such operation; and
    those of each operation.
    """
    count = count & 0xFFFFFFFF
    number, shape = count & ~PREEMPTED, _OPERATION[call.width]
    if not guest_handle_okay(hv.domains, call, uops, number * shape.size):
        raise XenError(Errno.EFAULT)
    owner = page_owner(hv, call, foreigndom & 0xFFFF)
    if owner < hv.domains.rows and hv.domains.kind[owner] == GuestKind.PVH:
        raise XenError(Errno.EINVAL)
    check_target(hv, call, owner)
    done = 0
    try:
        while done < number and done < _SHARE:
            command, arg1, arg2 = shape.unpack(call.memory.read(uops + done * shape.size, shape.size))
            if hv.domains.kind[call.domid] == GuestKind.PVH and command not in _FOR_OTHERS:
                raise XenError(Errno.EOPNOTSUPP)
            operation = _OPERATIONS.get(command)
            if operation is None:
                raise XenError(Errno.ENOSYS)
            operation(hv, call, owner, arg1, arg2)
            done += 1
    finally:
        count_done(call, pdone, count, done)
    if done < number:
        raise Continuation(uops + done * shape.size, number - done | PREEMPTED, pdone, foreigndom)
    return 0


def _pin(kind: PageType) -> Operation:
    def pin(hv: Host, call: Call, owner: Domid, mfn: int, arg2: int) -> None:
        if kind == PageType.L4 and hv.domains.width[owner] == 32:
            return  # there is no such level, and Xen says that all is well
        hv.pv.pin(owner, mfn, kind)

    return pin


def _unpin_table(hv: Host, call: Call, owner: Domid, mfn: int, arg2: int) -> None:
    hv.pv.types.unpin(mfn, owner)


def _own(call: Call, owner: Domid) -> None:
    if owner != call.domid:
        raise XenError(Errno.EPERM)


def _new_baseptr(hv: Host, call: Call, owner: Domid, mfn: int, arg2: int) -> None:
    _own(call, owner)
    hv.pv.new_baseptr(call.vcpu, call.domid, mfn)
    hv.pv.cr3_changed(call)


def _new_user_baseptr(hv: Host, call: Call, owner: Domid, mfn: int, arg2: int) -> None:
    if call.width == 32:
        raise XenError(Errno.EINVAL)
    _own(call, owner)
    hv.pv.new_user_baseptr(call.vcpu, call.domid, mfn)


def _tlb_flush(hv: Host, call: Call, owner: Domid, arg1: int, arg2: int) -> None:
    _own(call, owner)
    hv.pv.flush(call.domid)


def _invlpg(hv: Host, call: Call, owner: Domid, address: int, arg2: int) -> None:
    _own(call, owner)
    hv.pv.invlpg(call.domid, address)


def _multi(operation: Operation) -> Operation:
    """For the vCPUs of a mask.  As one engine runs all of a domain's, the mask is read, and that is all."""

    def multi(hv: Host, call: Call, owner: Domid, arg1: int, mask: int) -> None:
        _own(call, owner)
        try:
            call.memory.read(mask, -(-hv.domains.vcpu_count[call.domid] // 8))
        except XenError:
            raise XenError(Errno.EINVAL) from None
        operation(hv, call, owner, arg1, 0)

    return multi


def _flush_cache(errno: Errno) -> Operation:
    """Only who has a device may flush caches."""

    def flush_cache(hv: Host, call: Call, owner: Domid, arg1: int, arg2: int) -> None:
        _own(call, owner)
        raise XenError(errno)

    return flush_cache


def _set_ldt(hv: Host, call: Call, owner: Domid, address: int, entries: int) -> None:
    _own(call, owner)
    entries &= 0xFFFFFFFF
    base = address if entries else 0
    if base & 0xFFF or not guest_handle_okay(hv.domains, call, base, 0) or entries > MOST_LDT_ENTRIES:
        raise XenError(Errno.EINVAL)
    hv.pv.descriptors.set_ldt(call.vcpu, base, entries)
    hv.pv.ldt_changed(call)


def _clear_page(hv: Host, call: Call, owner: Domid, mfn: int, arg2: int) -> None:
    _replace(hv, owner, mfn, bytes(1 << PAGE_SHIFT))


def _copy_page(hv: Host, call: Call, owner: Domid, mfn: int, source: int) -> None:
    frames = hv.pv.types.frames
    if not frames.valid(source) or frames.owner(Mfn(source)) != owner:
        raise XenError(Errno.EINVAL)
    _replace(hv, owner, mfn, hv.pv.page(source))


def _replace(hv: Host, owner: Domid, mfn: int, content: bytes) -> None:
    hv.pv.types.get(mfn, PageType.WRITABLE, owner)
    hv.pv.write_page(mfn, content)
    hv.pv.types.put(mfn)


def _super(hv: Host, call: Call, owner: Domid, arg1: int, arg2: int) -> None:
    raise XenError(Errno.EOPNOTSUPP)


_OPERATIONS: dict[int, Operation] = {
    **{command: _pin(kind) for command, kind in _PINS.items()},
    MmuextOp.UNPIN_TABLE: _unpin_table,
    MmuextOp.NEW_BASEPTR: _new_baseptr,
    MmuextOp.NEW_USER_BASEPTR: _new_user_baseptr,
    MmuextOp.TLB_FLUSH_LOCAL: _tlb_flush,
    MmuextOp.TLB_FLUSH_MULTI: _multi(_tlb_flush),
    MmuextOp.TLB_FLUSH_ALL: _tlb_flush,
    MmuextOp.INVLPG_LOCAL: _invlpg,
    MmuextOp.INVLPG_MULTI: _multi(_invlpg),
    MmuextOp.INVLPG_ALL: _invlpg,
    MmuextOp.FLUSH_CACHE: _flush_cache(Errno.EACCES),
    MmuextOp.FLUSH_CACHE_GLOBAL: _flush_cache(Errno.EINVAL),
    MmuextOp.SET_LDT: _set_ldt,
    MmuextOp.CLEAR_PAGE: _clear_page,
    MmuextOp.COPY_PAGE: _copy_page,
    MmuextOp.MARK_SUPER: _super,
    MmuextOp.UNMARK_SUPER: _super,
}
