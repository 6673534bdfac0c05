"""HYPERVISOR_memory_op (xen/memory.h): the table of its operations, and the small ones of xen/common/memory.c."""

from collections.abc import Callable

from abi.errno import Errno, XenError
from abi.memory import (
    MEM_ACQUIRE_RESOURCE,
    MEMORY_DOMAIN,
    MEMORY_RESERVATION,
    RESERVED_DEVICE_MEMORY_MAP,
    VNUMA_TOPOLOGY_INFO,
    XENMEM_RDM_ALL,
    MemoryOp,
)
from hypervisor.call import Call
from hypervisor.memory_call import (
    CMD_MASK,
    EXTENT_SHIFT,
    MemoryHost,
    check_privileged,
    copied_in,
    domain_by_id,
    refuse_restart,
    target_of,
)
from hypervisor.memory_physmap import add_to_physmap, add_to_physmap_batch, remove_from_physmap
from hypervisor.memory_pv import exchange
from hypervisor.memory_reservation import CONTROL_MAX_ORDER, DOMU_MAX_ORDER, reservation
from hypervisor.memory_x86 import X86_OPERATIONS
from hypervisor.tables import GuestKind
from hypervisor.unimplemented import not_implemented

_NOT_FOR_HVM = frozenset({MemoryOp.machine_memory_map, MemoryOp.machphys_mapping})


def memory_op(hv: MemoryHost, call: Call, cmd: int, arg: int) -> int:
    """`cmd` is a MemoryOp, with the extent to start from above its six bits.  Raises XenError, Continuation."""
    number, start = cmd & CMD_MASK, cmd >> EXTENT_SHIFT
    if number in _NOT_FOR_HVM and hv.domains.kind[call.domid] == GuestKind.PVH:
        raise XenError(Errno.ENOSYS)
    if number in _RESERVATIONS:
        return reservation(hv, call, MemoryOp(number), start, arg)
    handler = _COMMON.get(number)
    if handler is not None:
        return handler(hv, call, start, arg)
    arch_handler = None if start else X86_OPERATIONS.get(number)
    if arch_handler is None:
        not_implemented(hv, call, "memory_op", _NAMES.get(number, number))
    return arch_handler(hv, call, arg)


def _exchange(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    if hv.memory.root(call.domid):
        raise XenError(Errno.EOPNOTSUPP)
    if hv.memory.pv is None:
        not_implemented(hv, call, "memory_op", "exchange")
    most = CONTROL_MAX_ORDER if hv.domains.privileged[call.domid] else DOMU_MAX_ORDER
    return exchange(hv, call, hv.memory.pv, arg, most)


def _maximum_ram_page(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    return hv.memory.frames.count


def _current_reservation(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    return hv.domains.tot_pages[target_of(hv, call, *copied_in(call, MEMORY_DOMAIN, arg))]


def _maximum_reservation(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    return hv.domains.max_pages[target_of(hv, call, *copied_in(call, MEMORY_DOMAIN, arg))]


def _maximum_gpfn(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    return hv.memory.maximum_gpfn(target_of(hv, call, *copied_in(call, MEMORY_DOMAIN, arg)))


def _claim_pages(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    extents, _, order, flags, domid = copied_in(call, MEMORY_RESERVATION, arg)
    if extents or order or flags:
        raise XenError(Errno.EINVAL)
    try:
        domain_by_id(hv, domid)
    except XenError:
        raise XenError(Errno.EINVAL) from None
    check_privileged(hv, call)
    not_implemented(hv, call, "memory_op", "claim_pages")


def _get_vnumainfo(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    domid, pad, *_ = copied_in(call, VNUMA_TOPOLOGY_INFO, arg)
    if pad:
        raise XenError(Errno.EINVAL)
    target_of(hv, call, domid)
    raise XenError(Errno.EOPNOTSUPP)  # no domain of ours has a virtual NUMA topology


def _reserved_device_memory_map(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    refuse_restart(start)
    shape = RESERVED_DEVICE_MEMORY_MAP.at(call.width)
    flags, _, *rest = shape.unpack(call.memory.read(arg, shape.size))
    if flags & ~XENMEM_RDM_ALL:
        raise XenError(Errno.EINVAL)
    call.memory.write(arg, shape.pack(flags, 0, *rest))  # no devices, hence no entries
    return 0


def _acquire_resource(hv: MemoryHost, call: Call, start: int, arg: int) -> int:
    if hv.memory.root(call.domid) and not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EACCES)
    dom, _, _, nr_frames, pad, frame, _ = copied_in(call, MEM_ACQUIRE_RESOURCE, arg)
    if pad or frame + nr_frames >> 32:
        raise XenError(Errno.EINVAL)
    if domain_by_id(hv, dom) == call.domid:
        raise XenError(Errno.EPERM)
    check_privileged(hv, call)
    not_implemented(hv, call, "memory_op", "acquire_resource")


_RESERVATIONS = frozenset(
    {MemoryOp.increase_reservation, MemoryOp.decrease_reservation, MemoryOp.populate_physmap})
_COMMON: dict[int, Callable[[MemoryHost, Call, int, int], int]] = {
    MemoryOp.exchange: _exchange,
    MemoryOp.maximum_ram_page: _maximum_ram_page,
    MemoryOp.current_reservation: _current_reservation,
    MemoryOp.maximum_reservation: _maximum_reservation,
    MemoryOp.maximum_gpfn: _maximum_gpfn,
    MemoryOp.add_to_physmap: add_to_physmap,
    MemoryOp.add_to_physmap_batch: add_to_physmap_batch,
    MemoryOp.remove_from_physmap: remove_from_physmap,
    MemoryOp.claim_pages: _claim_pages,
    MemoryOp.get_vnumainfo: _get_vnumainfo,
    MemoryOp.reserved_device_memory_map: _reserved_device_memory_map,
    MemoryOp.acquire_resource: _acquire_resource,
}
_NAMES = {int(op): op.name for op in MemoryOp}
