"""Names for addresses, from the symbol tables of an ELF image: for crash reports."""

from bisect import bisect_right
from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

_LAYOUTS = {32: (Struct("<IIIBBH"), (0, 1, 2, 3, 5)), 64: (Struct("<IBBHQQ"), (0, 4, 5, 1, 3))}
"""A symbol's structure, and which of its fields are name, value, size, info, section index."""
_STT_NOTYPE, _STT_FUNC = 0, 2
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00
_NEARBY = 1 << 16
"""How far behind a symbol without a size an address may lie and still be named after it."""
_LONGEST = 512


class _Symbol(NamedTuple):
    value: int
    size: int
    name: int
    strings: memoryview


class Symbols:
    """The code symbols of `tables`, pairs of a symbol table and its strings."""

    def __init__(self, bits: int, tables: Iterable[tuple[memoryview, memoryview]]) -> None:
        shape, (name_at, value_at, size_at, info_at, section_at) = _LAYOUTS[bits]
        found = []
        for table, strings in tables:
            for fields in shape.iter_unpack(table[:len(table) // shape.size * shape.size]):
                if fields[info_at] & 0xF in (_STT_NOTYPE, _STT_FUNC) and fields[name_at] \
                        and _SHN_UNDEF < fields[section_at] < _SHN_LORESERVE:
                    found.append(_Symbol(fields[value_at], fields[size_at], fields[name_at], strings))
        found.sort(key=lambda symbol: (symbol.value, symbol.size))  # of several names a function's own comes last
        self._symbols = found
        self._values = [symbol.value for symbol in found]

    def at(self, address: int) -> str | None:
        """The symbol that `address` lies in, with the distance from its start; None where there is none."""
        index = bisect_right(self._values, address) - 1
        if index < 0:
            return None
        symbol = self._symbols[index]
        offset = address - symbol.value
        if offset >= (symbol.size or _NEARBY):
            return None
        name = string_at(symbol.strings, symbol.name)
        return f"{name}+{offset:#x}" if offset else name


def string_at(table: memoryview, at: int) -> str:
    """The zero-terminated string at `at` of a string table; empty where that is outside."""
    return bytes(table[at:at + _LONGEST]).split(b"\0", 1)[0].decode("utf-8", "replace")
