"""Entries of page tables and what they refer to: taking and giving back references, and changing an entry.

These are get_page_from_l1e and its likes, and mod_l1_entry and its likes, of xen/arch/x86/mm.c, with their errors.
"""

from collections.abc import Callable

from abi.errno import Errno, XenError
from abi.types import Domid, Mfn
from hypervisor.frames import FrameKind
from hypervisor.page_type import PageTypes
from hypervisor.pte import (
    ACCESSED,
    DIRTY,
    FIRST_XEN_L2_32,
    FIRST_XEN_L4,
    GLOBAL,
    GUEST_KERNEL,
    HIGHEST_MFN,
    L1_DISALLOWED,
    LAST_XEN_L4,
    MFN,
    PRESENT,
    SAME,
    USER,
    WRITABLE,
    added,
    disallowed,
)
from hypervisor.pv_nested import Nested
from hypervisor.pv_tables import PageType, TypeFlag
from hypervisor.tables import DomainTable
from state.arena import Arena

_RAM, _XENHEAP, _RESERVED = int(FrameKind.RAM), int(FrameKind.XENHEAP), int(FrameKind.RESERVED)
_WRITABLE_TYPE, _SEG_DESC = int(PageType.WRITABLE), int(PageType.SEG_DESC)
_XEN_L2 = int(TypeFlag.PAE_XEN_L2)
_INVALID_DOMID = 0x7FF4


