"""`state.cells.Cells` in C: a change among 64 KiB of pages and 20 KiB of table rows is found in some microseconds."""

import ctypes
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from domains.host_code import HostCodeError, load
from state.cells import ENTRY, Cells, PythonCells
from state.ranges import CELL, Range

_FEW = 256
"""Cells that there is room for at first."""


WIDTHS: Mapping[str, int] = {"shadow": CELL, "homes": 8, "versions": 8, "sizes": 1, "whole": 1}
"""Bytes of a cell in each column."""


class _Fields(ctypes.Structure):
    """struct cells."""

    _fields_ = tuple((name, ctypes.c_uint64)
                     for name in ("buffer", "shadow", "homes", "versions", "sizes", "whole", "count"))


def cells_factory() -> Callable[[memoryview], Cells]:
    """What makes the cells of a `state.replica.Replica`: in C, or in Python where the C cannot be built here."""
    if os.environ.get("DOMUS_FAST_PATH") == "0":
        return PythonCells
    try:
        library = native_library()
    except HostCodeError:
        return PythonCells
    library.domus_collect.restype = ctypes.c_uint64
    library.domus_apply.restype = ctypes.c_int
    library.domus_add.restype = None
    return lambda buffer: NativeCells(library, buffer)


def native_library() -> ctypes.CDLL:
    """The C functions of cells and lanes.  Raises HostCodeError."""
    return load(Path(__file__).with_name("native_cells.c"), Path(__file__).with_name("lane.c"))


class NativeCells:
    """`Cells` over a writable buffer, by the library of `cells_factory`."""

    def __init__(self, library: ctypes.CDLL, buffer: memoryview) -> None:
        self._collect, self._apply, self._add = library.domus_collect, library.domus_apply, library.domus_add
        self._fields = _Fields()
        self._reference = ctypes.byref(self._fields)
        self._buffer = buffer
        self._length = ctypes.c_uint64()
        self._length_reference = ctypes.byref(self._length)
        self._fields.buffer = _address(buffer)
        self._room, self._end = 0, 0
        self._ends: dict[int, int] = {}
        """By the first cell of a range, where its cells end."""
        self._columns = {name: memoryview(b"") for name in WIDTHS}
        self._counted: memoryview[int] | None = None
        self._outgrown: Callable[[], None] = lambda: None
        self._grow(_FEW)

    @property
    def room(self) -> int:
        """Cells that there is room for."""
        return self._room

    def add(self, entry: Range) -> None:
        end = entry.first + entry.cells
        if end > self._room:
            self._grow(max(end, 2 * self._room))
        self._add(self._reference, *map(ctypes.c_uint64, (entry.first, entry.offset, entry.length)))
        self._count(max(self._end, end))
        self._ends[entry.first] = end

    def remove(self, entry: Range) -> None:
        end = self._ends.pop(entry.first)
        sizes = self._columns["sizes"]
        sizes[entry.first:end] = bytes(entry.cells)
        if end == self._end:
            self._count(len(bytes(sizes).rstrip(b"\0")))

    def collect(self, since: int, turn: int, whole: Collection[int]) -> tuple[bytes, bytes]:
        for first in whole:
            self._mark(first, b"\1")
        entries = self._collect(self._reference, ctypes.c_uint64(since), ctypes.c_uint64(turn), self._index_address,
                                self._data_address, self._length_reference)
        for first in whole:
            self._mark(first, b"\0")
        return bytes(self._index[:entries * ENTRY.size]), bytes(self._data[:self._length.value])

    def apply(self, index: bytes, data: bytes, turn: int) -> bool:
        entries, rest = divmod(len(index), ENTRY.size)
        return not rest and bool(self._apply(self._reference, index, ctypes.c_uint64(entries), data,
                                             ctypes.c_uint64(len(data)), ctypes.c_uint64(turn)))

    def _mark(self, first: int, mark: bytes) -> None:
        end = self._ends[first]
        self._columns["whole"][first:end] = mark * (end - first)

    def keep_in(self, columns: Mapping[str, memoryview], room: int, count: "memoryview[int]",
                outgrown: Callable[[], None]) -> None:
        """Keep all in the zeroed memory `columns`, with room for `room` cells, as many as here or more, from now on.

        `count` gets how many there are.  `outgrown()` is called before all moves to memory of this process again.
        """
        self._move(columns, room)
        self._counted, self._outgrown = count, outgrown
        self._count(self._end)

    @property
    def kept_elsewhere(self) -> bool:
        """Whether `keep_in` holds still."""
        return self._counted is not None

    def keep_here(self) -> None:
        """Keep all in memory of this process again."""
        self._counted, self._outgrown = None, lambda: None
        self._move({name: memoryview(bytearray(self._room * width)) for name, width in WIDTHS.items()}, self._room)

    def _grow(self, room: int) -> None:
        """Make room for so many cells."""
        self._outgrown()
        self._counted, self._outgrown = None, lambda: None
        self._move({name: memoryview(bytearray(room * width)) for name, width in WIDTHS.items()}, room)

    def _move(self, columns: Mapping[str, memoryview], room: int) -> None:
        for name, column in columns.items():
            old = self._columns[name]
            column[:len(old)] = old
            self._columns[name] = column
            setattr(self._fields, name, _address(column))
        self._room = room
        index, data = bytearray(room * ENTRY.size), bytearray(room * CELL)
        self._index_address, self._data_address = ctypes.c_void_p(_address(index)), ctypes.c_void_p(_address(data))
        self._index, self._data = memoryview(index), memoryview(data)

    def _count(self, end: int) -> None:
        self._fields.count = self._end = end
        if self._counted is not None:
            self._counted[0] = end


def _address(view: memoryview | bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
