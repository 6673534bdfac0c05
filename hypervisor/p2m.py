"""The p2m of a domain is its nested page table: four levels of x86-64 entries in frames of the arena.

An entry is what the processor reads (AMD64 manual volume 2, 15.25): every table and every leaf has the user bit, a
read-only page lacks the writable bit.  The page's type is in bits 52 to 58, which the processor leaves to software.
Accessed and dirty bits are set from the start, which spares the engine's walker its writes.
What is not present is MMIO_DM to Xen: no memory there, an access is a device model's affair.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import numpy

from abi.errno import Errno, XenError
from abi.types import Domid, Gfn, Mfn
from grants.interfaces import P2mType
from hypervisor.frames import Frames
from state.arena import Arena
from state.table import Table

PRESENT, WRITABLE, LEAF = 1, 1 << 1, 1 << 7
_TABLE = 0x67  # present, writable, user, accessed, dirty
_TYPE = 52
_MFN = (1 << 40) - 1
EVERY_PAGE = -1
GFN_BITS = 27
"""Guest-physical addresses have 39 bits: the top-level table has one entry, which walks can skip."""

WRITABLE_TYPES = frozenset({P2mType.RAM_RW, P2mType.GRANT_MAP_RW, P2mType.MAP_FOREIGN})
MEMORY_TYPES = WRITABLE_TYPES | {P2mType.RAM_RO, P2mType.GRANT_MAP_RO}
"""Types of present entries (Xen's p2m_is_any_ram)."""
_GRANT_TYPES = frozenset({P2mType.GRANT_MAP_RW, P2mType.GRANT_MAP_RO})
_FLAGS = {kind: kind << _TYPE | _TABLE & ~(0 if kind in WRITABLE_TYPES else WRITABLE) for kind in MEMORY_TYPES}
"""An entry is its frame's address and these.  On Xen other domains' frames are not executable; here they are, because
Unicorn 2.1.4 dies of a guest's page table that lies in a page which is not."""
_GRANT_FLAGS = frozenset(_FLAGS[kind] for kind in _GRANT_TYPES)
_TYPES = [P2mType(n) if n in MEMORY_TYPES else P2mType.INVALID for n in range(128)]


def leaf(kind: P2mType) -> int:
    """A 4 KiB entry of type `kind`, but for its frame's address."""
    return _FLAGS[kind]


class P2mTable(Table):
    """A row a domain."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"root": "Q", "directory": "I", "max_gfn": "Q"}
    root: "memoryview[int]"
    """Machine address of the top-level table; 0 where the domain has none (PV guests, domain 0's seat)."""
    directory: "memoryview[int]"
    """Where the one table below it begins in `arena.u64`."""
    max_gfn: "memoryview[int]"
    """The highest page that was ever mapped (max_mapped_pfn)."""


class P2m:
    """The p2ms of all domains.

    `flush(domid, gfn)` is called after an entry that an engine may hold has changed; EVERY_PAGE stands for any.
    """

    def __init__(self, arena: Arena, table: P2mTable, frames: Frames, flush: Callable[[Domid, int], None]) -> None:
        self.table, self._frames, self._flush = table, frames, flush
        self._u64, self._directory, self._max_gfn = arena.u64, table.directory, table.max_gfn
        self._entries = numpy.frombuffer(arena.u64, numpy.uint64)

    def create(self, domid: Domid) -> int:
        """Give a domain an empty p2m; returns the machine address of its root.  Raises XenError(ENOMEM)."""
        root = self._frames.allocate_table(domid) << 12
        try:
            self._make_table(domid, root >> 3, 0, 27)
        except XenError:
            self._frames.free_table(Mfn(root >> 12))
            raise
        self.table.root[domid], self.table.directory[domid] = root, self._u64[root >> 3] >> 12 << 9
        self._max_gfn[domid] = 0
        return root

    def destroy(self, domid: Domid) -> None:
        """Free a domain's tables.  What its entries point to is not touched."""
        root = self.table.root[domid]
        if root:
            self.table.root[domid] = self.table.directory[domid] = 0
            self._free_tables(root, 3)
            self._flush(domid, EVERY_PAGE)

    def find(self, domid: Domid, gfn: int) -> tuple[Mfn, P2mType] | None:
        """The frame behind a page and the page's type, or None where nothing is present.

        Without a p2m the walk begins at machine address 0, in a frame that is never used and all zero.
        """
        # As flat as it can be, for every memory access of a hypercall comes here; even calling Mfn would be felt.
        if gfn >> GFN_BITS:
            return None
        u64 = self._u64
        entry = u64[self._directory[domid] | gfn >> 18]
        if entry & 0x81 != 1:
            mfn = entry >> 12 & _MFN | gfn & 0x3FFFF
        else:
            entry = u64[entry >> 12 << 9 | gfn >> 9 & 511]
            if entry & 0x81 != 1:
                mfn = entry >> 12 & _MFN | gfn & 511
            else:
                entry = u64[entry >> 12 << 9 | gfn & 511]
                mfn = entry >> 12 & _MFN
        return (mfn, _TYPES[entry >> 52 & 127]) if entry & 1 else None  # type: ignore[return-value]

    def set_entry(self, domid: Domid, gfn: int, mfn: int, kind: P2mType) -> None:
        """Put a frame at one page.  Raises XenError: ENOENT beyond the address space, ENOMEM without a table frame."""
        slot = self._slot(domid, gfn)
        old = self._u64[slot]
        self._u64[slot] = mfn << 12 | _FLAGS[kind]
        if gfn > self._max_gfn[domid]:
            self._max_gfn[domid] = gfn
        if old & 1:
            self._flush(domid, gfn)

    def fill(self, domid: Domid, gfn: int, mfn: int, kind: P2mType) -> bool:
        """As `set_entry` where nothing is present at `gfn`; else leaves what is there and returns False."""
        slot = self._slot(domid, gfn)
        if self._u64[slot] & 1:
            return False
        self._u64[slot] = mfn << 12 | _FLAGS[kind]
        if gfn > self._max_gfn[domid]:
            self._max_gfn[domid] = gfn
        return True

    def unfill(self, domid: Domid, gfn: int, mfn: int) -> bool:
        """Leave a hole where `mfn` is mapped as a grant; else returns False.  Raises XenError as `set_entry`."""
        slot = self._slot(domid, gfn)
        if self._u64[slot] - (mfn << 12) not in _GRANT_FLAGS:
            return False
        self._u64[slot] = 0
        self._flush(domid, gfn)
        return True

    def clear(self, domid: Domid, gfn: int) -> None:
        """Leave a hole at a page that is present.  Raises XenError(ENOMEM) where a split needs a frame."""
        self._u64[self._slot(domid, gfn)] = 0
        self._flush(domid, gfn)

    def set_extent(self, domid: Domid, gfn: int, mfn: int, count: int, kind: P2mType) -> None:
        """Map `count` frames in a row, with 1 GiB and 2 MiB entries where they fit and no table is in their place.

        Raises XenError as `set_entry`.
        """
        if gfn + count > 1 << GFN_BITS or not self._directory[domid]:
            raise XenError(Errno.ENOENT)
        self._max_gfn[domid] = max(self._max_gfn[domid], gfn + count - 1)
        changed = 0
        while count:
            for shift in (18, 9, 0):
                size = 1 << shift
                if (gfn | mfn) & size - 1 or count < size:
                    continue
                slot = self._large_slot(domid, gfn, shift) if shift else self._slot(domid, gfn)
                old = self._u64[slot]
                if shift and old & PRESENT and not old & LEAF:
                    continue
                if not shift:  # the rest of this table at once
                    size = min(count, 512 - (gfn & 511))
                    run = self._entries[slot:slot + size]
                    old = int(numpy.bitwise_or.reduce(run))
                    run[:] = (numpy.arange(mfn, mfn + size, dtype=numpy.uint64) << 12) + _FLAGS[kind]
                else:
                    self._u64[slot] = mfn << 12 | _FLAGS[kind] | LEAF
                changed |= old & PRESENT
                gfn, mfn, count = gfn + size, mfn + size, count - size
                break
        if changed:
            self._flush(domid, EVERY_PAGE)

    def extents(self, domid: Domid) -> Iterator[tuple[Gfn, Mfn, int, P2mType]]:
        """All that is mapped, in order: first page, first frame, number of pages (an entry's worth), type."""
        if self.table.root[domid]:
            yield from self._extents(self.table.root[domid], 0, 27)

    def _extents(self, table: int, gfn: int, shift: int) -> Iterator[tuple[Gfn, Mfn, int, P2mType]]:
        slots = self._entries[table >> 3:(table >> 3) + 512]
        for index in numpy.flatnonzero(slots & numpy.uint64(PRESENT)).tolist():
            entry, at = int(slots[index]), gfn | index << shift
            if shift and not entry & LEAF:
                yield from self._extents(entry & ~0xFFF, at, shift - 9)
            else:
                yield Gfn(at), Mfn(entry >> 12 & _MFN), 1 << shift, _TYPES[entry >> _TYPE & 127]

    def _slot(self, domid: Domid, gfn: int) -> int:
        """The index in `arena.u64` of the 4 KiB entry for `gfn`, with the tables above it.  Flat, as `find` is."""
        directory = self._directory[domid]
        if gfn >> GFN_BITS or not directory:
            raise XenError(Errno.ENOENT)
        u64, slot = self._u64, directory | gfn >> 18
        entry = u64[slot]
        if entry & 0x81 != 1:
            entry = self._make_table(domid, slot, entry, 18)
        slot = entry >> 12 << 9 | gfn >> 9 & 511
        entry = u64[slot]
        if entry & 0x81 != 1:
            entry = self._make_table(domid, slot, entry, 9)
        return entry >> 12 << 9 | gfn & 511

    def _large_slot(self, domid: Domid, gfn: int, shift: int) -> int:
        """The same for the entry that maps 2**shift pages, 18 or 9."""
        slot = self._directory[domid] | gfn >> 18
        if shift == 18:
            return slot
        entry = self._u64[slot]
        if entry & 0x81 != 1:
            entry = self._make_table(domid, slot, entry, 18)
        return entry >> 12 << 9 | gfn >> 9 & 511

    def _make_table(self, domid: Domid, slot: int, entry: int, shift: int) -> int:
        """Put a table into `slot`: an empty one, or one that says what the large `entry` said."""
        address = self._frames.allocate_table(domid) << 12
        if entry & PRESENT:
            step = 1 << shift - 9
            first = entry if shift > 9 else entry & ~LEAF
            self._entries[address >> 3:(address >> 3) + 512] = numpy.uint64(first) + (
                numpy.arange(512, dtype=numpy.uint64) * numpy.uint64(step << 12))
        self._u64[slot] = entry = address | _TABLE
        return entry

    def _free_tables(self, table: int, level: int) -> None:
        if level:
            for entry in self._entries[table >> 3:(table >> 3) + 512].tolist():
                if entry & (PRESENT | LEAF) == PRESENT:
                    self._free_tables(entry & ~0xFFF, level - 1)
        self._frames.free_table(Mfn(table >> 12))
