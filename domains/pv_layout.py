"""Where everything of a new PV domain goes, by pseudo-physical page, and what its first page tables map.

This is libxenguest's layout (xc_dom_core.c, xc_dom_x86.c): from virtual base = page 0 up the kernel, the ramdisk, the
P2M, start_info, the pages of xenstore and console, the page tables and the boot stack; all that is mapped, up to a
multiple of 4 MiB with at least 512 KiB to spare.  Behind it go a ramdisk that is not mapped, and a P2M that the kernel
wants elsewhere, with the tables that map it there.  Pure: numbers in, numbers out.
"""

from collections.abc import Iterator
from typing import NamedTuple

from abi import x86_32, x86_64
from abi.types import PAGE_SHIFT, PAGE_SIZE
from domains.elf import ImageError
from domains.pv_image import PvImage

_SLACK = (512 << 10) // PAGE_SIZE
_ROUND = (4 << 20) - 1
_LOWER_HALF_END = 1 << 47
_PAE_TOP = 0xC0000000
"""A 32-bit guest always has an L2 for its last GiB, where Xen's own slots are."""


class Area(NamedTuple):
    """`pages` pages from pseudo-physical `pfn` on, seen at virtual address `at` (meaningless where nothing maps it)."""

    pfn: int
    pages: int
    at: int

    @property
    def end(self) -> int:
        """The virtual address after its last byte."""
        return self.at + self.pages * PAGE_SIZE


class Table(NamedTuple):
    """A page table: its page, its level from 1 up, and the first virtual address that it is responsible for."""

    pfn: int
    level: int
    base: int


class Mapping(NamedTuple):
    """A range of addresses that the first page tables map, with the tables it needed beside those of earlier ones."""

    area: Area
    tables: tuple[Table, ...]


class PvLayout(NamedTuple):
    width: int
    kernel: Area
    ramdisk: Area | None
    ramdisk_mapped: bool
    p2m: Area
    """The list and, where it is out of the way, its tables."""
    start_info: Area
    xenstore: Area
    console: Area
    page_tables: Area
    stack: Area
    mappings: tuple[Mapping, ...]
    pages: int
    """What all of it takes; the domain has at least so many."""

    def tables(self) -> Iterator[Table]:
        """All page tables; the first is the one for CR3."""
        for mapping in self.mappings:
            yield from mapping.tables


def span(level: int) -> int:
    """How many address bits one entry of a table of this level covers."""
    return PAGE_SHIFT + 9 * (level - 1)


def lay_out(image: PvImage, total: int, ramdisk: int | None) -> PvLayout:
    """Plan a domain of `total` pages with a ramdisk of `ramdisk` bytes.  Raises ImageError where it does not fit."""
    place = _Placement(image.virt_base, total)
    place.up_to(image.start)
    kernel = place(image.end - image.start, "the kernel")
    unmapped = image.unmapped_ramdisk and ramdisk is not None
    ramdisk_area = place(ramdisk, "the ramdisk") if ramdisk is not None and not unmapped else None
    p2m_size = total * image.width // 8
    p2m = place(p2m_size, "the P2M") if image.p2m_base is None else None
    start_info, xenstore, console = (place(PAGE_SIZE, what) for what in ("start_info", "xenstore", "console"))
    tables = _enough_tables(image, place)
    mapping = Mapping(Area(0, (place.mapped_end - image.virt_base) >> PAGE_SHIFT, image.virt_base), tables)
    page_tables = place(len(tables) * PAGE_SIZE, "the page tables")
    stack = place(PAGE_SIZE, "the boot stack")
    place.up_to(place.mapped_end)
    if unmapped and ramdisk is not None:
        ramdisk_area = place(ramdisk, "the ramdisk")
    mappings = [mapping]
    if p2m is None and image.p2m_base is not None:
        at, pages = image.p2m_base, -(-p2m_size >> PAGE_SHIFT)
        _check_range(image.width, at, at + pages * PAGE_SIZE, "the P2M")
        own = _tables(image.width, at, at + pages * PAGE_SIZE, place.pfn + pages, tables)
        p2m = place((pages + len(own)) * PAGE_SIZE, "the P2M")._replace(at=at)
        mappings.append(Mapping(Area(p2m.pfn, pages, at), own))
    assert p2m is not None
    return PvLayout(image.width, kernel, ramdisk_area, not unmapped, p2m, start_info, xenstore, console, page_tables,
                    stack, tuple(mappings), place.pfn)


class _Placement:
    """Hands out pages in ascending order; page n is seen at virtual base + n."""

    def __init__(self, virt_base: int, total: int) -> None:
        self._base, self._total = virt_base, total
        self.pfn = 0
        self.mapped_end = 0
        """Where the mapped range ends, once that is known."""

    @property
    def end(self) -> int:
        return self._base + (self.pfn << PAGE_SHIFT)

    def up_to(self, address: int) -> None:
        """Leave free what lies below a virtual address."""
        self(address - self.end, "what its first page tables map")

    def __call__(self, size: int, what: str) -> Area:
        area = Area(self.pfn, -(-size >> PAGE_SHIFT), self.end)
        self.pfn += area.pages
        if self.pfn > self._total:
            raise ImageError(f"{what} does not fit: needs {-(-self.pfn >> 8)} MiB of memory, the domain has "
                             f"{self._total >> 8}")
        return area


def _enough_tables(image: PvImage, place: _Placement) -> tuple[Table, ...]:
    """The tables that map everything, themselves included; sets the end of what they map."""
    pages = extra = _SLACK + 1  # one for the stack
    while True:
        end = (place.end + pages * PAGE_SIZE | _ROUND) + 1
        _check_range(image.width, image.virt_base, end, "what its first page tables map")
        tables = _tables(image.width, image.virt_base, end, place.pfn, ())
        pages = len(tables) + extra
        if place.end + pages * PAGE_SIZE <= end:
            place.mapped_end = end
            return tables


def _check_range(width: int, start: int, end: int, what: str) -> None:
    """Raises ImageError where a guest cannot have these addresses: Xen's own lie there, or none."""
    if width == 32:
        good = end <= x86_32.HYPERVISOR_VIRT_START
    else:
        good = end <= _LOWER_HALF_END or (start >= x86_64.HYPERVISOR_VIRT_END and end <= 1 << 64)
    if not good:
        raise ImageError(f"{what}, {start:#x}-{end:#x}, reaches into addresses that it cannot have")


def _tables(width: int, start: int, end: int, pfn: int, present: tuple[Table, ...]) -> tuple[Table, ...]:
    """The tables that [start, end) needs beside those that are `present`, top level first, in pages from `pfn` on."""
    levels = 4 if width == 64 else 3
    have = {(table.level, table.base) for table in present}
    tables: list[Table] = []
    for level in range(levels, 0, -1):
        size = 1 << span(level + 1)
        if level == levels:
            bases = [0]
        else:
            last = end - 1
            if width == 32 and level == 2 and not present and last < _PAE_TOP:
                last = _PAE_TOP
            bases = list(range(start & -size, last + 1, size))
        for base in bases:
            if (level, base) not in have:
                tables.append(Table(pfn + len(tables), level, base))
    return tuple(tables)
