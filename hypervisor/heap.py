"""The allocator of machine frames: extents for domains, and a pool of single frames for the hypervisor itself.

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
from abi.types import PAGE_SHIFT, Mfn
from state.arena import Arena
from state.table import Table

if TYPE_CHECKING:
    from hypervisor.frames import FrameTable

FREE = 0
LARGE = 512
"""Frames of a 2 MiB mapping."""
_BELOW_4G = 1 << 32 - PAGE_SHIFT


class HeapTable(Table):
    """One row: where the heap's parts lie and its lists begin, as frame numbers."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "pool_end": "I", "pool_unused": "I", "pool_free": "I", "small": "I", "large": "I", "free": "I",
    }
    pool_end: "memoryview[int]"
    """The end of the pool and the start of the extents."""
    pool_unused: "memoryview[int]"
    """The pool's frames from here on were never used, hence are not in its list."""
    pool_free: "memoryview[int]"
    small: "memoryview[int]"
    large: "memoryview[int]"
    free: "memoryview[int]"
    """Free frames outside the pool."""


class Heap:
    """Free memory.  `scrub(address, size)` clears memory that has been freed; the default writes zeros.

    A host whose arena is a sparse file passes one that punches a hole, which also gives the memory back.
    """

    def __init__(self, arena: Arena, frames: "FrameTable", table: HeapTable,
                 scrub: Callable[[int, int], None] | None = None) -> None:
        self._table, self._count = table, frames.rows
        self._next, self._previous, self._extent, self._kind = frames.next, frames.previous, frames.extent, frames.kind
        self._kinds = numpy.frombuffer(frames.kind, numpy.uint8)
        self._bytes = numpy.frombuffer(arena.u8, numpy.uint8)
        self._scrub = scrub or self._write_zeros

    @property
    def start(self) -> int:
        """The first frame that extents are made of; the pool ends here."""
        return self._table.pool_end[0]

    @property
    def free_frames(self) -> int:
        """Free frames outside the pool."""
        return self._table.free[0]

    def format(self, first: int, pool: int) -> None:
        """Lay the heap out over frames from `first` on (at least 1), the first `pool` of them for single frames.

        The memory must be zero, and so must the tables.  Raises ValueError where the pool does not fit.
        """
        end = first + pool
        if not 0 < first < end <= min(self._count, _BELOW_4G):
            raise ValueError(f"a pool of {pool} frames from {first} does not fit into {self._count} frames below 4 GiB")
        self._table.pool_unused[0], self._table.pool_end[0] = first, end
        if self._count > end:
            self._link(end, self._count - end)
        self._table.free[0] = self._count - end

    def take(self) -> Mfn:
        """One frame of the pool.  Raises XenError(ENOMEM)."""
        table = self._table
        mfn = table.pool_free[0]
        if mfn:
            table.pool_free[0] = self._next[mfn]
        else:
            mfn = table.pool_unused[0]
            if mfn == table.pool_end[0]:
                raise XenError(Errno.ENOMEM)
            table.pool_unused[0] = mfn + 1
        return Mfn(mfn)

    def allocate(self, count: int, align: int, below: int) -> Mfn:
        """`count` frames in a row, the first a multiple of `align`, all below `below`.  Raises XenError(ENOMEM)."""
        table = self._table
        for extent in (table.small[0] if count < LARGE else 0, table.large[0]):
            while extent:
                start, end = -(-extent // align) * align, extent + self._extent[extent]
                if start + count <= min(end, below):
                    self._unlink(extent)
                    if start > extent:
                        self._link(extent, start - extent)
                    if end > start + count:
                        self._link(start + count, end - start - count)
                    table.free[0] -= count
                    return Mfn(start)
                extent = self._next[extent]
        raise XenError(Errno.ENOMEM)

    def free(self, start: int, count: int) -> None:
        """Take back `count` frames in a row that are all of the pool or all outside it."""
        table = self._table
        self._scrub(start << PAGE_SHIFT, count << PAGE_SHIFT)
        end = start + count
        self._kinds[start:end] = FREE
        if start < table.pool_end[0]:
            for mfn in range(start, end):
                self._next[mfn], table.pool_free[0] = table.pool_free[0], mfn
            return
        table.free[0] += count
        if start > table.pool_end[0] and self._kind[start - 1] == FREE:
            start -= self._extent[start - 1]
            self._unlink(start)
        if end < self._count and self._kind[end] == FREE:
            after, end = end, end + self._extent[end]
            self._unlink(after)
        self._link(start, end - start)

    def _list(self, length: int) -> "memoryview[int]":
        return self._table.large if length >= LARGE else self._table.small

    def _link(self, start: int, length: int) -> None:
        head = self._list(length)
        after = head[0]
        self._extent[start] = self._extent[start + length - 1] = length
        self._previous[start], self._next[start] = 0, after
        if after:
            self._previous[after] = start
        head[0] = start

    def _unlink(self, start: int) -> None:
        before, after = self._previous[start], self._next[start]
        if before:
            self._next[before] = after
        else:
            self._list(self._extent[start])[0] = after
        if after:
            self._previous[after] = before

    def _write_zeros(self, address: int, size: int) -> None:
        self._bytes[address:address + size] = 0
