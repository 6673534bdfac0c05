"""The allocator of machine frames: extents for domains, and a pool of single frames for the hypervisor itself.

A domain has a heap of its own, carved from the host's when it is created: a region for its memory and a part of the
pool for what the hypervisor keeps for it.  So what one domain allocates is no matter of any other's, neither of which
frames it gets nor of when, and domains that share nothing may allocate at the same instant.  Row of a heap = domid; who
has no heap of its own uses the host's, row 0.

Extents are kept as Knuth keeps them (The Art of Computer Programming, volume 1, 2.5): a free extent carries its length
in the rows of its first and of its last frame, so that a freed neighbour finds it at once, and doubly linked lists
thread the free extents, one for those below 2 MiB and one for the rest.  Frame 0 is never free, hence 0 ends a list.
The pool lies below 4 GiB, where the engines want page tables, and gives single frames in constant time.
All state is in shared bytes; all free memory is zero.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy

from abi.errno import Errno, XenError
from abi.types import PAGE_SHIFT, Domid, Mfn
from state.arena import Arena
from state.table import Table

if TYPE_CHECKING:
    from hypervisor.frames import FrameTable

FREE = 0
LARGE = 512
"""Frames of a 2 MiB mapping."""
_BELOW_4G = 1 << 32 - PAGE_SHIFT


class HeapTable(Table):
    """A row a heap: where its parts lie and its lists begin, as frame numbers."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "pool_end": "I", "pool_unused": "I", "pool_free": "I", "small": "I", "large": "I", "free": "I", "frames": "I",
    }
    pool_end: "memoryview[int]"
    """The end of the heap's part of the pool; in row 0, the end of the whole pool and the start of the extents."""
    pool_unused: "memoryview[int]"
    """The pool's frames from here on were never used, hence are not in its list."""
    pool_free: "memoryview[int]"
    small: "memoryview[int]"
    large: "memoryview[int]"
    free: "memoryview[int]"
    """Free frames outside the pool."""
    frames: "memoryview[int]"
    """All frames outside the pool, free or not; 0 for a domain without a heap of its own."""


