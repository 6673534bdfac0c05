"""The memory of domains: where it lies, what is given at creation, what the other subsystems ask of it.

A domain's RAM is one extent of machine frames, which its p2m maps with large entries, laid out as `pvh_layout` says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy

from abi.errno import Errno, XenError
from abi.memory import E820ENTRY
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Gfn, Mfn
from abi.xen import SHARED_INFO
from grants.interfaces import P2mType
from hypervisor.frames import INVALID_M2P, FrameKind, Frames
from hypervisor.heap import LARGE
from hypervisor.p2m import P2m
from hypervisor.physmap import Physmap
from hypervisor.pv_tables import PageType
from hypervisor.pvh_layout import (
    ACPI_TABLES,
    HIGH_MEMORY,
    HOLE,
    NR_ACPI_PAGES,
    NR_SPECIAL_PAGES,
    SLACK,
    SPECIAL_PAGES,
    MapEntry,
    pvh_memory_map,
)
from hypervisor.tables import DomainTable, GuestKind
from state.arena import Arena
from state.table import Table

if TYPE_CHECKING:
    from hypervisor.pv import PvMemory

_GIGABYTE = 1 << 30 - PAGE_SHIFT
_ENTRY = E820ENTRY.at(64)
_POOL_SHARE = 160
MOST_MAP_ENTRIES = PAGE_SIZE // _ENTRY.size


def pool_share(pages: int) -> int:
    """Frames that the hypervisor has for what it keeps for a domain of `pages`: tables, grant table, descriptors."""
    return _POOL_SHARE + 2 * pages // LARGE


class MemoryTable(Table):
    """A row a domain."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"first": "I", "end": "I", "map_page": "Q", "map_entries": "H"}
    first: "memoryview[int]"
    end: "memoryview[int]"
    """All RAM frames of the domain lie in [first, end)."""
    map_page: "memoryview[int]"
    """Machine address of the domain's memory map, packed as e820 entries; 0 where it has none."""
    map_entries: "memoryview[int]"


