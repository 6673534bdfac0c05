"""Whole page tables: validation when a frame becomes one, and the way back (promote_l1_table... of xen/arch/x86/mm.c).

An L1 that maps nothing but its domain's own memory, which is nearly all of them, is done by numpy in one go.
"""

from abi.errno import Errno, XenError
from abi.types import Domid
from hypervisor.descriptor_check import check_segment_page
from hypervisor.l1_batch import L1Batch
from hypervisor.page_entry import PageEntries
from hypervisor.page_type import PageTypes
from hypervisor.pte import ACCESSED, PRESENT, USER, WRITABLE, added, adjust_l1
from hypervisor.pv_slots import XenSlots
from hypervisor.pv_tables import PageType, TypeFlag
from hypervisor.tables import DomainTable
from state.arena import Arena

_XEN_L2 = int(TypeFlag.PAE_XEN_L2)


class PageTables:
    """Promotion and demotion for `types`, over `entries`."""

    def __init__(self, arena: Arena, domains: DomainTable, types: PageTypes, entries: PageEntries, batch: L1Batch,
                 slots: XenSlots) -> None:
        self._arena, self._u64, self._width, self._types = arena, arena.u64, domains.width, types
        self._entries, self._batch, self._slots = entries, batch, slots
        self._owner = types.frames.table.owner
        types.promote, types.demote = self._promote, self._demote

    def _promote(self, mfn: int, kind: int, flags: int) -> None:
        domid = Domid(self._owner[mfn])
        if kind == PageType.L1:
            if not self._batch.promote(mfn, domid):
                self._promote_l1(mfn, domid)
        elif kind == PageType.SEG_DESC:
            check_segment_page(self._u64, mfn << 9, self._width[domid])
        elif kind == PageType.L4 and self._width[domid] == 32:
            raise XenError(Errno.EINVAL)
        else:
            self._promote_upper(mfn, kind, flags, domid)

    def _promote_l1(self, mfn: int, domid: Domid) -> None:
        u64, entries, first = self._u64, self._entries, mfn << 9
        wide = self._width[domid] == 64
        for slot in range(first, first + 512):
            entry = u64[slot]
            if not entry & PRESENT:
                continue
            try:
                entries.get_l1(entry, domid, domid)
            except XenError:
                for done in range(first, slot):
                    if u64[done] & PRESENT:
                        entries.put_l1(u64[done], domid)
                raise
            if wide:
                u64[slot] = adjust_l1(entry)

    def _promote_upper(self, mfn: int, level: int, flags: int, domid: Domid) -> None:
        u64, entries, first, width = self._u64, self._entries, mfn << 9, self._width[domid]
        more = added(level, width)
        if level == 3 and width == 32:
            u64[first + 4:first + 512] = memoryview(bytes(508 * 8)).cast("Q")  # the processor will see all of it
            if not u64[first + 3] & PRESENT:
                raise XenError(Errno.EINVAL)
        for index in self._present(first):
            if not entries.is_guest_slot(level, mfn, index, width):
                continue
            entry = u64[first + index]
            try:
                entries.get_upper(level, entry, mfn, index, domid)
            except XenError:
                self._put_below(mfn, level, index, width)
                raise
            u64[first + index] = entry | more
        if level == 4:
            self._slots.fill_l4(mfn, domid)
        elif flags & _XEN_L2:
            self._slots.fill_l2(mfn)
        elif level == 3 and width == 32 and self._types.table.count[u64[first + 3] >> 12 & 0xFFFFFFFFFF] != 1:
            self._put_below(mfn, level, 512, width)  # Xen's part of that L2 is for one table alone
            raise XenError(Errno.EINVAL)

    def _put_below(self, mfn: int, level: int, end: int, width: int) -> None:
        """Give back the entries before index `end`."""
        for index in self._present(mfn << 9):
            if index >= end:
                return
            if self._entries.is_guest_slot(level, mfn, index, width):
                self._entries.put_upper(level, self._u64[(mfn << 9) + index], mfn)

    def _demote(self, mfn: int, kind: int) -> None:
        domid = Domid(self._owner[mfn])
        if kind == PageType.L1:
            if not self._batch.demote(mfn, domid):
                for entry in self._u64[mfn << 9:(mfn << 9) + 512].tolist():
                    if entry & PRESENT:
                        self._entries.put_l1(entry, domid)
            return
        width = self._width[domid]
        self._put_below(mfn, kind, 512, width)
        if kind == PageType.L3 and width == 32:
            for slot in range(mfn << 9, (mfn << 9) + 4):
                self._u64[slot] &= ~(USER | WRITABLE | ACCESSED)

    def _present(self, first: int) -> list[int]:
        return [index for index, entry in enumerate(self._u64[first:first + 512].tolist()) if entry & PRESENT]