class PageEntries:
    """`drop_ldts(domid)` forgets the shadows of all LDTs of a domain."""

    def __init__(self, arena: Arena, domains: DomainTable, types: PageTypes, nested: Nested,
                 drop_ldts: Callable[[Domid], None]) -> None:
        self._u64, self._width, self.types, self._nested, self._drop_ldts = (
            arena.u64, domains.width, types, nested, drop_ldts)
        frames = types.frames
        self._frames, self._nr = frames, frames.count
        self._owner, self._kind, self._refs = frames.table.owner, frames.table.kind, frames.table.refs
        self._alive = frames.table.flags
        self.reach: Callable[[int], None] | None = None
        """See `hypervisor.groups.Groups.reach`."""
        self._type, self._count, self._type_flags = types.table.type, types.table.count, types.table.flags

    # -- L1

    def get_l1(self, entry: int, domid: Domid, owner: int) -> None:
        """Take what a present L1 entry of `domid` refers to, a frame of `owner` (get_page_from_l1e).

        Raises XenError: EINVAL for forbidden bits, EPERM for what is not memory, EBUSY for a frame of another owner, or
        that must not be written now, ENOMEM.
        """
        if entry & L1_DISALLOWED:
            raise XenError(Errno.EINVAL)
        mfn = entry >> 12 & MFN
        if mfn >= self._nr or self._kind[mfn] == _RESERVED:
            raise XenError(Errno.EINVAL if mfn == HIGHEST_MFN else Errno.EPERM)
        kind = self._kind[mfn]
        if not kind or self._owner[mfn] != owner:
            raise XenError(Errno.EBUSY)
        if entry & WRITABLE:
            if self._type[mfn] == _WRITABLE_TYPE:
                self._count[mfn] += 1
            elif self._count[mfn]:
                raise XenError(Errno.EBUSY)
            else:
                self._type[mfn] = _WRITABLE_TYPE
                self._count[mfn] = 1
        self._refs[mfn] += 1
        if kind != _RAM or owner != domid:
            self._reach(entry, mfn, domid, owner)

    def _reach(self, entry: int, mfn: int, domid: Domid, owner: int) -> None:
        """Let the processor of `domid` find a frame that is not its RAM."""
        try:
            if owner != domid:
                self._nested.add_use(domid, mfn, not entry & WRITABLE)
            else:
                self._nested.allow(domid, mfn)
        except XenError:
            if entry & WRITABLE:
                self.types.put_type(mfn)
            self._frames.put_page(Mfn(mfn))
            raise

    def put_l1(self, entry: int, domid: Domid) -> None:
        """Give back what a present L1 entry refers to (put_page_from_l1e)."""
        mfn = entry >> 12 & MFN
        if mfn >= self._nr or self._kind[mfn] == _RESERVED:
            return
        if self.reach is not None and self._owner[mfn] != domid:
            self.reach(self._owner[mfn])
        if entry & WRITABLE:
            count = self._count[mfn] - 1
            if count:
                self._count[mfn] = count
            else:
                self.types.put_type(mfn)
        elif self._type[mfn] == _SEG_DESC and self._count[mfn] and self._owner[mfn] == domid:
            self._drop_ldts(domid)
        if self._owner[mfn] != domid:
            self._nested.drop_use(domid, mfn)
        refs = self._refs[mfn] - 1
        if refs:
            self._refs[mfn] = refs
        else:
            self._frames.put_page(Mfn(mfn))

    def mod_l1(self, slot: int, new: int, domid: Domid, owner: int, preserve: bool = False) -> None:
        """Change the L1 entry at `arena.u64[slot]`, of a live table of `domid`, to map a frame of `owner`.

        Raises XenError as `get_l1`, and then the entry is as before (mod_l1_entry).
        """
        old = self._u64[slot]
        if new & PRESENT:
            if new & L1_DISALLOWED:
                raise XenError(Errno.EINVAL)
            same = not (old ^ new) & SAME
            if not same:
                self.get_l1(new, domid, owner)
            if self._width[domid] == 64:
                if not new & USER:
                    new |= GUEST_KERNEL | USER
                elif not new & GUEST_KERNEL:
                    new |= GLOBAL
        else:
            same = False
        if preserve:
            new |= old & (ACCESSED | DIRTY)
        self._u64[slot] = new
        if old & PRESENT and not same:
            self.put_l1(old, domid)

    # -- L2 to L4

    def get_upper(self, level: int, entry: int, holder: int, index: int, domid: Domid) -> None:
        """Take the table that a present entry of table `holder` of this level refers to (get_page_from_l2e...).

        Raises XenError: EINVAL for forbidden bits, a frame of another owner, a frame in use as something else, and what
        the validation of the lower table finds.
        """
        width = self._width[domid]
        if entry & disallowed(level, width):
            raise XenError(Errno.EINVAL)
        mfn = entry >> 12 & MFN
        if level == 3 and width == 32:
            self.types.get(mfn, 2, domid, _XEN_L2 if index == 3 else 0)
            return
        try:
            self.types.get(mfn, level - 1, domid)
        except XenError as error:
            if error.errno != Errno.EINVAL or entry & WRITABLE or not self.types.get_linear(mfn, level, holder, domid):
                raise

    def put_upper(self, level: int, entry: int, holder: int) -> None:
        """Give back the table that a present entry refers to (put_page_from_l2e...)."""
        mfn = entry >> 12 & MFN
        if self._type[mfn] == level:
            self.types.put_linear(mfn, holder)
        else:
            self.types.put(mfn)

    def mod_upper(self, level: int, slot: int, new: int, domid: Domid, preserve: bool = False) -> None:
        """Change the entry at `arena.u64[slot]`, of a live table of `domid` of this level (mod_l2_entry...).

        Raises XenError as `get_upper`; also for Xen's slots, EPERM in an L2 and EINVAL in the tables above.
        """
        holder, index, width = slot >> 9, slot & 511, self._width[domid]
        if not self.is_guest_slot(level, holder, index, width) or (level == 3 and width == 32 and index >= 3):
            raise XenError(Errno.EPERM if level == 2 else Errno.EINVAL)
        old = self._u64[slot]
        same = False
        if new & PRESENT:
            if new & disallowed(level, width):
                raise XenError(Errno.EINVAL)
            same = not (old ^ new) & SAME
            if not same:
                self.get_upper(level, new, holder, index, domid)
            new |= added(level, width)
        if preserve:
            new |= old & (ACCESSED | DIRTY)
        self._u64[slot] = new
        if old & PRESENT and not same:
            self.put_upper(level, old, holder)

    def is_guest_slot(self, level: int, holder: int, index: int, width: int) -> bool:
        """Whether an entry is the guest's (is_guest_l2_slot, is_guest_l4_slot)."""
        if level == 4:
            return width == 64 and not FIRST_XEN_L4 <= index <= LAST_XEN_L4
        return level != 2 or index < FIRST_XEN_L2_32 or not self._type_flags[holder] & _XEN_L2
