"""What a kernel says of itself as a paravirtual guest, read by Xen's rules (libelf-dominfo.c and xc_dom_elfloader.c).

Notes count; where there is none named "Xen", the older `__xen_guest` section does.  A kernel is linked for virtual
addresses of its own choice: VIRT_BASE is where pseudo-physical page 0 appears, and what its headers call a physical
address appears at that address + VIRT_BASE - PADDR_OFFSET.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from abi.elfnote import Elfnote
from abi.features import Feature
from domains.bsd_symtab import BsdSymtab
from domains.elf import EM_386, Elf, ImageError
from domains.elf_notes import XenNotes
from domains.kernel_image import elf_image

NAMED_FEATURES = frozenset({
    Feature.writable_page_tables, Feature.writable_descriptor_tables, Feature.auto_translated_physmap,
    Feature.supervisor_mode_kernel, Feature.pae_pgdir_above_4gb, Feature.hvm_callback_vector, Feature.dom0})
"""Those that a features string can name; the names of others mean nothing there."""
_BY_NAME = {feature.name: feature for feature in NAMED_FEATURES}
_ADDRESSES = 1 << 64
_NUMBER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")


class Features(NamedTuple):
    """What a kernel can do, and what it cannot do without (bits are XENFEAT_*)."""

    supported: int = 0
    required: int = 0


class PvImage(NamedTuple):
    """A kernel as the builder needs it.  Addresses are virtual; None where the kernel does not say."""

    elf: Elf
    width: int
    entry: int
    virt_base: int
    start: int
    """Where the kernel's first byte goes; a page boundary."""
    end: int
    """After its last byte, the symbol table included."""
    virt_offset: int
    """What is added to an address of the program headers."""
    hypercall_page: int | None
    p2m_base: int | None
    """Where the kernel wants its P2M; None: behind the kernel."""
    extended_cr3: bool
    """A 32-bit kernel whose top-level table may lie above 4 GiB."""
    unmapped_ramdisk: bool
    """The ramdisk is told as a page number, and is not mapped (MOD_START_PFN)."""
    features: Features
    symtab: BsdSymtab | None

    def pieces(self) -> Iterator[tuple[int, bytes | memoryview]]:
        """What to load: virtual address and bytes."""
        for segment in self.elf.segments:
            yield segment.paddr + self.virt_offset & _ADDRESSES - 1, segment.data
        if self.symtab is not None:
            yield self.symtab.start + self.virt_offset & _ADDRESSES - 1, self.symtab.data


class _Said(NamedTuple):
    """The notes and the section in one form."""

    loader: str = ""
    guest_os: str = ""
    xen_version: str = ""
    virt_base: int | None = None
    entry: int | None = None
    paddr_offset: int | None = None
    hypercall_page: int | None = None
    p2m_base: int | None = None
    pae: str = ""
    bsd_symtab: bool = False
    unmapped_ramdisk: bool = False
    features: Features = Features()


def pv_image(kernel: bytes) -> PvImage:
    """Understand `kernel` (ELF, compressed, or a bzImage) as a PV kernel.  Raises ImageError."""
    elf = Elf(elf_image(kernel))
    notes = XenNotes(elf)
    if not notes.source:
        raise ImageError("not a PV kernel: it has neither Xen's ELF notes nor a __xen_guest section")
    legacy = notes.source == "__xen_guest"
    said = _from_section(notes.legacy) if legacy else _from_notes(notes)
    _check_loader(said, notes)
    width = 32 if elf.machine == EM_386 else 64
    if width == 32 and not said.pae:
        raise ImageError("a 32-bit kernel without PAE (its PAE_MODE does not say yes), which Xen does not run")
    if said.paddr_offset is not None and said.virt_base is None:
        raise ImageError("its notes have PADDR_OFFSET but no VIRT_BASE")
    virt_base = said.virt_base or 0
    # Where the section is what counts, program headers of its time have virtual addresses throughout.
    default = virt_base if legacy else 0
    offset = virt_base - (default if said.paddr_offset is None else said.paddr_offset)
    symtab = BsdSymtab.of(elf) if said.bsd_symtab else None
    start = elf.start + offset & _ADDRESSES - 1
    end = (elf.end if symtab is None else symtab.end) + offset & _ADDRESSES - 1
    entry = elf.entry if said.entry is None else said.entry
    if not virt_base <= start <= entry <= end or end > 1 << width:
        raise ImageError(f"its addresses make no sense: base {virt_base:#x}, kernel {start:#x}-{end:#x}, "
                         f"entry {entry:#x}")
    if start & 0xFFF or virt_base & 0xFFF:
        raise ImageError(f"it begins in the middle of a page: base {virt_base:#x}, kernel {start:#x}")
    if said.p2m_base is not None and start <= said.p2m_base < end:
        raise ImageError(f"its INIT_P2M {said.p2m_base:#x} lies within the kernel")
    # libxenguest takes the wish only where it can be kept: 64 bits, a page boundary, and below everything else.
    p2m_base = said.p2m_base
    if p2m_base is not None and (width == 32 or p2m_base & 0xFFF or p2m_base >= virt_base):
        p2m_base = None
    return PvImage(elf, width, entry, virt_base, start, end, offset, said.hypercall_page, p2m_base,
                   said.pae in ("extended", "bimodal"), said.unmapped_ramdisk, said.features, symtab)


