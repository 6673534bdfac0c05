"""Reading kernels: ELF32 and ELF64 for i386 and x86-64.  Pure: bytes in, a description out.

Files come from anywhere, so nothing in them is believed: every offset is checked against the file, and what cannot be
loaded raises ElfError, one line that says what is wrong.  Like Xen's libelf it forgives what does not matter for
loading: a section table that is cut off means no sections.
"""

from functools import cached_property
from itertools import pairwise
from struct import Struct
from typing import NamedTuple

from domains.elf_symbols import Symbols, string_at


class ImageError(Exception):
    """An image cannot be used as a kernel.  One line that says why."""


class ElfError(ImageError):
    """It is not an ELF file of the right kind, or its headers make no sense."""


class Segment(NamedTuple):
    """One thing to load (PT_LOAD): `data` at physical address `paddr`, then zeros up to `memsz` bytes."""

    paddr: int
    vaddr: int
    memsz: int
    data: memoryview

    @property
    def end(self) -> int:
        """The physical address after its last byte."""
        return self.paddr + self.memsz


class Section(NamedTuple):
    name: str
    type: int
    addr: int
    link: int
    entsize: int
    data: memoryview
    """What of it lies in the file."""
    info: int


class _Class(NamedTuple):
    """The layouts of one ELF class; the two order a program header's fields differently."""

    bits: int
    ehdr: Struct
    """type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx"""
    phdr: Struct
    phdr_order: tuple[int, ...]
    """Which fields are type, flags, offset, vaddr, paddr, filesz, memsz."""
    shdr: Struct
    """name, type, flags, addr, offset, size, link, info, addralign, entsize"""


_ELF32 = _Class(32, Struct("<HHIIIIIHHHHHH"), Struct("<8I"), (0, 6, 1, 2, 3, 4, 5), Struct("<10I"))
_ELF64 = _Class(64, Struct("<HHIQQQIHHHHHH"), Struct("<IIQQQQQQ"), (0, 1, 2, 3, 4, 5, 6), Struct("<IIQQQQIIQQ"))
_IDENT = 16
EM_386, EM_X86_64 = 3, 62
_ET_EXEC, _ET_DYN = 2, 3
PT_LOAD, PT_NOTE = 1, 4
SHT_SYMTAB, SHT_NOTE, SHT_NOBITS = 2, 7, 8


class Elf:
    """A parsed image.  Raises ElfError where `data` is none that could be loaded."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        if bytes(data[:4]) != b"\x7fELF":
            raise ElfError("not an ELF file")
        if len(data) < _IDENT or data[4] not in (1, 2):
            raise ElfError("not an ELF file of a known class (32 or 64 bits)")
        if data[5] != 1:
            raise ElfError("not a little-endian ELF file")
        self._class = _ELF32 if data[4] == 1 else _ELF64
        self.bits = self._class.bits
        if len(data) < _IDENT + self._class.ehdr.size:
            raise ElfError("the ELF header is cut off")
        (kind, self.machine, _, self.entry, phoff, self._shoff, _, _, phentsize, phnum, self._shentsize, self._shnum,
         self._shstrndx) = self._class.ehdr.unpack_from(data, _IDENT)
        if self.machine not in (EM_386, EM_X86_64):
            raise ElfError(f"for another processor (machine {self.machine}); expected i386 or x86-64")
        if kind not in (_ET_EXEC, _ET_DYN):
            raise ElfError(f"not an executable (ELF type {kind})")
        self._headers = self._program_headers(phoff, phentsize, phnum)
        self.segments = self._load_segments()

    def _program_headers(self, phoff: int, phentsize: int, phnum: int) -> list[tuple[int, ...]]:
        shape, order = self._class.phdr, self._class.phdr_order
        if phnum and phentsize < shape.size:
            raise ElfError(f"program headers of {phentsize} bytes; expected {shape.size}")
        if phoff + phnum * phentsize > len(self._data):
            raise ElfError(f"the program headers end at byte {phoff + phnum * phentsize:#x}; the file has "
                           f"{len(self._data):#x}")
        headers = []
        for at in range(phoff, phoff + phnum * phentsize, phentsize or 1):
            fields = shape.unpack_from(self._data, at)
            headers.append(tuple(fields[index] for index in order))
        return headers

    def _load_segments(self) -> tuple[Segment, ...]:
        segments = []
        for index, (kind, _, offset, vaddr, paddr, filesz, memsz) in enumerate(self._headers):
            if kind != PT_LOAD or not memsz:
                continue
            where = f"segment {index}"
            if filesz > memsz:
                raise ElfError(f"{where} has {filesz:#x} bytes in the file but {memsz:#x} in memory")
            if offset + filesz > len(self._data):
                raise ElfError(f"{where} ends at byte {offset + filesz:#x}; the file has {len(self._data):#x}")
            if paddr + memsz > 1 << self.bits:
                raise ElfError(f"{where} wraps around the end of memory ({paddr:#x}, {memsz:#x} bytes)")
            segments.append(Segment(paddr, vaddr, memsz, self._data[offset:offset + filesz]))
        if not segments:
            raise ElfError("nothing to load: no PT_LOAD program header")
        segments.sort(key=lambda segment: segment.paddr)
        for low, high in pairwise(segments):
            if low.end > high.paddr:
                raise ElfError(f"segments overlap: {low.paddr:#x}-{low.end:#x} and {high.paddr:#x}-{high.end:#x}")
        return tuple(segments)

    @property
    def start(self) -> int:
        """The lowest physical address that is loaded."""
        return self.segments[0].paddr

    @property
    def end(self) -> int:
        """The physical address after the last byte that is loaded."""
        return self.segments[-1].end

    @property
    def header(self) -> memoryview:
        """The ELF header."""
        return self._data[:_IDENT + self._class.ehdr.size]

    @property
    def note_segments(self) -> list[memoryview]:
        """What lies in the file of each PT_NOTE, also where the header says that there is more."""
        return [self._data[offset:offset + filesz]
                for kind, _, offset, _, _, filesz, _ in self._headers if kind == PT_NOTE and offset]

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The sections; none where their table is cut off or senseless."""
        shape, data, size = self._class.shdr, self._data, self._shentsize
        if size < shape.size or self._shoff + self._shnum * size > len(data) or self._shstrndx >= self._shnum:
            return ()
        raw = [shape.unpack_from(data, self._shoff + index * size) for index in range(self._shnum)]
        names = data[raw[self._shstrndx][4]:][:raw[self._shstrndx][5]]
        return tuple(
            Section(string_at(names, name), kind, addr, link, entsize,
                    data[:0] if kind == SHT_NOBITS else data[offset:offset + length], info)
            for name, kind, _, addr, offset, length, link, info, _, entsize in raw)

    def section(self, name: str) -> Section | None:
        """The first section called `name`."""
        return next((section for section in self.sections if section.name == name), None)

    @cached_property
    def _symbols(self) -> Symbols:
        sections = self.sections
        return Symbols(self.bits, ((section.data, sections[section.link].data) for section in sections
                                   if section.type == SHT_SYMTAB and section.link < len(sections)))

    def symbol_at(self, address: int) -> str | None:
        """What the code at virtual address `address` belongs to: `memcpy+0x1f`; None where nothing is known."""
        return self._symbols.at(address)
