"""Makes small ELF images for tests."""

from struct import pack

PT_LOAD, PT_NOTE, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_PROGBITS = 1, 4, 2, 3, 7, 1
I386, X86_64 = 3, 62


def note(kind, content, owner=b"Xen\0", size=None):
    """An ELF note; `size` is what it says of itself where that is a lie."""
    padded = owner + bytes(-len(owner) % 4)
    return pack("<III", len(owner), len(content) if size is None else size, kind) + padded + content + bytes(
        -len(content) % 4)


def phys32_entry(address):
    return note(18, pack("<I", address))


class ElfMaker:
    """An image in the making.  `bits` is its class, `machine` what its header says."""

    def __init__(self, bits=64, machine=X86_64):
        self.bits, self.machine = bits, machine
        self.headers, self.sections, self.body = [], [], b""
        self.header_size, self.phdr_size, self.shdr_size = (52, 32, 40) if bits == 32 else (64, 56, 64)

    def segment(self, kind, content, paddr=0, memsz=None, vaddr=None, filesz=None):
        """Add a program header over `content`."""
        self.headers.append((kind, len(self.body), paddr if vaddr is None else vaddr, paddr,
                             len(content) if filesz is None else filesz, len(content) if memsz is None else memsz))
        self.body += content
        return self

    def load(self, paddr, content, memsz=None, vaddr=None):
        return self.segment(PT_LOAD, content, paddr, memsz, vaddr)

    def notes(self, *notes):
        return self.segment(PT_NOTE, b"".join(notes))

    def section(self, name, kind, content, link=0, entsize=0):
        self.sections.append((name, kind, len(self.body), len(content), link, entsize))
        self.body += content
        return self

    def symbols(self, **symbols):
        """Function symbols: name=(address, size)."""
        names, table = b"\0", b""
        for name, (address, size) in symbols.items():
            if self.bits == 64:
                table += pack("<IBBHQQ", len(names), 0x12, 0, 1, address, size)
            else:
                table += pack("<IIIBBH", len(names), address, size, 0x12, 0, 1)
            names += name.encode() + b"\0"
        index = len(self.sections) + 1
        self.section(".symtab", SHT_SYMTAB, table, index + 1, 24 if self.bits == 64 else 16)
        return self.section(".strtab", SHT_STRTAB, names)

    def bytes(self):
        """The file: header, program headers, contents, section headers."""
        start = self.header_size + self.phdr_size * len(self.headers)
        body, sections = self.body, [("", 0, 0, 0, 0, 0), *self.sections]
        names = b""
        offsets = []
        for name, *_ in [*sections, (".shstrtab",)]:
            offsets.append(len(names))
            names += name.encode() + b"\0"
        sections.append((".shstrtab", SHT_STRTAB, len(body), len(names), 0, 0))
        body += names
        shoff = start + len(body) if self.sections else 0
        shnum = len(sections) if self.sections else 0
        word = "<HHIQQQIHHHHHH" if self.bits == 64 else "<HHIIIIIHHHHHH"
        data = b"\x7fELF" + bytes([2 if self.bits == 64 else 1, 1, 1]) + bytes(9)
        data += pack(word, 2, self.machine, 1, 0x100000, self.header_size, shoff, 0, self.header_size, self.phdr_size,
                     len(self.headers), self.shdr_size, shnum, max(0, shnum - 1))
        for kind, offset, vaddr, paddr, filesz, memsz in self.headers:
            offset += start
            if self.bits == 64:
                data += pack("<IIQQQQQQ", kind, 7, offset, vaddr, paddr, filesz, memsz, 1)
            else:
                data += pack("<8I", kind, offset, vaddr, paddr, filesz, memsz, 7, 1)
        data += body
        if self.sections:
            shape = "<IIQQQQIIQQ" if self.bits == 64 else "<10I"
            for name_at, (_, kind, offset, size, link, entsize) in zip(offsets, sections, strict=True):
                data += pack(shape, name_at, kind, 0, 0, offset + start if kind else 0, size, link, 0, 1, entsize)
        return data


def pvh_kernel(bits=64, machine=X86_64):
    """A kernel that could boot: code at 1 MiB with a page of bss, and a PHYS32_ENTRY note."""
    return ElfMaker(bits, machine).load(0x100000, b"\xf4" * 100, 0x2000).notes(phys32_entry(0x100010))
