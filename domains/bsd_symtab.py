"""The symbol table of a kernel that asks for it (BSD_SYMTAB), put behind the kernel as libelf-loader.c does.

At the next word boundary after the kernel: a 32-bit length, a small ELF file of header and three section headers
(nothing, symbols, strings), then both tables, each on a word boundary.  Offsets in it count from that ELF header.
"""

from struct import calcsize, pack, unpack_from
from typing import NamedTuple

from domains.elf import SHT_SYMTAB, Elf

_EHDR = {32: "<16sHHIIIIIHHHHHH", 64: "<16sHHIQQQIHHHHHH"}
_SHDR = {32: "<10I", 64: "<IIQQQQIIQQ"}
_SHT_STRTAB = 3
_SYMTAB, _STRTAB, _SECTIONS = 1, 2, 3


class BsdSymtab(NamedTuple):
    """`data` goes to the physical address `start` (as the program headers count)."""

    start: int
    end: int
    """What it takes reaches to here."""
    data: bytes

    @classmethod
    def of(cls, elf: Elf) -> "BsdSymtab | None":
        """The first symbol table of `elf` with its strings; None where it has none."""
        symbols = next((section for section in elf.sections if section.type == SHT_SYMTAB), None)
        if symbols is None or symbols.link >= len(elf.sections):
            return None
        strings = elf.sections[symbols.link]
        if strings.type != _SHT_STRTAB:
            return None
        word = elf.bits // 8
        ehdr, shdr = _EHDR[elf.bits], _SHDR[elf.bits]
        headers = calcsize(ehdr) + _SECTIONS * calcsize(shdr)
        start = _up(elf.end, word)
        symtab_at = _up(start + 4 + headers, word) - start - 4
        strtab_at = _up(start + 4 + symtab_at + len(symbols.data), word) - start - 4
        size = strtab_at + len(strings.data)
        original = unpack_from(ehdr, elf.header)
        header = pack(ehdr, *original[:5], 0, calcsize(ehdr), *original[7:9], 0, 0, calcsize(shdr), _SECTIONS, 0)
        sections = pack(shdr, *(0,) * 10)
        sections += pack(shdr, 0, SHT_SYMTAB, 0, 0, symtab_at, len(symbols.data), _STRTAB, symbols.info, word,
                         symbols.entsize)
        sections += pack(shdr, 0, _SHT_STRTAB, 0, 0, strtab_at, len(strings.data), 0, 0, 1, 0)
        data = bytearray(4 + size)
        data[:4] = pack("<I", size)
        for at, piece in ((0, header), (len(header), sections), (symtab_at, symbols.data), (strtab_at, strings.data)):
            data[4 + at:4 + at + len(piece)] = piece
        return cls(start, _up(start + len(data), word), bytes(data))


def _up(value: int, word: int) -> int:
    return value + word - 1 & -word
