"""How libxl lays out a PVH domain's physical address space (libxl_x86.c, xg_dom_x86.c, hvm/e820.h)."""

from abi.memory import E820_ACPI, E820_RAM, E820_RESERVED
from abi.types import PAGE_SHIFT, Gfn

HOLE = Gfn(0xF0000)
"""The first page of the hole below 4 GiB (HVM_BELOW_4G_RAM_END): devices, firmware tables, special pages."""
HIGH_MEMORY = Gfn(0x100000)
"""Where RAM goes on after the hole."""
SPECIAL_PAGES, NR_SPECIAL_PAGES = Gfn(0xFEFF8), 8
ACPI_TABLES, NR_ACPI_PAGES = Gfn(0xFC000), 1
"""Where libxl puts them (ACPI_INFO_PHYSICAL_ADDRESS).  What is in them is the domain builder's affair."""
STORE_PFN, CONSOLE_PFN = Gfn(SPECIAL_PAGES + 4), Gfn(SPECIAL_PAGES + 7)
SLACK = 256
"""Pages that libxl adds to a domain's maximum (LIBXL_MAXMEM_CONSTANT)."""

MapEntry = tuple[int, int, int]
"""Address, size in bytes, E820_* type."""


def pvh_memory_map(pages: int) -> list[MapEntry]:
    """The memory map of a PVH domain with `pages` pages of RAM."""
    low = min(pages, HOLE)
    entries = [(0, low << PAGE_SHIFT, E820_RAM),
               (ACPI_TABLES << PAGE_SHIFT, NR_ACPI_PAGES << PAGE_SHIFT, E820_ACPI),
               (SPECIAL_PAGES << PAGE_SHIFT, NR_SPECIAL_PAGES << PAGE_SHIFT, E820_RESERVED)]
    if pages > low:
        entries.append((HIGH_MEMORY << PAGE_SHIFT, pages - low << PAGE_SHIFT, E820_RAM))
    return entries