class Heap:
    """Free memory.  `scrub(address, size)` clears memory that has been freed; the default writes zeros.

    A host whose arena is a sparse file passes one that punches a hole, which also gives the memory back.
    """

    def __init__(self, arena: Arena, frames: "FrameTable", table: HeapTable,
                 scrub: Callable[[int, int], None] | None = None) -> None:
        self._table, self._count = table, frames.rows
        self._next, self._previous, self._extent, self._kind = frames.next, frames.previous, frames.extent, frames.kind
        self._heap = frames.heap
        self._heaps = numpy.frombuffer(frames.heap, numpy.uint16)
        self._kinds = numpy.frombuffer(frames.kind, numpy.uint8)
        self._bytes = numpy.frombuffer(arena.u8, numpy.uint8)
        self._scrub = scrub or self._write_zeros

    @property
    def start(self) -> int:
        """The first frame that extents are made of; the pool ends here."""
        return self._table.pool_end[0]

    @property
    def free_frames(self) -> int:
        """Free frames outside the pool, in all heaps."""
        return sum(self._table.free)

    def free_of(self, domid: Domid) -> int:
        """Free frames outside the pool that a domain may have."""
        return self._table.free[self._row(domid)]

    def is_whole(self, domid: Domid) -> bool:
        """Whether all of a domain's heap outside the pool is free."""
        return self._table.free[domid] == self._table.frames[domid]

    def _row(self, domid: Domid) -> int:
        return domid if domid < self._table.rows and self._table.frames[domid] else 0

    def format(self, first: int, pool: int) -> None:
        """Lay the heap out over frames from `first` on (at least 1), the first `pool` of them for single frames.

        The memory must be zero, and so must the tables.  Raises ValueError where the pool does not fit.
        """
        end = first + pool
        if not 0 < first < end <= min(self._count, _BELOW_4G):
            raise ValueError(f"a pool of {pool} frames from {first} does not fit into {self._count} frames below 4 GiB")
        table = self._table
        table.pool_unused[0], table.pool_end[0] = first, end
        if self._count > end:
            self._link(0, end, self._count - end)
        table.free[0] = table.frames[0] = self._count - end

    def carve(self, domid: Domid, frames: int, align: int, pool: int) -> None:
        """Give a domain a heap of its own: `frames` in a row, the first a multiple of `align`, and `pool` single ones.

        A domain that has one keeps it; where the table has no row for it, it goes on with the host's.
        Raises XenError(ENOMEM), also where the one that it has is smaller.
        """
        table = self._table
        if domid >= table.rows:
            return
        if table.frames[domid]:
            if table.frames[domid] < frames:
                raise XenError(Errno.ENOMEM)
            return
        unused = table.pool_unused[0]
        if unused + pool > table.pool_end[0]:
            raise XenError(Errno.ENOMEM)
        start = self.allocate(Domid(0), frames, align, self._count)
        table.frames[0] -= frames
        table.free[domid] = table.frames[domid] = frames
        self._heaps[start:start + frames] = domid
        self._link(domid, start, frames)
        table.pool_unused[0] = table.pool_end[domid] = unused + pool
        table.pool_unused[domid] = unused
        self._heaps[unused:unused + pool] = domid

    def take(self, domid: Domid) -> Mfn:
        """One frame of a domain's part of the pool.  Raises XenError(ENOMEM)."""
        table, row = self._table, self._row(domid)
        mfn = table.pool_free[row]
        if mfn:
            table.pool_free[row] = self._next[mfn]
        else:
            mfn = table.pool_unused[row]
            if mfn == table.pool_end[row]:
                raise XenError(Errno.ENOMEM)
            table.pool_unused[row] = mfn + 1
        return Mfn(mfn)

    def allocate(self, domid: Domid, count: int, align: int, below: int) -> Mfn:
        """`count` frames of a domain's heap in a row, the first a multiple of `align`, all below `below`.

        Raises XenError(ENOMEM).
        """
        table, row = self._table, self._row(domid)
        for extent in (table.small[row] if count < LARGE else 0, table.large[row]):
            while extent:
                start, end = -(-extent // align) * align, extent + self._extent[extent]
                if start + count <= min(end, below):
                    self._unlink(row, extent)
                    if start > extent:
                        self._link(row, extent, start - extent)
                    if end > start + count:
                        self._link(row, start + count, end - start - count)
                    table.free[row] -= count
                    return Mfn(start)
                extent = self._next[extent]
        raise XenError(Errno.ENOMEM)

    def free(self, start: int, count: int) -> None:
        """Take back `count` frames in a row that are all of one heap, and all of the pool or all outside it."""
        table, row = self._table, self._heap[start]
        self._scrub(start << PAGE_SHIFT, count << PAGE_SHIFT)
        end = start + count
        self._kinds[start:end] = FREE
        if start < table.pool_end[0]:
            for mfn in range(start, end):
                self._next[mfn], table.pool_free[row] = table.pool_free[row], mfn
            return
        table.free[row] += count
        if start > table.pool_end[0] and self._kind[start - 1] == FREE and self._heap[start - 1] == row:
            start -= self._extent[start - 1]
            self._unlink(row, start)
        if end < self._count and self._kind[end] == FREE and self._heap[end] == row:
            after, end = end, end + self._extent[end]
            self._unlink(row, after)
        self._link(row, start, end - start)

    # -- making the lists anew, where somebody died while he changed them

    def scrub(self, address: int, size: int) -> None:
        """Clear memory that is to be free."""
        self._scrub(address, size)

    def extents(self, row: int) -> list[tuple[int, int]]:
        """Start and length of each free extent that the lists of a heap lead to, as far as they make sense."""
        found: list[tuple[int, int]] = []
        for head in (self._table.small[row], self._table.large[row]):
            before = 0
            while head:
                length = self._extent[head]
                if self._previous[head] != before or not 0 < length <= self._count - head \
                        or self._extent[head + length - 1] != length or len(found) > self._table.frames[row]:
                    return []
                found.append((head, length))
                before, head = head, self._next[head]
        return found

    def relink(self, row: int, extents: list[tuple[int, int]]) -> None:
        """Let these, start and length of each in ascending order, be the free extents of a heap."""
        table = self._table
        table.small[row] = table.large[row] = 0
        for start, length in reversed(extents):
            self._link(row, start, length)
        table.free[row] = sum(length for _, length in extents)

    def relink_pool(self, row: int, frames: list[int]) -> None:
        """Let these be the frames of a heap's part of the pool that were used and are free."""
        self._table.pool_free[row] = 0
        for mfn in reversed(frames):
            self._next[mfn], self._table.pool_free[row] = self._table.pool_free[row], mfn

    def _list(self, length: int) -> "memoryview[int]":
        return self._table.large if length >= LARGE else self._table.small

    def _link(self, row: int, start: int, length: int) -> None:
        head = self._list(length)
        after = head[row]
        self._extent[start] = self._extent[start + length - 1] = length
        self._previous[start], self._next[start] = 0, after
        if after:
            self._previous[after] = start
        head[row] = start

    def _unlink(self, row: int, start: int) -> None:
        before, after = self._previous[start], self._next[start]
        if before:
            self._next[before] = after
        else:
            self._list(self._extent[start])[row] = after
        if after:
            self._previous[after] = before

    def _write_zeros(self, address: int, size: int) -> None:
        self._bytes[address:address + size] = 0