def _check_loader(said: _Said, notes: XenNotes) -> None:
    """Xen loads images that name the generic loader, or Linux, and its own version 3.0."""
    if said.xen_version.startswith("xen-3.0") and (
            said.loader.startswith("generic") or said.guest_os.startswith("linux")):
        return
    if Elfnote.PHYS32_ENTRY in notes and not said.xen_version:
        raise ImageError(f"a PVH kernel, not a PV one (its Xen notes are {', '.join(notes.names())})")
    raise ImageError("not made for this loader: expected XEN_VERSION xen-3.0 and LOADER generic or GUEST_OS linux, got "
                     f"{said.xen_version!r}, {said.loader!r} and {said.guest_os!r}")


def _from_notes(notes: XenNotes) -> _Said:
    pae_mode = notes.string(Elfnote.PAE_MODE) or ""
    pae = "extended" if pae_mode == "yes" else ""
    features = parse_features(notes.string(Elfnote.FEATURES) or "")
    bits = notes.raw(Elfnote.SUPPORTED_FEATURES) or b""
    return _Said(
        loader=notes.string(Elfnote.LOADER) or "", guest_os=notes.string(Elfnote.GUEST_OS) or "",
        xen_version=notes.string(Elfnote.XEN_VERSION) or "", virt_base=notes.number(Elfnote.VIRT_BASE),
        entry=notes.number(Elfnote.ENTRY), paddr_offset=notes.number(Elfnote.PADDR_OFFSET),
        hypercall_page=notes.number(Elfnote.HYPERCALL_PAGE), p2m_base=notes.number(Elfnote.INIT_P2M),
        pae="bimodal" if "bimodal" in pae_mode else pae, bsd_symtab=notes.string(Elfnote.BSD_SYMTAB) == "yes",
        unmapped_ramdisk=bool(notes.number(Elfnote.MOD_START_PFN)),
        features=features._replace(supported=features.supported | int.from_bytes(bits[:4], "little")))


def _from_section(pairs: dict[str, str]) -> _Said:
    """The keys of `__xen_guest`; HYPERCALL_PAGE is a page number, counted from VIRT_BASE."""
    numbers = {key: c_number(value) for key, value in pairs.items()}
    page = numbers.get("HYPERCALL_PAGE")
    mode = pairs.get("PAE", "")
    return _Said(
        loader=pairs.get("LOADER", ""), guest_os=pairs.get("GUEST_OS", ""), xen_version=pairs.get("XEN_VER", ""),
        virt_base=numbers.get("VIRT_BASE"), entry=numbers.get("VIRT_ENTRY"),
        paddr_offset=numbers.get("ELF_PADDR_OFFSET"),
        hypercall_page=None if page is None else (page << 12) + numbers.get("VIRT_BASE", 0),
        pae="extended" if mode == "yes[extended-cr3]" else "yes" if mode.startswith("yes") else "",
        bsd_symtab="BSD_SYMTAB" in pairs, features=parse_features(pairs.get("FEATURES", "")))


def parse_features(text: str) -> Features:
    """A string of feature names with `|` between them, `!` before those that are required.

    Raises ImageError for a required one that nobody knows; other unknown ones do not matter.
    """
    supported = required = 0
    for word in text.split("|"):
        feature = _BY_NAME.get(word.removeprefix("!"))
        if feature is not None:
            supported |= 1 << feature
            required |= 1 << feature if word.startswith("!") else 0
        elif word.startswith("!"):
            raise ImageError(f"it requires the feature {word[1:]!r}, which is unknown")
    return Features(supported, required)


def c_number(text: str) -> int:
    """What strtoull makes of `text` with base 0: hexadecimal, octal or decimal digits up to the first other sign."""
    match = _NUMBER.match(text)
    if match is None:
        return 0
    digits = match[2]
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    elif digits.startswith("0"):
        value = int(re.match(r"[0-7]+", digits)[0], 8)  # type: ignore[index]
    else:
        value = int(digits)
    return min(-value % _ADDRESSES if match[1] == "-" else value, _ADDRESSES - 1)
