"""The operations of memory_op that x86 adds (xen/arch/x86/mm.c): memory maps, the M2P, populate-on-demand targets."""

from collections.abc import Callable

from abi import x86_32, x86_64
from abi.errno import Errno, XenError
from abi.memory import (
    E820ENTRY,
    FOREIGN_MEMORY_MAP,
    MACHPHYS_MAPPING,
    MACHPHYS_MFN_LIST,
    MEMORY_MAP,
    POD_TARGET,
    MemoryOp,
)
from hypervisor.call import Call
from hypervisor.memory_call import MemoryHost, check_privileged, copied_in, domain_by_any_id, target_of
from hypervisor.unimplemented import not_implemented

_E820_MOST = 1024
_M2P_EXTENT = 1 << 21


def _memory_map(hv: MemoryHost, call: Call, arg: int) -> int:
    entries, buffer = copied_in(call, MEMORY_MAP, arg)
    memory_map = hv.memory.memory_map(call.domid)
    if not memory_map:
        raise XenError(Errno.ENOSYS)
    stored = memory_map[:entries]
    pack = E820ENTRY.at(call.width).pack
    if stored:
        call.memory.write(buffer, b"".join(pack(*entry) for entry in stored))
    call.memory.write(arg, MEMORY_MAP.at(call.width).pack(len(stored), buffer))
    return 0


def _machine_memory_map(hv: MemoryHost, call: Call, arg: int) -> int:
    check_privileged(hv, call)
    not_implemented(hv, call, "memory_op", "machine_memory_map")


def _set_memory_map(hv: MemoryHost, call: Call, arg: int) -> int:
    dom, entries, buffer = copied_in(call, FOREIGN_MEMORY_MAP, arg)
    if entries > _E820_MOST:
        raise XenError(Errno.EINVAL)
    domid = target_of(hv, call, dom)
    shape = E820ENTRY.at(call.width)
    data = call.memory.read(buffer, entries * shape.size) if entries else b""
    hv.memory.set_memory_map(domid, [(address, size, kind) for address, size, kind in (
        shape.unpack_from(data, at) for at in range(0, len(data), shape.size))])
    return 0


def _pod_target(hv: MemoryHost, call: Call, arg: int) -> int:
    """Both operations: no domain of ours is populated on demand, hence a target changes nothing."""
    shape = POD_TARGET.at(call.width)
    target, *_, dom = shape.unpack(call.memory.read(arg, shape.size))
    domid = domain_by_any_id(hv, call, dom)
    check_privileged(hv, call)
    call.memory.write(arg, shape.pack(target, hv.domains.tot_pages[domid], 0, 0, dom))
    return 0


def _machphys_mapping(hv: MemoryHost, call: Call, arg: int) -> int:
    start, end, entries = (
        (x86_64.MACH2PHYS_VIRT_START, x86_64.MACH2PHYS_VIRT_END, x86_64.MACH2PHYS_NR_ENTRIES) if call.width == 64 else
        (x86_32.MACH2PHYS_VIRT_START, x86_32.MACH2PHYS_VIRT_END, x86_32.MACH2PHYS_NR_ENTRIES))
    call.memory.write(arg, MACHPHYS_MAPPING.at(call.width).pack(start, end, entries - 1))
    return 0


def _machphys_mfn_list(hv: MemoryHost, call: Call, arg: int) -> int:
    return _extents(hv, call, arg, call.width // 8)


def _machphys_compat_mfn_list(hv: MemoryHost, call: Call, arg: int) -> int:
    """That of 32-bit guests, to a caller of either width."""
    return _extents(hv, call, arg, 4)


def _extents(hv: MemoryHost, call: Call, arg: int, entry: int) -> int:
    """The M2P, of entries of so many bytes, is not in frames that a guest could map: every extent of it is a gap, which
    Xen writes as frame 0."""
    shape = MACHPHYS_MFN_LIST.at(call.width)
    most, extents, _ = shape.unpack(call.memory.read(arg, shape.size))
    word = call.width // 8
    count = min(most, -(-hv.memory.frames.count * entry // _M2P_EXTENT))
    if count:
        call.memory.write(extents, bytes(count * word))
    call.memory.write(arg, shape.pack(most, extents, count))
    return 0


def _no_pages(hv: MemoryHost, call: Call, arg: int) -> int:
    """Pages that memory sharing saves, and those that it shares."""
    return 0


X86_OPERATIONS: dict[int, Callable[[MemoryHost, Call, int], int]] = {
    MemoryOp.memory_map: _memory_map,
    MemoryOp.machine_memory_map: _machine_memory_map,
    MemoryOp.set_memory_map: _set_memory_map,
    MemoryOp.set_pod_target: _pod_target,
    MemoryOp.get_pod_target: _pod_target,
    MemoryOp.machphys_mapping: _machphys_mapping,
    MemoryOp.machphys_mfn_list: _machphys_mfn_list,
    MemoryOp.machphys_compat_mfn_list: _machphys_compat_mfn_list,
    MemoryOp.get_sharing_freed_pages: _no_pages,
    MemoryOp.get_sharing_shared_pages: _no_pages,
}
"""These are never continued: with an extent to start from they are unknown."""