class Memory:
    """The memory of one host's domains; implements `grants.interfaces.MemoryManager`.

    `crash` is as for `Physmap`.
    """

    def __init__(self, arena: Arena, domains: DomainTable, table: MemoryTable, frames: Frames, p2m: P2m,
                 crash: Callable[[Domid, str], None]) -> None:
        self._arena, self._domains, self._table = arena, domains, table
        self.frames, self.p2m = frames, p2m
        self.physmap = Physmap(frames, p2m, crash)
        self.pv: PvMemory | None = None
        """Set by the host that has PV guests."""
        self._root, self._find = p2m.table.root, p2m.find
        self._kind, self._gfn, self._refs = frames.table.kind, frames.table.gfn, frames.table.refs
        self.get_page, self.owner = frames.get_page, frames.owner

    # -- life of a domain

    def allocate_domain(self, domid: Domid, pages: int) -> Mfn:
        """Give a new domain `pages` of RAM in a row, shared_info and a memory map, and PVH domains their p2m.

        Sets `max_pages` and `shared_info` of its row, whose `kind` must be right; returns the first frame.
        Raises XenError(ENOMEM), and then nothing is left behind.
        """
        self._domains.max_pages[domid] = pages + SLACK
        try:
            self._carve(domid, pages + SLACK)
            mfn = self._allocate_ram(domid, pages)
            if self._domains.kind[domid] == GuestKind.PVH:
                self.p2m.create(domid)
                low = min(pages, HOLE)
                self._map(domid, Gfn(0), mfn, low)
                self._map(domid, HIGH_MEMORY, Mfn(mfn + low), pages - low)
                self._map(domid, SPECIAL_PAGES, self.allocate_pages(domid, NR_SPECIAL_PAGES), NR_SPECIAL_PAGES)
                self._map(domid, ACPI_TABLES, self.allocate_pages(domid, NR_ACPI_PAGES), NR_ACPI_PAGES)
                self.set_memory_map(domid, pvh_memory_map(pages))
            else:
                self.frames.gfns[mfn:mfn + pages] = numpy.arange(pages)
            self._domains.shared_info[domid] = self.frames.allocate_xen_frame(domid) << PAGE_SHIFT
        except XenError:
            self.free_domain(domid)
            raise
        return mfn

    def free_domain(self, domid: Domid) -> int:
        """Take back what a dead domain has; its engine must not run again.

        Returns the number of its frames that others still map; each is freed with its last reference.  Until then
        `tot_pages` of the domain's row says so, and neither the row nor the number may be used for another domain.
        """
        for _, mfn, _, kind in self.p2m.extents(domid):
            if kind == P2mType.MAP_FOREIGN:
                self.frames.put_page(mfn)
        self.p2m.destroy(domid)
        for column in (self._domains.shared_info, self._table.map_page):
            if column[domid]:
                self.put_page(Mfn(column[domid] >> PAGE_SHIFT))
                column[domid] = 0
        return self.frames.release(domid, self._table.first[domid], self._table.end[domid])

    def allocate_pages(self, domid: Domid, count: int, align: int = 1, below: int | None = None) -> Mfn:
        """RAM frames in a row for a domain, mapped nowhere, all below frame `below`.

        Raises XenError(ENOMEM), also where the domain would go beyond its `max_pages`.
        """
        if self._domains.tot_pages[domid] + count > self._domains.max_pages[domid]:
            raise XenError(Errno.ENOMEM)
        empty = not self._domains.tot_pages[domid]
        mfn = self.frames.allocate_extent(domid, count, align, below)
        table = self._table
        table.first[domid] = mfn if empty else min(table.first[domid], mfn)
        table.end[domid] = mfn + count if empty else max(table.end[domid], mfn + count)
        return mfn

    def set_memory_map(self, domid: Domid, entries: Sequence[MapEntry]) -> None:
        """What XENMEM_memory_map tells a domain.  Raises XenError(ENOMEM), also for too many entries."""
        if len(entries) > MOST_MAP_ENTRIES:
            raise XenError(Errno.ENOMEM)
        if not self._table.map_page[domid]:
            self._table.map_page[domid] = self.frames.allocate_xen_frame(domid) << PAGE_SHIFT
        self._arena.write(self._table.map_page[domid], b"".join(_ENTRY.pack(*entry) for entry in entries))
        self._table.map_entries[domid] = len(entries)

    def memory_map(self, domid: Domid) -> list[MapEntry]:
        """The domain's memory map, empty where it has none."""
        page, count = self._table.map_page[domid], self._table.map_entries[domid] * bool(self._table.map_page[domid])
        data = self._arena.read(page, count * _ENTRY.size)
        return [_ENTRY.unpack_from(data, at) for at in range(0, len(data), _ENTRY.size)]

    # -- queries

    def root(self, domid: Domid) -> int:
        """Machine address of the nested page table, 0 for a domain that is not translated."""
        return self._root[domid]

    def find(self, domid: Domid, gfn: int) -> tuple[Mfn, P2mType] | None:
        """The frame behind a page and its type, None where nothing is present; a PV domain's pages are frames."""
        if self._root[domid]:
            return self._find(domid, gfn)
        return (Mfn(gfn), P2mType.RAM_RW) if self.frames.valid(gfn) else None

    def lookup(self, domid: Domid, gfn: Gfn) -> tuple[Mfn, P2mType]:
        """As `find`.  Raises XenError(ENOENT) instead of None."""
        found = self._find(domid, gfn) if self._root[domid] else self.find(domid, gfn)
        if found is None:
            raise XenError(Errno.ENOENT)
        return found

    def machine_address(self, domid: Domid, gfn: int) -> int:
        """The machine address of a page's first byte.  Raises XenError(ENOENT) where nothing is present."""
        return self.lookup(domid, Gfn(gfn))[0] << PAGE_SHIFT

    def gfn_of(self, domid: Domid, mfn: Mfn) -> Gfn | None:
        """Where a domain sees a frame of its own; None where it does not, or the frame is not its own."""
        gfn = self._gfn[mfn] if self.owner(mfn) == domid else INVALID_M2P
        return None if gfn == INVALID_M2P else Gfn(gfn)

    def maximum_gpfn(self, domid: Domid) -> int:
        """The highest page in use (domain_get_maximum_gpfn); PV guests say it themselves, and -1 until they do."""
        if self._root[domid]:
            return self.p2m.table.max_gfn[domid]
        width = self._domains.width[domid]
        at = self._domains.shared_info[domid] + SHARED_INFO.at(width).offset["arch_max_pfn"]
        return int.from_bytes(self._arena.read(at, width // 8), "little") - 1

    # -- frames and mappings of the grant tables

    def get_writable_page(self, mfn: Mfn, domid: Domid) -> bool:
        """As `get_page`, for writing: a PV guest's frame stays what may be written.  False also where it may not."""
        if not self.get_page(mfn, domid):
            return False
        if self.pv is not None:
            try:
                self.pv.types.get_type(mfn, PageType.WRITABLE)
            except XenError:
                self.frames.put_page(mfn)
                return False
        return True

    def put_writable_page(self, mfn: Mfn) -> None:
        """End what `get_writable_page` began."""
        if self.pv is not None:
            self.pv.types.put_type(mfn)
        self.put_page(mfn)

    def put_page(self, mfn: Mfn) -> None:
        """Drop a reference; the last one frees a frame that nobody has allocated, also out of its owner's sight."""
        if self._refs[mfn] == 1 and self._kind[mfn] == FrameKind.XENHEAP:
            domid = self.owner(mfn)
            gfn = self.gfn_of(domid, mfn)
            if gfn is not None and self._root[domid]:
                self.physmap.remove_page(domid, gfn, mfn)
        self.frames.put_page(mfn)

    def allocate_xen_frame(self, domid: Domid) -> Mfn:
        """One frame of the Xen heap, with one reference, that `domid` may see.  Raises XenError(ENOMEM)."""
        return self.frames.allocate_xen_frame(domid)

    def references(self, mfn: Mfn) -> int:
        """References to a frame, beside the allocation of one that is a domain's memory."""
        return self._refs[mfn]

    def map_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        """Map a frame, on which the caller holds a reference, at a page of a translated domain.

        Raises XenError as `Physmap.add_grant`.
        """
        kind = P2mType.GRANT_MAP_RO if readonly else P2mType.GRANT_MAP_RW
        if not self.p2m.fill(domid, gfn, mfn, kind):
            self.physmap.add_grant(domid, gfn, mfn, kind)

    def unmap_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn) -> None:
        """Leave a hole at a page.  Raises XenError(EINVAL) where no grant mapping of `mfn` is there."""
        if not self.p2m.unfill(domid, gfn, mfn):
            raise XenError(Errno.EINVAL)

    def _carve(self, domid: Domid, pages: int) -> None:
        """Give the domain a heap for `pages`, aligned for the largest entries that the host's heap can give."""
        frames = pages + -pages % LARGE
        for align in (_GIGABYTE, LARGE):
            if pages >= align or align == LARGE:
                try:
                    self.frames.heap.carve(domid, frames, align, pool_share(pages))
                except XenError:
                    if align == LARGE:
                        raise
                else:
                    return

    def _allocate_ram(self, domid: Domid, pages: int) -> Mfn:
        """One extent, aligned for the largest entries that it can use and the heap can give."""
        for align in (_GIGABYTE, LARGE, 1):
            if pages >= align:
                try:
                    return self.allocate_pages(domid, pages, align)
                except XenError:
                    if align == 1:
                        raise
        raise XenError(Errno.EINVAL)

    def _map(self, domid: Domid, gfn: Gfn, mfn: Mfn, count: int) -> None:
        if count:
            self.p2m.set_extent(domid, gfn, mfn, count, P2mType.RAM_RW)
            self.frames.gfns[mfn:mfn + count] = numpy.arange(gfn, gfn + count)
