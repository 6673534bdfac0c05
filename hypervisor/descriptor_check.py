"""Segment descriptors that a PV guest may have (check_descriptor of xen/arch/x86/pv/descriptor-tables.c)."""

from abi.errno import Errno, XenError
from abi.x86 import FIRST_RESERVED_GDT_ENTRY

_P, _DPL, _S, _TYPE, _L, _G = 1 << 15, 3 << 13, 1 << 12, 0xF00, 1 << 21, 1 << 23
_CALL_GATE = 0xC00
_VIRT_START_32 = 0xF5800000
_KERNEL_CS = {64: 0xE033, 32: 0xE019}
_KERNEL_RPL = {64: 3, 32: 1}


def check_descriptor(descriptor: int, width: int) -> int | None:
    """The descriptor as the guest may have it, or None where it may not.

    Code and data get at least the kernel's ring; call gates get ring 0, so that their use faults and can be emulated,
    and keep their own in the RPL of their selector.
    """
    low, high = descriptor & 0xFFFFFFFF, descriptor >> 32
    if not high & _P:
        return descriptor
    dpl = max(high >> 13 & 3, _KERNEL_RPL[width])
    high = high & ~_DPL | dpl << 13
    if high & _S:
        if width == 32:
            if high & _L:
                return None
            base = high & 0xFF000000 | (high & 0xFF) << 16 | low >> 16
            limit = (high & 0xF0000 | low & 0xFFFF) + 1
            if high & _G:
                limit <<= 12
            if not base and limit > _VIRT_START_32:  # let it reach the whole M2P
                low, high = low | 0xFFFF, high | 0xF0000
    elif high & _TYPE:
        if high & _TYPE != _CALL_GATE:
            return None
        selector = low >> 16
        if selector >> 3 >= FIRST_RESERVED_GDT_ENTRY and selector != _KERNEL_CS[width] and not selector & 4:
            return None
        high &= ~_DPL
        low = low & 0xFFFF | (selector & ~3 | dpl) << 16
        if high & (0xE0 if width == 32 else 0xFF):
            return None
    return low | high << 32


def check_segment_page(u64: "memoryview[int]", first: int, width: int) -> None:
    """Check, and make right, the 512 descriptors at `u64[first]`.  Raises XenError(EINVAL)."""
    for slot in range(first, first + 512):
        descriptor = u64[slot]
        if descriptor:
            checked = check_descriptor(descriptor, width)
            if checked is None:
                raise XenError(Errno.EINVAL)
            u64[slot] = checked
