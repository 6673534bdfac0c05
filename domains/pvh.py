"""Building a PVH domain: where kernel, modules and hvm_start_info go, and the state in which the guest begins.

The boot protocol is docs/misc/pvh of Xen and arch-x86/hvm/start_info.h; the layout is libxenguest's: the kernel where
its program headers say, the modules on page boundaries behind it, and behind them one block that begins on a page with
hvm_start_info, the command line, the list of modules, their command lines, and the memory map.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from abi.elfnote import Elfnote
from abi.start_info import (
    HVM_MEMMAP_TABLE_ENTRY,
    HVM_MODLIST_ENTRY,
    HVM_START_INFO,
    XEN_HVM_START_MAGIC_VALUE,
    MemmapType,
)
from abi.types import PAGE_SIZE
from domains.elf import Elf, ImageError
from domains.elf_notes import XenNotes
from domains.kernel_image import elf_image

_VERSION = 1
_INFO, _MODULE, _ENTRY = HVM_START_INFO.at(64), HVM_MODLIST_ENTRY.at(64), HVM_MEMMAP_TABLE_ENTRY.at(64)
_FOUR_GIB = 1 << 32


class Region(NamedTuple):
    """An entry of the guest's memory map: bytes from `start`, `size` of them."""

    start: int
    size: int
    type: MemmapType

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.start + self.size


class Module(NamedTuple):
    """A file passed to the guest, such as a ramdisk."""

    data: bytes
    cmdline: str = ""


class StartState(NamedTuple):
    """How the one vCPU begins: 32-bit protected mode, no paging, flat segments from 0 to 4 GiB.

    The rest is the same for every guest: CR0 = PE and ET, CR4 = 0, EFLAGS = 2, a 32-bit TSS of limit 0x67 at 0.
    """

    eip: int
    ebx: int
    """The guest-physical address of hvm_start_info."""


class PvhImage(NamedTuple):
    """A domain's memory as it was built."""

    start: StartState
    elf: Elf
    end: int
    """The guest-physical address after everything that was placed, on a page boundary."""


def build_pvh(kernel: bytes, memory_map: Sequence[Region], write: Callable[[int, bytes | memoryview], None], *,
              cmdline: str = "", modules: Sequence[Module] = (), rsdp: int = 0, flags: int = 0) -> PvhImage:
    """Put `kernel` (ELF, compressed, or a bzImage) into a domain's memory through `write(guest address, bytes)`.

    `memory_map` is what the guest is told; all is placed in its RAM, which must hold zeros.  `rsdp` is the address of
    the ACPI tables' root or 0, `flags` are SIF_*.  Raises ImageError, before anything is written.
    """
    elf = Elf(elf_image(kernel))
    eip = _entry(elf)
    ram = sorted(region for region in memory_map if region.type == MemmapType.RAM and region.start < _FOUR_GIB)
    for segment in elf.segments:
        if not any(region.start <= segment.paddr and segment.end <= region.end for region in ram):
            raise ImageError(_no_room(f"the kernel's segment {segment.paddr:#x}-{segment.end:#x}", ram, segment.end))
    place = _Placement(ram, elf.end)
    module_places = [place(len(module.data), f"module {index}") for index, module in enumerate(modules)]
    cmdlines = [_zero_terminated(module.cmdline, f"module {index}") for index, module in enumerate(modules)]
    own_cmdline = _zero_terminated(cmdline, "the domain")
    sizes = (_INFO.size, len(own_cmdline), _MODULE.size * len(modules), *map(len, cmdlines),
             _ENTRY.size * len(memory_map))
    info_at = place(sum(map(_rounded, sizes)), "hvm_start_info and the command line")
    places = [info_at]
    for size in sizes:
        places.append(places[-1] + _rounded(size))
    _, cmdline_at, modlist_at, *cmdline_places, memmap_at, _ = places

    for segment in elf.segments:
        write(segment.paddr, segment.data)
    for at, module in zip(module_places, modules, strict=True):
        write(at, module.data)
    write(info_at, _INFO.pack(
        XEN_HVM_START_MAGIC_VALUE, _VERSION, flags, len(modules), modlist_at if modules else 0,
        cmdline_at if own_cmdline else 0, rsdp, memmap_at if memory_map else 0, len(memory_map), 0))
    write(cmdline_at, own_cmdline)
    write(modlist_at, b"".join(
        _MODULE.pack(at, len(module.data), text_at if text else 0, 0)
        for at, module, text_at, text in zip(module_places, modules, cmdline_places, cmdlines, strict=True)))
    for at, text in zip(cmdline_places, cmdlines, strict=True):
        write(at, text)
    write(memmap_at, b"".join(_ENTRY.pack(region.start, region.size, region.type, 0) for region in memory_map))
    return PvhImage(StartState(eip, info_at), elf, place.end)


def _entry(elf: Elf) -> int:
    """Where a PVH guest begins.  Raises ImageError where the kernel does not say."""
    notes = XenNotes(elf)
    entry = notes.number(Elfnote.PHYS32_ENTRY)
    if entry is None:
        if notes.source == "__xen_guest":
            has = "an old PV kernel: it has a __xen_guest section"
        elif notes.source:
            has = f"its Xen notes are {', '.join(notes.names())}"
        else:
            has = "it has no Xen notes at all"
        raise ImageError(f"not a PVH kernel: no ELF note PHYS32_ENTRY ({has})")
    if not any(segment.paddr <= entry < segment.end for segment in elf.segments):
        raise ImageError(f"the entry point {entry:#x} of its PHYS32_ENTRY note lies in nothing that is loaded")
    return entry


class _Placement:
    """Hands out RAM in ascending order, on page boundaries, from `end` up."""

    def __init__(self, ram: Sequence[Region], end: int) -> None:
        self._ram = ram
        self.end = _page_up(end)

    def __call__(self, size: int, what: str) -> int:
        for region in self._ram:
            at = max(self.end, _page_up(region.start))
            if size and at + size <= min(region.end, _FOUR_GIB):
                self.end = _page_up(at + size)
                return at
        if not size:
            return self.end
        raise ImageError(_no_room(what, self._ram, self.end + size))


def _no_room(what: str, ram: Sequence[Region], needed: int) -> str:
    """`needed` is the address up to which RAM would have to reach, if there were no holes."""
    top = max((region.end for region in ram), default=0)
    if needed <= top:
        return f"{what} falls into a hole of the guest's memory map"
    if needed > _FOUR_GIB:
        return f"{what} does not fit below 4 GiB"
    return f"{what} does not fit: needs {-(-needed >> 20)} MiB of memory, the domain has {top >> 20}"


def _zero_terminated(text: str, what: str) -> bytes:
    try:
        encoded = text.encode("utf-8", "surrogateescape")  # as the user's shell gave it
    except UnicodeEncodeError:
        raise ImageError(f"the command line of {what} is not text") from None
    if b"\0" in encoded:
        raise ImageError(f"the command line of {what} contains a zero byte")
    return encoded + b"\0" if encoded else b""


def _rounded(size: int) -> int:
    return size + 7 & ~7


def _page_up(address: int) -> int:
    return address + PAGE_SIZE - 1 & -PAGE_SIZE
