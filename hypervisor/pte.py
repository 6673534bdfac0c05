"""Entries of page tables as Xen sees them: bits, what a PV guest may not set, what Xen adds (asm/page.h, pv/mm.h)."""

import numpy
from numpy.typing import NDArray

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
GUEST_KERNEL = 1 << 52
"""Xen's mark on the kernel's pages of a 64-bit guest, which runs its kernel and its users in one ring."""
NX = 1 << 63
MFN = (1 << 40) - 1
"""Of an entry shifted right by 12."""
ADDRESS = MFN << 12
HIGHEST_MFN = MFN
"""What becomes of INVALID_MFN in an entry: such a mapping is EINVAL, not EPERM."""
L1_DISALLOWED = 0x98
"""Caching attributes: for domains that have a device."""
UPPER_DISALLOWED = 0x198
L3_32_DISALLOWED = 0x198 | 0xFFF << 52
SAME = ADDRESS | PRESENT | WRITABLE | L1_DISALLOWED
"""Where an entry differs in no bit of these, its references stay as they are (~FASTPATH_FLAG_WHITELIST)."""

FIRST_XEN_L4, LAST_XEN_L4 = 256, 271
FIRST_XEN_L2_32 = 0x1AC
"""The slot of 0xF5800000 in a 32-bit guest's last L2; it and all after it are Xen's."""
M2P_SLOT, PERDOMAIN_SLOT = 256, 260


def disallowed(level: int, width: int) -> int:
    """The bits that a present entry of a table of this level must not have."""
    if level == 1:
        return L1_DISALLOWED
    return L3_32_DISALLOWED if level == 3 and width == 32 else UPPER_DISALLOWED


def adjust_l1(entry: int) -> int:
    """A present L1 entry of a 64-bit guest, marked as its kernel's or its users' (adjust_guest_l1e)."""
    if not entry & USER:
        return entry | GUEST_KERNEL | USER
    return entry if entry & GUEST_KERNEL else entry | GLOBAL


def adjust_l1_all(entries: "NDArray[numpy.uint64]") -> "NDArray[numpy.uint64]":
    """As `adjust_l1`; what is not present stays as it is."""
    user = entries & USER != 0
    added = numpy.where(user, numpy.where(entries & GUEST_KERNEL != 0, 0, GLOBAL), GUEST_KERNEL | USER)
    return entries | numpy.where(entries & PRESENT != 0, added, 0).astype(numpy.uint64)


def added(level: int, width: int) -> int:
    """The bits that Xen adds to a present entry above L1 (adjust_guest_l2e and its likes)."""
    if width == 64:
        return USER
    return USER | WRITABLE if level == 3 else 0
