"""The first page tables of a PV domain: their entries, as frames."""

from collections.abc import Iterator

import numpy
from numpy.typing import NDArray

from domains.pv_layout import PvLayout, span
from hypervisor.pte import ACCESSED, DIRTY, PRESENT, USER, WRITABLE

_LEAF = PRESENT | ACCESSED
_UPPER = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
_ENTRIES = 512


def page_tables(layout: PvLayout, first: int) -> Iterator[tuple[int, "NDArray[numpy.uint64]"]]:
    """The frame of each table and its 512 entries, for a domain whose page n is frame `first` + n.

    Every page that is a page table is mapped read-only.  An L3 entry of a 32-bit guest may have the present bit alone.
    """
    entries = {(table.level, table.base): (first + table.pfn, numpy.zeros(_ENTRIES, numpy.uint64))
               for table in layout.tables()}
    tables = [(table.level, table.base) for table in layout.tables()]
    top = tables[0][0]
    for level, base in tables[1:]:
        if level < top:
            flags = PRESENT if layout.width == 32 and level == 2 else _UPPER
            parent = entries[level + 1, 0 if level + 1 == top else base & -(1 << span(level + 2))][1]
            parent[base >> span(level + 1) & _ENTRIES - 1] = entries[level, base][0] << 12 | flags
    read_only = numpy.array([table.pfn for table in layout.tables()])
    for area in (mapping.area for mapping in layout.mappings):
        pfns = numpy.arange(area.pfn, area.pfn + area.pages)
        leaves = (pfns + first << 12 | numpy.where(numpy.isin(pfns, read_only), _LEAF, _LEAF | WRITABLE)).astype(
            numpy.uint64)
        done = 0
        while done < area.pages:
            at = area.at + (done << 12)
            slot = at >> 12 & _ENTRIES - 1
            count = min(_ENTRIES - slot, area.pages - done)
            entries[1, at & -(1 << span(2))][1][slot:slot + count] = leaves[done:done + count]
            done += count
    yield from entries.values()
