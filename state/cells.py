"""What is in the cells of a group's ranges, as it was when the baton last came or went, and when each was changed.

`PythonCells` is the plain implementation, good for some tens of ranges; `domains.native_cells` does the same in C.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from struct import Struct
from typing import NamedTuple, Protocol

from state.ranges import CELL, Range

ENTRY = Struct("<III")
"""One piece of a delta: its first cell, how many cells, and how many turns ago they were changed."""
OLDEST = (1 << 32) - 1


class Cells(Protocol):
    """Contents and versions of cells.  A version is the turn of the last change; 0: none since the range was added."""

    def add(self, entry: Range) -> None:
        """A range more.  What the buffer has now counts as known."""

    def remove(self, entry: Range) -> None:
        """A range less."""

    def collect(self, since: int, turn: int, whole: Collection[int]) -> tuple[bytes, bytes]:
        """Find what was written since the last call; that gets version `turn`.

        Gives an index (`ENTRY` for each piece) and data of every cell with a version above `since`, and of all cells
        of the ranges whose first cell is in `whole`.
        """

    def apply(self, index: bytes, data: bytes, turn: int) -> bool:
        """Write pieces into the buffer.  False, and nothing is written, where they do not fit these cells."""


class _Extent:
    """One range's cells."""

    __slots__ = ("content", "entry", "latest", "versions")

    def __init__(self, entry: Range, content: bytes) -> None:
        self.entry = entry
        self.content = content
        self.versions = [0] * entry.cells
        self.latest = 0

    def note(self, now: bytes, turn: int) -> None:
        """The range has become `now` in this turn."""
        old = self.content
        for cell, at in enumerate(range(0, len(now), CELL)):
            if now[at:at + CELL] != old[at:at + CELL]:
                self.versions[cell] = turn
        self.content, self.latest = now, turn


class _Write(NamedTuple):
    extent: _Extent
    cell: int
    data: bytes
    version: int


class _Pieces:
    """Cells one after the other become pieces: neighbours with one version are one piece."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._first = self._count = self._version = 0
        self.index, self.data = bytearray(), bytearray()

    def add(self, cell: int, version: int, data: bytes) -> None:
        if not self._count or version != self._version or cell != self._first + self._count:
            self.close()
            self._first, self._version = cell, version
        self._count += 1
        self.data += data

    def close(self) -> None:
        if self._count:
            self.index += ENTRY.pack(self._first, self._count, min(self._turn - self._version, OLDEST))
        self._count = 0


class PythonCells:
    """`Cells` over a writable buffer of bytes."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._extents: dict[int, _Extent] = {}
        self._order: list[int] = []

    def add(self, entry: Range) -> None:
        self._extents[entry.first] = _Extent(entry, bytes(self._buffer[entry.offset:entry.offset + entry.length]))
        insort(self._order, entry.first)

    def remove(self, entry: Range) -> None:
        del self._extents[entry.first]
        del self._order[bisect_left(self._order, entry.first)]

    def collect(self, since: int, turn: int, whole: Collection[int]) -> tuple[bytes, bytes]:
        pieces = _Pieces(turn)
        for first in self._order:
            extent = self._extents[first]
            now = self._buffer[extent.entry.offset:extent.entry.offset + extent.entry.length].tobytes()
            if now != extent.content:
                extent.note(now, turn)
            everything = first in whole
            if everything or extent.latest > since:
                for cell, version in enumerate(extent.versions):
                    if everything or version > since:
                        pieces.add(first + cell, version, now[cell * CELL:(cell + 1) * CELL])
        pieces.close()
        return bytes(pieces.index), bytes(pieces.data)

    def apply(self, index: bytes, data: bytes, turn: int) -> bool:
        if len(index) % ENTRY.size:
            return False
        writes = list(self._writes(index, data, turn))
        if sum(len(write.data) for write in writes) != len(data) or any(not write.data for write in writes):
            return False
        touched: dict[int, tuple[_Extent, bytearray]] = {}
        for extent, cell, content, version in writes:
            if extent.entry.first not in touched:
                touched[extent.entry.first] = (extent, bytearray(extent.content))
            touched[extent.entry.first][1][cell * CELL:cell * CELL + len(content)] = content
            extent.versions[cell] = version
            extent.latest = max(extent.latest, version)
        for extent, changed in touched.values():
            extent.content = bytes(changed)
            self._buffer[extent.entry.offset:extent.entry.offset + extent.entry.length] = changed
        return True

    def _writes(self, index: bytes, data: bytes, turn: int) -> Iterator[_Write]:
        """What the pieces write, up to the first that does not fit: that one has no data."""
        at = 0
        for first, count, age in ENTRY.iter_unpack(index):
            for cell in range(first, first + count):
                extent = self._extent(cell)
                if extent is None or age > turn:
                    yield _Write(_NOWHERE, 0, b"", 0)
                    return
                place = cell - extent.entry.first
                length = min(CELL, extent.entry.length - place * CELL)
                content = data[at:at + length]
                yield _Write(extent, place, content if len(content) == length else b"", turn - age)
                at += length

    def _extent(self, cell: int) -> _Extent | None:
        """The range that has a cell."""
        at = bisect_left(self._order, cell + 1)
        if not at:
            return None
        extent = self._extents[self._order[at - 1]]
        return extent if cell < extent.entry.first + extent.entry.cells else None


_NOWHERE = _Extent(Range(0, 0, 0, 0), b"")
