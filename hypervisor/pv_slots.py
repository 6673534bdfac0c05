"""Xen's part of every PV guest's address space: the M2P, and each vCPU's GDT and LDT.

64-bit guests see the M2P at 0xFFFF800000000000 (slot 256 of their L4), 32-bit ones at 0xF5800000 (the last slots of
their last L2).  GDT and LDT of a vCPU lie in slot 260, for supervisors alone, 16 pages each (PERDOMAIN_VIRT_START of
asm/config.h).  A 32-bit guest's L3 hangs under an L4 of Xen's own, one a vCPU.
"""

from collections.abc import Iterator

from abi.types import Domid, VcpuRow
from abi.x86 import FIRST_RESERVED_GDT_PAGE
from abi.xen import VmAssist
from grants.interfaces import P2mType
from hypervisor.frames import Frames
from hypervisor.pte import (
    ACCESSED,
    DIRTY,
    FIRST_XEN_L2_32,
    FIRST_XEN_L4,
    LAST_XEN_L4,
    M2P_SLOT,
    NX,
    PERDOMAIN_SLOT,
    PRESENT,
    USER,
    WRITABLE,
)
from hypervisor.pv_nested import Nested
from hypervisor.pv_tables import DESCRIPTOR_FRAMES, PvDomainTable, PvHostTable
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.vm_assist import AssistTable
from state.arena import Arena

PERDOMAIN_START = 0xFFFF820000000000
_VCPU_SHIFT = 17
_TABLE = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
_READ_ONLY, _SUPERVISOR = PRESENT | USER | ACCESSED | NX, PRESENT | WRITABLE | ACCESSED | DIRTY | NX
_SUPERVISOR_READ_ONLY = PRESENT | ACCESSED | NX
_M2P_32_END = 0xF6800000
_RESERVED_64 = (0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0, 0x00CFFB000000FFFF, 0x00CFF3000000FFFF,
                0x00AFFB000000FFFF, 0x00CF9B000000FFFF)
_RESERVED_32 = (0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFBB000000FFFF, 0x00CFB3000000FFFF,
                0x00CFFB000000FFFF, 0x00CFF3000000FFFF, 0x00CF9B000000FFFF)
"""Descriptors from selector 0xE000 on: xen-x86_64.h and xen-x86_32.h name those for guests."""


def gdt_address(vcpu_id: int) -> int:
    """The linear address of a vCPU's GDT."""
    return PERDOMAIN_START + (vcpu_id << _VCPU_SHIFT)


def ldt_address(vcpu_id: int) -> int:
    """The linear address of a vCPU's LDT."""
    return gdt_address(vcpu_id) + (DESCRIPTOR_FRAMES << 12)


