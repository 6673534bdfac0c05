"""Grants and page types: mapping into the page tables of PV guests, and frames of PV guests in others' hands.

create_grant_pv_mapping and replace_grant_pv_mapping of xen/arch/x86/pv/grant_table.c, with their errors.  An entry that
maps a grant holds a reference of its own, and the type of a writable one, beside the reference of the grant tables:
whoever overwrites the entry gives these back and no others.
"""

from collections.abc import Callable

from abi.errno import XenError
from abi.grant_table import GNTMAP_application_map, GNTMAP_contains_pte, GNTMAP_readonly, GrantStatus
from abi.types import PAGE_SHIFT, Domid, Mfn, VcpuRow
from grants.errors import GrantError
from grants.host_mapping import PhysmapMapping
from grants.interfaces import MemoryManager
from hypervisor.pte import ACCESSED, DIRTY, MFN, NX, PRESENT, USER, WRITABLE, adjust_l1
from hypervisor.pv import PvMemory
from hypervisor.pv_tables import PageType
from hypervisor.tables import DomainTable, GuestKind

_L1, _WRITABLE, _PV = int(PageType.L1), int(PageType.WRITABLE), int(GuestKind.PV)
_GUEST_AVAIL = 16
"""The bit of `flags` where those begin that the guest wants in bits 9 to 11 of its entry."""
_ADDRESS = MFN << PAGE_SHIFT
_MATCHED = _ADDRESS | PRESENT | WRITABLE


class PvMapping:
    """Mappers that are PV: `host_addr` is a linear address, or the machine address of an L1 entry.

    Implements `grants.interfaces.HostMapping`.  `caller(domid)` is the domain's vCPU that makes the call.
    """

    external = False

    def __init__(self, u64: "memoryview[int]", domains: DomainTable, pv: PvMemory,
                 caller: Callable[[Domid], VcpuRow]) -> None:
        self._u64, self._width, self._pv, self._caller = u64, domains.width, pv, caller

    def create(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        entry = self._entry(domid, mfn, flags)
        slot = self._slot(domid, address, flags)
        entries = self._pv.entries
        try:
            entries.get_l1(entry, domid, self._pv.types.frames.owner(mfn))
        except XenError:
            raise GrantError(GrantStatus.general_error) from None
        old, self._u64[slot] = self._u64[slot], entry
        if old & PRESENT:
            entries.put_l1(old, domid)
            self._pv.flush(domid)

    def replace(self, domid: Domid, address: int, mfn: Mfn, new_address: int, flags: int) -> None:
        if new_address and flags & GNTMAP_contains_pte:
            raise GrantError(GrantStatus.general_error)
        source = self._slot(domid, new_address, 0) if new_address else None
        slot = self._slot(domid, address, flags)
        moved = 0
        if source is not None:  # what was there is gone even if the rest fails, as in Xen
            moved, self._u64[source] = self._u64[source], 0
        old = self._u64[slot]
        if (old ^ self._entry(domid, mfn, flags)) & _MATCHED:
            if moved & PRESENT:
                self._pv.entries.put_l1(moved, domid)
            raise GrantError(GrantStatus.general_error)
        self._u64[slot] = moved
        self._pv.entries.put_l1(old, domid)
        self._pv.flush(domid)

    def release(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        """The end of the domain's page tables gives back what their entries hold."""

    def frame_number(self, domid: Domid, mfn: Mfn) -> int:
        return mfn

    def _entry(self, domid: Domid, mfn: int, flags: int) -> int:
        """The entry that maps a grant (grant_to_pte_flags)."""
        entry = mfn << PAGE_SHIFT | PRESENT | ACCESSED | DIRTY | NX | (flags >> _GUEST_AVAIL & 7) << 9
        if flags & GNTMAP_application_map:
            entry |= USER
        if not flags & GNTMAP_readonly:
            entry |= WRITABLE
        return adjust_l1(entry) if self._width[domid] == 64 else entry

    def _slot(self, domid: Domid, address: int, flags: int) -> int:
        """The index of the entry, of a live L1 of the domain's, that `address` means.  Raises GrantError."""
        types = self._pv.types
        slot: int | None = address >> 3
        if not flags & GNTMAP_contains_pte:
            slot = self._pv.l1_slot(self._caller(domid), address)
        elif address & 7 or not types.frames.valid(address >> PAGE_SHIFT):
            slot = None
        if slot is None or types.live(slot >> 9) != _L1 or types.frames.owner(Mfn(slot >> 9)) != domid:
            raise GrantError(GrantStatus.general_error)
        return slot


class TypedPhysmapMapping(PhysmapMapping):
    """Mappers that are PVH: a writable mapping of a PV guest's frame keeps it from becoming a page table."""

    def __init__(self, memory: MemoryManager, domains: DomainTable, pv: PvMemory) -> None:
        super().__init__(memory)
        self._domains, self._types = domains, pv.types
        self._owner, self._kind = pv.types.frames.table.owner, domains.kind

    def create(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        if self._kind[self._owner[mfn]] != _PV or flags & GNTMAP_readonly:
            super().create(domid, address, mfn, flags)
            return
        try:
            self._types.get_type(mfn, _WRITABLE)
        except XenError:
            raise GrantError(GrantStatus.general_error) from None
        try:
            super().create(domid, address, mfn, flags)
        except GrantError:
            self._types.put_type(mfn)
            raise

    def replace(self, domid: Domid, address: int, mfn: Mfn, new_address: int, flags: int) -> None:
        super().replace(domid, address, mfn, new_address, flags)
        if self._kind[self._owner[mfn]] == _PV and not flags & GNTMAP_readonly:
            self._types.put_type(mfn)

    def release(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        super().release(domid, address, mfn, flags)
        if self._kind[self._owner[mfn]] == _PV and not flags & GNTMAP_readonly:
            self._types.put_type(mfn)
