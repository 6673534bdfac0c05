"""The memory of paravirtual guests: page types, page tables, Xen's part of their address spaces, their nested tables.

Machine memory is theirs to name: a PV guest's page numbers are frame numbers, and its page tables are those that the
processor walks.  It changes them by hypercalls alone, which end in `entries` and `types`.
"""

from collections.abc import Callable

import numpy

from abi.errno import Errno, XenError
from abi.types import Domid, Mfn, VcpuRow
from abi.xen import VmAssist
from hypervisor.call import Call
from hypervisor.descriptors import Descriptors
from hypervisor.frames import INVALID_M2P, Frames, FrameTable
from hypervisor.host_state import HostState
from hypervisor.l1_batch import L1Batch
from hypervisor.memory import MemoryTable
from hypervisor.p2m import EVERY_PAGE
from hypervisor.page_entry import PageEntries
from hypervisor.page_tables import PageTables
from hypervisor.page_type import PageTypes
from hypervisor.pte import LARGE, MFN, PRESENT
from hypervisor.pv_nested import Nested
from hypervisor.pv_slots import XenSlots
from hypervisor.pv_tables import (
    GdtFrameTable,
    LdtFrameTable,
    M2p32Table,
    PageType,
    PageTypeTable,
    PvDomainTable,
    PvHostTable,
    PvNestedTable,
    PvVcpuTable,
    TypeFlag,
    VcpuFlag,
)
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.vm_assist import AssistTable

_PINNED, _KERNEL_MODE = int(TypeFlag.PINNED), int(VcpuFlag.KERNEL_MODE)
_LOWER_HALF, _TOP_HALF, _END_32 = 1 << 47, 0xFFFF880000000000, 0xF5800000


