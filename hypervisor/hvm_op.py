"""hvm_op: parameters of HVM-like domains, upcall vectors, and small change (xen/hvm/hvm_op.h; do_hvm_op).

The order of the checks is Xen's: the argument is copied in, its index looked at, then the domain found, then whether
the caller may.
"""

from collections.abc import Callable
from typing import Any

from abi.errno import Errno, XenError
from abi.hvm import (
    HVM_EVTCHN_UPCALL_VECTOR,
    HVM_GET_MEM_TYPE,
    HVM_GET_TIME,
    HVM_NR_PARAMS,
    HVM_PAGETABLE_DYING,
    HVM_PARAM,
    HVM_XENTRACE,
    HvmOp,
    MemType,
)
from abi.layout import Layout
from abi.types import Domid, Gfn
from abi.xen import DOMID_SELF
from grants.interfaces import P2mType
from hypervisor.call import Call
from hypervisor.host import Host
from hypervisor.hvm_param_rules import get_param, set_param
from hypervisor.tables import DomainState, GuestKind
from hypervisor.unimplemented import not_implemented

_FIRST_VECTOR = 0x10
_TRACE_EXTRA_BYTES, _TRACE_EVENT_MASK = 28, 0xFFF
_MEM_TYPES = {
    P2mType.RAM_RW: MemType.ram_rw, P2mType.GRANT_MAP_RW: MemType.ram_rw,
    P2mType.RAM_LOGDIRTY: MemType.ram_ro, P2mType.RAM_RO: MemType.ram_ro, P2mType.GRANT_MAP_RO: MemType.ram_ro,
}
"""As hvmop_get_mem_type sorts them; everything else, holes too, is the device model's."""


def hvm_op(hv: Host, call: Call, op: int, arg: int) -> int:
    """One HVMOP_*: 0, or the errors of Xen's do_hvm_op; ENOSYS for an operation that does not exist."""
    operation = _OPERATIONS.get(op)
    if operation is None:
        not_implemented(hv, call, "hvm_op", op)
    operation(hv, call, arg)
    return 0


def _copied_in(call: Call, layout: Layout, arg: int) -> tuple[Any, ...]:
    """The shape of a structure for the caller, and its fields read from `arg`."""
    shape = layout.at(call.width)
    return shape, *shape.unpack(call.memory.read(arg, shape.size))


def _domain(hv: Host, call: Call, domid: int) -> Domid:
    """The domain that `domid` names, with DOMID_SELF for the caller.  Raises XenError(ESRCH)."""
    if domid == DOMID_SELF:
        return call.domid
    domains = hv.domains
    if domid >= domains.rows or domains.state[domid] in (DomainState.FREE, DomainState.DEAD):
        raise XenError(Errno.ESRCH)
    return Domid(domid)


def _is_hvm(hv: Host, domid: Domid) -> bool:
    return hv.domains.kind[domid] == GuestKind.PVH


def _hvm_domain(hv: Host, call: Call, domid: int) -> Domid:
    """The same for operations that only HVM-like domains have.  Raises XenError(ESRCH or EINVAL)."""
    found = _domain(hv, call, domid)
    if not _is_hvm(hv, found):
        raise XenError(Errno.EINVAL)
    return found


def _set_param(hv: Host, call: Call, arg: int) -> None:
    _, domid, _, index, value = _copied_in(call, HVM_PARAM, arg)
    if index >= HVM_NR_PARAMS:
        raise XenError(Errno.EINVAL)
    set_param(hv, call, _hvm_domain(hv, call, domid), index, value)


def _get_param(hv: Host, call: Call, arg: int) -> None:
    shape, domid, pad, index, _ = _copied_in(call, HVM_PARAM, arg)
    if index >= HVM_NR_PARAMS:
        raise XenError(Errno.EINVAL)
    value = get_param(hv, call, _hvm_domain(hv, call, domid), index)
    call.memory.write(arg, shape.pack(domid, pad, index, value))


def _set_evtchn_upcall_vector(hv: Host, call: Call, arg: int) -> None:
    if not _is_hvm(hv, call.domid):
        raise XenError(Errno.EINVAL)
    _, vcpu_id, vector = _copied_in(call, HVM_EVTCHN_UPCALL_VECTOR, arg)
    if vector < _FIRST_VECTOR:
        raise XenError(Errno.EINVAL)
    if vcpu_id >= hv.domains.vcpu_count[call.domid]:
        raise XenError(Errno.ENOENT)
    hv.params.upcall_vector[hv.domains.vcpu_base[call.domid] + vcpu_id] = vector
    hv.log(call.domid, f"d{call.domid}v{vcpu_id}: upcall vector {vector:02x}")


def _get_mem_type(hv: Host, call: Call, arg: int) -> None:
    shape, domid, _, pad, pfn = _copied_in(call, HVM_GET_MEM_TYPE, arg)
    found = _domain(hv, call, domid)
    if found != call.domid and not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    if not _is_hvm(hv, found):
        raise XenError(Errno.EINVAL)
    try:
        kind = _MEM_TYPES.get(P2mType(hv.memory.lookup(found, Gfn(pfn))[1]), MemType.mmio_dm)
    except (KeyError, XenError):
        kind = MemType.mmio_dm
    call.memory.write(arg, shape.pack(domid, kind, pad, pfn))


def _flush_tlbs(hv: Host, call: Call, arg: int) -> None:
    if arg or not _is_hvm(hv, call.domid):
        raise XenError(Errno.EINVAL)
    hv.domains.flush[call.domid] = 1


def _pagetable_dying(hv: Host, call: Call, arg: int) -> None:
    """A hint for shadow paging, which nobody has here: EINVAL, as under Xen with nested paging."""
    _, domid, *_ = _copied_in(call, HVM_PAGETABLE_DYING, arg)
    _domain(hv, call, domid)
    raise XenError(Errno.EINVAL)


def _get_time(hv: Host, call: Call, arg: int) -> None:
    call.memory.write(arg, HVM_GET_TIME.at(call.width).pack(hv.vcpus.local_time[call.vcpu]))


def _xentrace(hv: Host, call: Call, arg: int) -> None:
    """A guest's own record in Xen's trace buffers.  They are off, so it is checked and dropped."""
    _, event, extra_bytes, _ = _copied_in(call, HVM_XENTRACE, arg)
    if extra_bytes > _TRACE_EXTRA_BYTES or event & ~_TRACE_EVENT_MASK:
        raise XenError(Errno.EINVAL)


def _guest_request_vm_event(hv: Host, call: Call, arg: int) -> None:
    """Tells a monitor, of which there is none."""
    if arg:
        raise XenError(Errno.EINVAL)


def _altp2m(hv: Host, call: Call, arg: int) -> None:
    """EOPNOTSUPP, as on every AMD machine."""
    raise XenError(Errno.EOPNOTSUPP)


_OPERATIONS: dict[int, Callable[[Host, Call, int], None]] = {
    HvmOp.set_param: _set_param,
    HvmOp.get_param: _get_param,
    HvmOp.flush_tlbs: _flush_tlbs,
    HvmOp.pagetable_dying: _pagetable_dying,
    HvmOp.get_time: _get_time,
    HvmOp.xentrace: _xentrace,
    HvmOp.get_mem_type: _get_mem_type,
    HvmOp.set_evtchn_upcall_vector: _set_evtchn_upcall_vector,
    HvmOp.guest_request_vm_event: _guest_request_vm_event,
    HvmOp.altp2m: _altp2m,
}
