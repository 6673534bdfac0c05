"""set_gdt and update_descriptor (xen/xen.h), for PV guests of either width."""

from struct import unpack
from typing import Protocol

from abi.errno import Errno, XenError
from abi.x86 import FIRST_RESERVED_GDT_ENTRY
from hypervisor.call import Call
from hypervisor.pv import PvMemory


class Host(Protocol):
    """What these hypercalls need of the hypervisor."""

    @property
    def pv(self) -> PvMemory: ...


def set_gdt(hv: Host, call: Call, frame_list: int, entries: int) -> int:
    """EINVAL for too many entries or a frame that cannot hold descriptors, EFAULT."""
    entries &= 0xFFFFFFFF
    if entries > FIRST_RESERVED_GDT_ENTRY:
        raise XenError(Errno.EINVAL)
    count = -(-entries // 512)
    code, size = ("Q", 8) if call.width == 64 else ("I", 4)
    frames = unpack(f"<{count}{code}", call.memory.read(frame_list, count * size)) if count else ()
    hv.pv.descriptors.set_gdt(call.vcpu, frames, entries)
    return 0


def update_descriptor(hv: Host, call: Call, *arguments: int) -> int:
    """A machine address and a descriptor; 32-bit callers give each in two halves."""
    if call.width == 64:
        address, descriptor = arguments
    else:
        low, high, first, second = arguments
        address, descriptor = low | high << 32, first | second << 32
    hv.pv.descriptors.update(call.domid, address, descriptor)
    return 0