class PvMemory:
    """For the PV guests of one host.

    `flush_engine(domid, gfn)` makes the domain's engine forget what it knows of a frame, or EVERY_PAGE.
    """

    def __init__(self, state: HostState, frames: Frames, flush_engine: Callable[[Domid, int], None]) -> None:
        table = state.table
        self._arena, self._u64, self._frames, self._flush_engine = state.arena, state.arena.u64, frames, flush_engine
        self._domains, self._memory = table(DomainTable), table(MemoryTable)
        self._assists, self._m2p32 = table(AssistTable), table(M2p32Table).pfn
        self._m2p32_all = numpy.frombuffer(self._m2p32, numpy.uint32)
        self.domain_table, self.vcpu_table = table(PvDomainTable), table(PvVcpuTable)
        self._flushes = self.domain_table.flushes
        self.local_invlpg: dict[Domid, Callable[[int], None]] = {}
        """By domain that runs in this process: forget the translation of one address now."""
        self.local_flush: dict[Domid, Callable[[], None]] = {}
        """By domain that runs in this process: forget all translations, but not which frames there are."""
        self.nested = Nested(state.arena, table(PvNestedTable), frames, flush_engine)
        self.types = PageTypes(frames, table(PageTypeTable), self.domain_table, self.flush)
        self.entries = PageEntries(state.arena, self._domains, self.types, self.nested, self._drop_ldts)
        self.batch = L1Batch(state.arena, self._domains, self.types, self._flushes)
        self.slots = XenSlots(state.arena, frames, self._domains, table(VcpuTable), table(PvHostTable),
                              self.domain_table, self._assists, self.nested, state.address(FrameTable),
                              state.address(M2p32Table))
        self.tables = PageTables(state.arena, self._domains, self.types, self.entries, self.batch, self.slots)
        self.descriptors = Descriptors(state.arena, self._domains, table(VcpuTable), self.types, self.slots,
                                       self.vcpu_table, table(GdtFrameTable), table(LdtFrameTable), self.l1_slot,
                                       self.flush)
        frames.freed = self._freed

    # -- life of a domain

    def create(self, domid: Domid) -> None:
        """Give a domain, which has its memory and its vCPU rows, all that makes it PV.

        Raises XenError(ENOMEM); `destroy` then takes back what there is.
        """
        for row in self._rows(domid):
            self.vcpu_table.clear(row)
        self.nested.create(domid)
        first, end = self._memory.first[domid], self._memory.end[domid]
        self.add_memory(domid, first, end - first)
        self._m2p32_all[first:end] = self._frames.gfns[first:end].astype(numpy.uint32)
        self.nested.allow(domid, self._domains.shared_info[domid] >> 12)
        self.slots.create(domid)
        for row in self._rows(domid):
            self.vcpu_table.spare_l4[row] = self.slots.new_compat_l4(domid)
        if self._domains.width[domid] == 32:
            self.switch_compat(domid)

    def switch_compat(self, domid: Domid) -> None:
        """Make a domain that has not run a 32-bit one.  Takes no memory: several processes may build their domains."""
        self._domains.width[domid] = 32
        for row in self._rows(domid):
            self.vcpu_table.compat_l4[row] = self.vcpu_table.spare_l4[row]
            self.slots.show_reserved_descriptors(domid, row - self._domains.vcpu_base[domid])

    def destroy(self, domid: Domid) -> None:
        """Undo all uses of frames by a dead domain; its memory can then be freed."""
        if not self.nested.table.root[domid]:
            return
        for row in self._rows(domid):
            self.descriptors.drop_gdt(VcpuRow(row))
            self.descriptors.drop_ldt(VcpuRow(row))
            for column in (self.vcpu_table.user_cr3, self.vcpu_table.kernel_cr3):
                if column[row]:
                    self.types.put(column[row])
                    column[row] = 0
        if self.domain_table.pirq_eoi[domid]:
            self.types.put(self.domain_table.pirq_eoi[domid])
            self.domain_table.pirq_eoi[domid] = 0
        first, end = self._memory.first[domid], self._memory.end[domid]
        pinned = numpy.frombuffer(self.types.table.flags, numpy.uint8)[first:end] & _PINNED
        for mfn in (numpy.flatnonzero(pinned) + first).tolist():
            if self._frames.owner(Mfn(mfn)) == domid:
                self.types.unpin(mfn, domid)
        for row in self._rows(domid):
            if self.vcpu_table.spare_l4[row]:
                self._frames.free_table(Mfn(self.vcpu_table.spare_l4[row]))
                self.vcpu_table.spare_l4[row] = self.vcpu_table.compat_l4[row] = 0
        self.slots.destroy(domid)
        self.nested.destroy(domid)

    def add_memory(self, domid: Domid, mfn: int, count: int) -> None:
        """The domain has got `count` frames in a row.  Raises XenError(ENOMEM)."""
        self.nested.allow_extent(domid, mfn, count)

    def set_m2p(self, mfn: int, pfn: int) -> None:
        """What the guest calls a frame (set_gpfn_from_mfn); INVALID_M2P for nothing."""
        self._frames.table.gfn[mfn] = pfn
        self._m2p32[mfn] = pfn & 0xFFFFFFFF

    # -- translations

    def nested_root(self, domid: Domid) -> int:
        """Machine address of the nested page table that the engine of a PV domain uses."""
        return self.nested.table.root[domid]

    def flush(self, domid: Domid) -> None:
        """Make a domain forget all its translations; whoever does it without this call counts it in `flushes`."""
        self._flushes[domid] = self._flushes[domid] + 1 & 0xFFFFFFFF
        local = self.local_flush.get(domid)
        if local is None:
            self._flush_engine(domid, EVERY_PAGE)
        else:
            local()

    def invlpg(self, domid: Domid, address: int) -> None:
        """Make a domain forget its translation of one linear address."""
        local = self.local_invlpg.get(domid)
        if local is None:
            self.flush(domid)
        else:
            local(address)

    def cr3(self, row: VcpuRow) -> int:
        """The machine address that a vCPU's processor has in CR3."""
        table = self.vcpu_table
        if table.compat_l4[row]:
            return table.compat_l4[row] << 12
        return (table.kernel_cr3 if table.flags[row] & _KERNEL_MODE else table.user_cr3)[row] << 12

    def l1_slot(self, row: VcpuRow, address: int) -> int | None:
        """The index in `arena.u64` of the L1 entry of a kernel address of a vCPU's, or None (map_guest_l1e)."""
        u64, table = self._u64, self.vcpu_table
        mfn = table.kernel_cr3[row]
        if table.compat_l4[row]:
            if address >= _END_32:
                return None
            entry = u64[mfn << 9 | address >> 30]
        else:
            if _LOWER_HALF <= address < _TOP_HALF:
                return None
            entry = u64[mfn << 9 | address >> 39 & 511]
            if not entry & PRESENT:
                return None
            entry = u64[(entry >> 12 & MFN) << 9 | address >> 30 & 511]
        if not entry & PRESENT:
            return None
        entry = u64[(entry >> 12 & MFN) << 9 | address >> 21 & 511]
        if entry & (PRESENT | LARGE) != PRESENT:
            return None
        return (entry >> 12 & MFN) << 9 | address >> 12 & 511

    def cr3_changed(self, call: Call) -> None:
        """The calling vCPU has other tables: its processor is told, and forgets all translations."""
        switch = getattr(call, "switch_cr3", None)
        if switch is not None:
            switch()
        self.flush(call.domid)

    def ldt_changed(self, call: Call) -> None:
        """The calling vCPU has another LDT: its processor is told (load_LDT)."""
        load = getattr(call, "load_ldt", None)
        if load is not None:
            load()

    def page(self, mfn: int) -> bytes:
        """What is in a frame."""
        return self._arena.read(mfn << 12, 4096)

    def write_page(self, mfn: int, content: bytes) -> None:
        """Fill a frame that may be written."""
        self._arena.write(mfn << 12, content)

    def write_word(self, address: int, value: int) -> None:
        """Store 64 bits at a machine address that may be written."""
        self._u64[address >> 3] = value

    # -- the tables that vCPUs run on

    def new_baseptr(self, row: VcpuRow, domid: Domid, mfn: int) -> None:
        """Put a vCPU on another top-level table (new_guest_cr3).  Raises XenError as `PageTypes.get`.

        The processor's CR3 is the caller's affair.
        """
        table = self.vcpu_table
        old = table.kernel_cr3[row]
        if old == mfn:
            return
        compat = table.compat_l4[row]
        self.types.get(mfn, PageType.L3 if compat else PageType.L4, domid)
        self.descriptors.drop_ldt(row)
        if compat:
            self.slots.set_compat_l3(compat, mfn)
        elif self._assists.bits[domid] >> VmAssist.m2p_strict & 1:
            self.slots.show_m2p(mfn, True)
        table.kernel_cr3[row] = mfn
        if old:
            self.types.put(old)

    def new_user_baseptr(self, row: VcpuRow, domid: Domid, mfn: int) -> None:
        """Put a 64-bit vCPU's user mode on another L4; 0 for none.  Raises XenError: EINVAL."""
        old = self.vcpu_table.user_cr3[row]
        if old == mfn:
            return
        if mfn:
            self.types.get(mfn, PageType.L4, domid)
            if self._assists.bits[domid] >> VmAssist.m2p_strict & 1:
                self.slots.show_m2p(mfn, False)
        self.vcpu_table.user_cr3[row] = mfn
        if old:
            self.types.put(old)

    def pin(self, domid: Domid, mfn: int, level: int) -> None:
        """Pin a table of the domain (MMUEXT_PIN_L1_TABLE...).  Raises XenError(EINVAL)."""
        self.types.pin(mfn, level, domid)

    def emulated_write(self, domid: Domid, slot: int, new: int, half: bool = False) -> bool:
        """A guest stores to the entry at `arena.u64[slot]` of a live L1 that it sees read-only (ptwr_emulated_update).

        False where the entry would be refused, or the frame is no L1 of the domain's: the fault is then the guest's.
        `half`: a 32-bit guest has written the upper half of an entry, whose lower half is perhaps to come.
        """
        mfn = slot >> 9
        if self.types.live(mfn) != PageType.L1 or self._frames.owner(Mfn(mfn)) != domid:
            return False
        try:
            self.entries.mod_l1(slot, new, domid, domid)
        except XenError as error:
            if not half or error.errno == Errno.ENOMEM:
                return False
            self.entries.mod_l1(slot, new & ~PRESENT, domid, domid)
        return True

    def _rows(self, domid: Domid) -> range:
        base = self._domains.vcpu_base[domid]
        return range(base, base + self._domains.vcpu_count[domid])

    def _drop_ldts(self, domid: Domid) -> None:
        self.descriptors.drop_ldts(domid)

    def _freed(self, mfn: int, count: int) -> None:
        """RAM goes back to the heap: nobody's processor finds it any more, and it has no type."""
        domid = self._frames.owner(Mfn(mfn))
        self.types.forget(mfn, count)
        if self.nested.table.root[domid]:
            for frame in range(mfn, mfn + count):
                self.nested.deny(domid, frame)
                self.set_m2p(frame, INVALID_M2P)