class XenSlots:
    """`m2p` and `m2p32` are the machine addresses of the two forms of the M2P, page aligned."""

    def __init__(self, arena: Arena, frames: Frames, domains: DomainTable, vcpus: VcpuTable, host: PvHostTable,
                 table: PvDomainTable, assists: AssistTable, nested: Nested, m2p: int, m2p32: int) -> None:
        self._u64, self._frames, self._domains, self._vcpus = arena.u64, frames, domains, vcpus
        self._host, self._table, self._assists, self._nested = host, table, assists, nested
        self._m2p, self._m2p32 = m2p, m2p32

    def create(self, domid: Domid) -> None:
        """Make a domain's part, and show its processor the M2P and all tables.  Raises XenError(ENOMEM)."""
        host = self._host
        if not host.zero[0]:
            self._create_host()
        self._table.perdomain_l3[domid] = self._new(domid)
        for vcpu_id in range(self._domains.vcpu_count[domid]):
            slot = self._descriptor_slot(domid, vcpu_id, create=True)
            for index in range(DESCRIPTOR_FRAMES):
                self._u64[slot + index] = host.zero[0] << 12 | _SUPERVISOR_READ_ONLY
            self.show_reserved_descriptors(domid, vcpu_id)
        for mfn in (host.zero[0], host.gdt64[0], host.gdt32[0], *self._tables(host.m2p_l3[0], 3),
                    *self._tables(host.m2p32_l2[0], 2)):
            self._nested.allow(domid, mfn)
        for address, size in ((self._m2p, self._frames.count * 8), (self._m2p32, self._frames.count * 4)):
            self._nested.set_extent(domid, address >> 12, address >> 12, size + 4095 >> 12, P2mType.RAM_RO)

    def show_reserved_descriptors(self, domid: Domid, vcpu_id: int) -> None:
        """Put Xen's own descriptors, which depend on the domain's width, into a vCPU's GDT."""
        gdt = (self._host.gdt64 if self._domains.width[domid] == 64 else self._host.gdt32)[0]
        slot = self._descriptor_slot(domid, vcpu_id) + FIRST_RESERVED_GDT_PAGE
        self._u64[slot] = gdt << 12 | _SUPERVISOR_READ_ONLY

    def destroy(self, domid: Domid) -> None:
        """Free a domain's part."""
        if self._table.perdomain_l3[domid]:
            for mfn in list(self._tables(self._table.perdomain_l3[domid], 3)):
                self._frames.free_table(mfn)  # type: ignore[arg-type]
            self._table.perdomain_l3[domid] = 0

    def fill_l4(self, mfn: int, domid: Domid) -> None:
        """Write Xen's slots of a 64-bit guest's new L4 (init_xen_l4_slots)."""
        first = mfn << 9
        for slot in range(first + FIRST_XEN_L4, first + LAST_XEN_L4 + 1):
            self._u64[slot] = 0
        self._u64[first + PERDOMAIN_SLOT] = self._table.perdomain_l3[domid] << 12 | _TABLE
        self.show_m2p(mfn, not self._assists.bits[domid] >> VmAssist.m2p_strict & 1)

    def show_m2p(self, mfn: int, shown: bool) -> None:
        """Have the M2P in an L4, or not (fill_ro_mpt, zap_ro_mpt)."""
        self._u64[(mfn << 9) + M2P_SLOT] = self._host.m2p_l3[0] << 12 | _TABLE if shown else 0

    def fill_l2(self, mfn: int) -> None:
        """Write Xen's slots of a 32-bit guest's last L2 (init_xen_pae_l2_slots)."""
        for index in range(FIRST_XEN_L2_32, 512):
            self._u64[(mfn << 9) + index] = self._u64[(self._host.m2p32_l2[0] << 9) + index]

    def new_compat_l4(self, domid: Domid) -> int:
        """A frame with an L4 for a vCPU of a 32-bit guest: Xen's slots, and no L3.  Raises XenError(ENOMEM)."""
        mfn = self._new(domid)
        self._u64[(mfn << 9) + PERDOMAIN_SLOT] = self._table.perdomain_l3[domid] << 12 | _TABLE
        return mfn

    def set_compat_l3(self, l4: int, l3: int) -> None:
        """Put a guest's L3 under a compat L4."""
        self._u64[l4 << 9] = l3 << 12 | _TABLE if l3 else 0

    def set_descriptor_page(self, row: VcpuRow, index: int, mfn: int) -> None:
        """Map page `index` of a vCPU's GDT, or of its LDT from DESCRIPTOR_FRAMES on; 0 unmaps it."""
        slot = self._descriptor_slot(Domid(self._vcpus.domid[row]), self._vcpus.vcpu_id[row])
        if mfn:
            entry = mfn << 12 | _SUPERVISOR
        else:
            entry = self._host.zero[0] << 12 | _SUPERVISOR_READ_ONLY if index < DESCRIPTOR_FRAMES else 0
        self._u64[slot + index] = entry

    def _descriptor_slot(self, domid: Domid, vcpu_id: int, create: bool = False) -> int:
        """The index in `arena.u64` of the L1 entry for the first page of a vCPU's GDT."""
        page = vcpu_id << _VCPU_SHIFT - 12
        slot = self._table.perdomain_l3[domid] << 9 | page >> 18
        for shift in (9, 0):
            if create and not self._u64[slot]:
                self._u64[slot] = self._new(domid) << 12 | _TABLE
            slot = self._u64[slot] >> 12 << 9 | page >> shift & 511
        return slot

    def _new(self, domid: Domid) -> int:
        mfn = self._frames.allocate_table(domid)
        self._nested.allow(domid, mfn)
        return mfn

    def _create_host(self) -> None:
        host, u64 = self._host, self._u64
        for column, descriptors in ((host.gdt64, _RESERVED_64), (host.gdt32, _RESERVED_32)):
            column[0] = self._frames.allocate_table()
            for index, descriptor in enumerate(descriptors):
                u64[(column[0] << 9) + index] = descriptor
        size = self._frames.count * 8
        host.m2p_l3[0] = self._frames.allocate_table()
        for page in range(size + 4095 >> 12):
            self._map(host.m2p_l3[0], page, 18, (self._m2p >> 12) + page)
        host.m2p32_l2[0] = self._frames.allocate_table()
        for page in range(min(size // 2 + 4095 >> 12, _M2P_32_END - 0xF5800000 >> 12)):
            self._map(host.m2p32_l2[0], page + (0xF5800000 >> 12 & 0x3FFFF), 9, (self._m2p32 >> 12) + page)
        host.zero[0] = self._frames.allocate_table()

    def _map(self, table: int, page: int, shift: int, mfn: int) -> None:
        while shift:
            slot = table << 9 | page >> shift & 511
            if not self._u64[slot]:
                self._u64[slot] = self._frames.allocate_table() << 12 | _TABLE
            table, shift = self._u64[slot] >> 12, shift - 9
        self._u64[table << 9 | page & 511] = mfn << 12 | _READ_ONLY

    def _tables(self, table: int, level: int) -> Iterator[int]:
        """The frames of a tree of tables of Xen's, `level` levels deep."""
        yield table
        if level > 1:
            for entry in self._u64[table << 9:(table << 9) + 512].tolist():
                if entry & PRESENT:
                    yield from self._tables(entry >> 12, level - 1)
