"""`state.cells.Cells` in C: a change among 64 KiB of pages and 20 KiB of table rows is found in some microseconds."""

import ctypes
import os
from collections.abc import Callable, Collection
from pathlib import Path

from domains.host_code import HostCodeError, load
from state.cells import ENTRY, Cells, PythonCells
from state.ranges import CELL, Range

_FEW = 256
"""Cells that there is room for at first."""


class _Fields(ctypes.Structure):
    """struct cells."""

    _fields_ = tuple((name, ctypes.c_uint64)
                     for name in ("buffer", "shadow", "homes", "versions", "sizes", "whole", "count"))


def cells_factory() -> Callable[[memoryview], Cells]:
    """What makes the cells of a `state.replica.Replica`: in C, or in Python where the C cannot be built here."""
    if os.environ.get("DOMUS_FAST_PATH") == "0":
        return PythonCells
    try:
        library = load(Path(__file__).with_name("native_cells.c"))
    except HostCodeError:
        return PythonCells
    library.domus_collect.restype = ctypes.c_uint64
    library.domus_apply.restype = ctypes.c_int
    library.domus_add.restype = None
    return lambda buffer: NativeCells(library, buffer)


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
        self._columns = {name: bytearray() for name in ("shadow", "homes", "versions", "sizes", "whole")}
        self._grow(_FEW)

    def add(self, entry: Range) -> None:
        end = entry.first + entry.cells
        if end > self._room:
            self._grow(max(end, 2 * self._room))
        self._add(self._reference, *map(ctypes.c_uint64, (entry.first, entry.offset, entry.length)))
        self._fields.count = self._end = max(self._end, end)
        self._ends[entry.first] = end

    def remove(self, entry: Range) -> None:
        end = self._ends.pop(entry.first)
        sizes = self._columns["sizes"]
        sizes[entry.first:end] = bytes(entry.cells)
        if end == self._end:
            self._fields.count = self._end = len(sizes.rstrip(b"\0"))

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

    def _grow(self, room: int) -> None:
        """Make room for so many cells."""
        widths = {"shadow": CELL, "homes": 8, "versions": 8, "sizes": 1, "whole": 1}
        for name, width in widths.items():
            column = bytearray(room * width)
            column[:len(self._columns[name])] = self._columns[name]
            self._columns[name] = column
            setattr(self._fields, name, _address(column))
        self._room = room
        index, data = bytearray(room * ENTRY.size), bytearray(room * CELL)
        self._index_address, self._data_address = ctypes.c_void_p(_address(index)), ctypes.c_void_p(_address(data))
        self._index, self._data = memoryview(index), memoryview(data)


def _address(view: memoryview | bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
