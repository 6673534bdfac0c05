"""GDT and LDT of PV vCPUs (pv_set_gdt, pv_destroy_ldt... of xen/arch/x86/pv/descriptor-tables.c)."""

from collections.abc import Callable, Sequence

from abi.errno import Errno, XenError
from abi.types import PAGE_SHIFT, Domid, VcpuRow
from abi.x86 import FIRST_RESERVED_GDT_ENTRY
from hypervisor.descriptor_check import check_descriptor
from hypervisor.page_type import PageTypes
from hypervisor.pte import MFN, PRESENT
from hypervisor.pv_slots import XenSlots
from hypervisor.pv_tables import DESCRIPTOR_FRAMES, GdtFrameTable, LdtFrameTable, PageType, PvVcpuTable
from hypervisor.tables import DomainTable, VcpuTable
from state.arena import Arena

_A_PAGE = 512
MOST_LDT_ENTRIES = 8192


class Descriptors:
    """`find_l1(row, address)` gives the index in `arena.u64` of the L1 entry of a kernel address, or None.

    `flush(domid)` makes a domain forget its translations.
    """

    def __init__(self, arena: Arena, domains: DomainTable, vcpus: VcpuTable, types: PageTypes, slots: XenSlots,
                 table: PvVcpuTable, gdt: GdtFrameTable, ldt: LdtFrameTable,
                 find_l1: Callable[[VcpuRow, int], int | None], flush: Callable[[Domid], None]) -> None:
        self._u64, self._domains, self._vcpus, self._types, self._slots = arena.u64, domains, vcpus, types, slots
        self._table, self._gdt, self._ldt, self._find_l1, self._flush = table, gdt.mfn, ldt.mfn, find_l1, flush

    def set_gdt(self, row: VcpuRow, frames: Sequence[int], entries: int) -> None:
        """Give a vCPU a GDT of `entries` descriptors in these frames.  Raises XenError(EINVAL)."""
        domid = Domid(self._vcpus.domid[row])
        if entries > FIRST_RESERVED_GDT_ENTRY:
            raise XenError(Errno.EINVAL)
        taken: list[int] = []
        try:
            for mfn in frames:
                self._types.get(mfn, PageType.SEG_DESC, domid)
                taken.append(mfn)
        except XenError:
            for mfn in taken:
                self._types.put(mfn)
            raise XenError(Errno.EINVAL) from None
        self.drop_gdt(row)
        self._table.gdt_ents[row] = entries
        for index, mfn in enumerate(taken):
            self._gdt[row * DESCRIPTOR_FRAMES + index] = mfn
            self._slots.set_descriptor_page(row, index, mfn)
        self._flush(domid)

    def drop_gdt(self, row: VcpuRow) -> None:
        """Take a vCPU's GDT away; Xen's own descriptors stay."""
        self._table.gdt_ents[row] = 0
        for index in range(DESCRIPTOR_FRAMES):
            mfn = self._gdt[row * DESCRIPTOR_FRAMES + index]
            if mfn:
                self._gdt[row * DESCRIPTOR_FRAMES + index] = 0
                self._slots.set_descriptor_page(row, index, 0)
                self._types.put(mfn)

    def set_ldt(self, row: VcpuRow, base: int, entries: int) -> None:
        """Give a vCPU an LDT at a guest-linear address, checked by the caller; its pages are looked at when used."""
        if (self._table.ldt_base[row], self._table.ldt_ents[row]) != (base, entries):
            self.drop_ldt(row)
            self._table.ldt_base[row], self._table.ldt_ents[row] = base, entries

    def map_ldt_page(self, row: VcpuRow, offset: int) -> bool:
        """Map the page of byte `offset` of a vCPU's LDT, which the processor did not find (pv_map_ldt_shadow_page).

        False where the guest has no page of good descriptors there: the fault is then the guest's.
        """
        domid = Domid(self._vcpus.domid[row])
        address = self._table.ldt_base[row] + offset & (0xFFFFFFFF if self._domains.width[domid] == 32 else -1)
        slot = self._find_l1(row, address)
        entry = 0 if slot is None else self._u64[slot]
        index = offset >> PAGE_SHIFT
        if not entry & PRESENT or index >= DESCRIPTOR_FRAMES or self._ldt[row * DESCRIPTOR_FRAMES + index]:
            return False
        mfn = entry >> 12 & MFN
        try:
            self._types.get(mfn, PageType.SEG_DESC, domid)
        except XenError:
            return False
        self._ldt[row * DESCRIPTOR_FRAMES + index] = mfn
        self._slots.set_descriptor_page(row, DESCRIPTOR_FRAMES + index, mfn)
        return True

    def drop_ldt(self, row: VcpuRow) -> None:
        """Unmap a vCPU's LDT; its pages come back when they are used (pv_destroy_ldt)."""
        dropped = [index for index in range(row * DESCRIPTOR_FRAMES, (row + 1) * DESCRIPTOR_FRAMES) if self._ldt[index]]
        for index in dropped:
            mfn, self._ldt[index] = self._ldt[index], 0
            self._slots.set_descriptor_page(row, DESCRIPTOR_FRAMES + index % DESCRIPTOR_FRAMES, 0)
            self._types.put(mfn)
        if dropped:
            self._flush(Domid(self._vcpus.domid[row]))

    def drop_ldts(self, domid: Domid) -> None:
        """`drop_ldt` of all vCPUs of a domain."""
        base = self._domains.vcpu_base[domid]
        for row in range(base, base + self._domains.vcpu_count[domid]):
            self.drop_ldt(VcpuRow(row))

    def update(self, domid: Domid, address: int, descriptor: int) -> None:
        """Write one descriptor at a machine address of the domain's (update_descriptor).  Raises XenError(EINVAL)."""
        checked = None if address & 7 else check_descriptor(descriptor, self._domains.width[domid])
        if checked is None:
            raise XenError(Errno.EINVAL)
        mfn = address >> PAGE_SHIFT
        types = self._types
        kind = PageType.WRITABLE
        if types.frames.valid(mfn) and types.table.type[mfn] == PageType.SEG_DESC:
            kind = PageType.SEG_DESC
        types.get(mfn, kind, domid)
        self._u64[address >> 3] = checked
        types.put(mfn)
