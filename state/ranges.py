"""Which byte ranges of a buffer a sharing group has in common, and the cells that they are cut into.

A cell is at most 64 bytes of one range: the unit in which changes are found, counted and shipped.  Cells are numbered
alike on every node, so that a change is named by a small number instead of an address.  A range is never widened to
whole cells: the bytes beside it may be another group's.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

CELL = 64
"""Bytes of a cell; the last one of a range may have fewer."""
LONGEST = 1 << 32
"""Bytes that a range may not reach."""
MOST_CELLS = 1 << 28
"""Cells of one group: 16 GiB."""


class Range(NamedTuple):
    """Bytes `offset` to `offset + length` of the buffer, in the cells from `first` on."""

    offset: int
    length: int
    first: int
    added: int
    """The turn in which it was added."""
    uses: int = 1
    """How often it was added more than removed."""
    home: int = -1
    """A node that had the same bytes when it was added; -1 for none."""

    @property
    def cells(self) -> int:
        """How many cells it has."""
        return cells_of(self.length)


def cells_of(length: int) -> int:
    """How many cells `length` bytes take."""
    return -(-length // CELL)


class Ranges:
    """A set of ranges of a buffer of `size` bytes.  They never overlap."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._by_offset: dict[int, Range] = {}
        self._order: list[int] = []
        self._used = bytearray()

    def __iter__(self) -> Iterator[Range]:
        """By offset."""
        return (self._by_offset[offset] for offset in self._order)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return sum(found.length for found in self._by_offset.values())

    def get(self, offset: int, length: int) -> Range | None:
        """The range that has exactly these bytes.  Raises ValueError where only some of them are in a range."""
        if not 0 < length < LONGEST or offset < 0 or offset + length > self._size:
            raise ValueError(f"{length} bytes at {offset:#x}: not in a buffer of {self._size} bytes")
        found = self._by_offset.get(offset)
        if found is not None and found.length == length:
            return found
        at = bisect_left(self._order, offset + length)
        if at:
            other = self._by_offset[self._order[at - 1]]
            if other.offset + other.length > offset:
                raise ValueError(f"{length} bytes at {offset:#x} overlap {other.length} bytes at {other.offset:#x}")
        return None

    def at(self, offset: int) -> Range | None:
        """The range that begins at `offset`."""
        return self._by_offset.get(offset)

    def within(self, offset: int, length: int) -> list[Range]:
        """The ranges that begin in these bytes."""
        first, end = bisect_left(self._order, offset), bisect_left(self._order, offset + length)
        return [self._by_offset[at] for at in self._order[first:end]]

    def overlapping(self, offset: int, length: int) -> list[Range]:
        """The ranges that have any of these bytes."""
        first = bisect_left(self._order, offset)
        if first:
            before = self._by_offset[self._order[first - 1]]
            if before.offset + before.length > offset:
                first -= 1
        return [self._by_offset[at] for at in self._order[first:bisect_left(self._order, offset + length)]]

    def place(self, length: int) -> int:
        """The first of so many cells that are free."""
        cells = cells_of(length)
        found = self._used.find(bytes(cells))
        if found < 0:
            found = len(self._used.rstrip(b"\0"))
        if found + cells > MOST_CELLS:
            raise ValueError(f"{length} bytes more: a group shares {MOST_CELLS * CELL >> 30} GiB at most")
        return found

    def put(self, entry: Range) -> Range | None:
        """Add or replace a range, or take it away where it has no uses; what was there before.

        Raises ValueError where that does not fit the others: it overlaps, or its cells are taken.
        """
        old = self.get(entry.offset, entry.length)
        if old is not None:
            self._release(old)
        if entry.uses:
            self._occupy(entry)
        return old

    def _occupy(self, entry: Range) -> None:
        end = entry.first + entry.cells
        if entry.first < 0 or end > MOST_CELLS:
            raise ValueError(f"cells {entry.first} to {end} do not exist")
        if len(self._used) < end:
            self._used += bytes(max(end, 2 * len(self._used)) - len(self._used))
        if any(self._used[entry.first:end]):
            raise ValueError(f"some of the cells {entry.first} to {end} are taken")
        self._used[entry.first:end] = b"\1" * entry.cells
        self._by_offset[entry.offset] = entry
        insort(self._order, entry.offset)

    def _release(self, old: Range) -> None:
        self._used[old.first:old.first + old.cells] = bytes(old.cells)
        del self._by_offset[old.offset]
        del self._order[bisect_left(self._order, old.offset)]
