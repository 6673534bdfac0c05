"""Flat tables: named columns of fixed-width integers laid over a piece of shared memory.

Each column is contiguous and is exposed as a `memoryview` cast to its type: indexing one costs tens of nanoseconds,
a numpy scalar costs several times that, and `numpy.frombuffer(table.column)` still gives the whole column at once.
"""

from collections.abc import Mapping
from struct import calcsize
from typing import ClassVar, Self

CACHE_LINE = 64


class Table:
    """Columns over `buffer`.  A subclass names them in `COLUMNS` (name -> struct code: b B h H i I q Q).

    Raises ValueError where `buffer` is smaller than `size(rows)`.
    """

    COLUMNS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, buffer: memoryview, rows: int) -> None:
        if len(buffer) < self.size(rows):
            raise ValueError(f"{type(self).__name__}: {rows} rows need {self.size(rows)} bytes, got {len(buffer)}")
        self.rows = rows
        offset = 0
        for name, code in self.COLUMNS.items():
            length = rows * calcsize("=" + code)
            setattr(self, name, buffer[offset:offset + length].cast(code))  # type: ignore[call-overload]
            offset += _aligned(length)

    @classmethod
    def places(cls, rows: int) -> list[tuple[int, int]]:
        """Of each column in a table of `rows` rows: the byte at which it begins, and the bytes of one row."""
        places, offset = [], 0
        for code in cls.COLUMNS.values():
            width = calcsize("=" + code)
            places.append((offset, width))
            offset += _aligned(rows * width)
        return places

    @classmethod
    def size(cls, rows: int) -> int:
        """Bytes that a table of `rows` rows occupies."""
        return sum(_aligned(rows * calcsize("=" + code)) for code in cls.COLUMNS.values())

    @classmethod
    def private(cls, rows: int) -> Self:
        """A table over memory of its own, for tests and for state that is not shared."""
        return cls(memoryview(bytearray(cls.size(rows))), rows)

    def clear(self, row: int) -> None:
        """Set every column of `row` to zero."""
        for name in self.COLUMNS:
            getattr(self, name)[row] = 0


def _aligned(length: int) -> int:
    return (length + CACHE_LINE - 1) & ~(CACHE_LINE - 1)
