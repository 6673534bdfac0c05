"""Frames after a process died in the middle of anything: counts as the facts have them, and all that is free, free.

The frames of a domain that has ended are free but for those that others still refer to; a frame that a living domain
gave back is free when the last reference has gone.  Heaps are made anew of what is free, where they are not that.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy

from abi.types import PAGE_SHIFT, Domid, Mfn
from hypervisor.frames import INVALID_M2P, FrameKind, Frames, FrameTable
from hypervisor.heap import HeapTable
from hypervisor.memory import MemoryTable
from hypervisor.p2m import P2m
from hypervisor.pv_tables import M2p32Table, PageType, PageTypeTable, PvDomainTable
from hypervisor.references import Column, References, column
from hypervisor.tables import DomainTable

if TYPE_CHECKING:
    from hypervisor.host_state import HostState

_RAM, _XENHEAP, _FREE = int(FrameKind.RAM), int(FrameKind.XENHEAP), int(FrameKind.FREE)


class FrameRepair:
    """The frames of one host, for who holds still all of it."""

    def __init__(self, state: "HostState", frames: Frames, p2m: P2m) -> None:
        table = state.table
        self._state, self._frames, self._p2m, self._heap = state, frames, p2m, frames.heap
        self._table, self._heaps, self._types = table(FrameTable), table(HeapTable), table(PageTypeTable)
        self._domains, self._flushes = table(DomainTable), table(PvDomainTable).flushes
        self._kinds, self._owners = column(self._table.kind, numpy.uint8), column(self._table.owner, numpy.uint16)
        self._flags, self._refs = column(self._table.flags, numpy.uint8), column(self._table.refs, numpy.uint32)
        self._row = column(self._table.heap, numpy.uint16)
        self._m2p32 = column(table(M2p32Table).pfn, numpy.uint32)

    def run(self, ended: set[Domid]) -> int:
        """Put right what can be wrong; `ended` are domains whose own facts are gone.  How many frames were wrong."""
        due = References(self._state, self._p2m)
        owned = (self._kinds == _RAM) | (self._kinds == _XENHEAP)
        gone = owned & numpy.isin(self._owners, list(ended))
        wrong = int(((self._refs != due.refs) & owned & ~gone).sum())
        self._refs[owned] = due.refs[owned]
        wrong += self._set_types(owned, gone, due.writable)
        regions = self._regions()
        for domid in sorted(ended):
            self._free_all_of(domid, regions.get(domid, []))
        for row, parts in regions.items():
            wrong += self._mend_heap(row, parts, row in ended)
        idle = owned & ~gone & (self._refs == 0) & ((self._kinds == _XENHEAP) | (self._flags == 0))
        for mfn in numpy.flatnonzero(idle).tolist():
            self._frames.free_unused(Mfn(mfn))
            wrong += 1
        ram = self._owners[self._kinds == _RAM]
        self._widen(ram)
        counts = numpy.bincount(ram, minlength=self._domains.rows)[:self._domains.rows]
        totals = column(self._domains.tot_pages, numpy.uint32)
        wrong += int((totals != counts).sum())
        totals[:] = counts
        return wrong

    def _widen(self, owners: Column) -> None:
        """`MemoryTable` says where the RAM of each of `owners` lies; who gave a domain a page may have died before that
        was so.
        """
        memory, frames = self._state.table(MemoryTable), numpy.flatnonzero(self._kinds == _RAM)
        first, end = column(memory.first, numpy.uint32), column(memory.end, numpy.uint32)
        known = owners < len(first)
        numpy.minimum.at(first, owners[known], frames[known].astype(numpy.uint32))
        numpy.maximum.at(end, owners[known], frames[known].astype(numpy.uint32) + 1)

    def _set_types(self, owned: Column, gone: Column, writable: Column) -> int:
        """Uses for writing, which one domain may have of another's frame; all others are the owner's alone."""
        types = column(self._types.type, numpy.uint8)
        counts, flags = column(self._types.count, numpy.uint32), column(self._types.flags, numpy.uint8)
        column(self._types.linear, numpy.int32)[gone] = 0
        flags[gone] = 0
        types[gone] = numpy.where(writable[gone] != 0, PageType.WRITABLE, PageType.NONE)
        plain = owned & ((types == PageType.WRITABLE) | gone)
        wrong = numpy.flatnonzero(plain & (counts != writable))
        counts[wrong] = writable[wrong]
        for mfn in wrong.tolist():
            if not gone[mfn]:
                self._types.stamp[mfn] = self._flushes[self._owners[mfn]]
        return int((~gone[wrong]).sum())

    def _free_all_of(self, domid: Domid, parts: list[tuple[int, int]]) -> None:
        """All frames of the domain's heap that nobody refers to are free, and zero."""
        for start, end in parts:
            part = slice(start, end)
            self._flags[part][(self._owners[part] == domid) & (self._kinds[part] == _RAM)] = 0
            kept = ((self._kinds[part] == _RAM) | (self._kinds[part] == _XENHEAP)) & (self._refs[part] != 0)
            freed = (self._kinds[part] != _FREE) & ~kept
            for first, last in _runs(freed):
                self._heap.scrub(start + first << PAGE_SHIFT, last - first << PAGE_SHIFT)
            frames = numpy.flatnonzero(freed) + start
            self._kinds[frames] = _FREE
            self._refs[frames] = 0
            self._frames.gfns[frames] = INVALID_M2P
            self._m2p32[frames] = 0xFFFFFFFF
            column(self._types.count, numpy.uint32)[frames] = 0
            column(self._types.type, numpy.uint8)[frames] = 0
            column(self._types.flags, numpy.uint8)[frames] = 0

    def _mend_heap(self, row: int, parts: list[tuple[int, int]], ended: bool) -> int:
        """Lists that say what is free.  What the hypervisor has of the pool is known of domains that ended alone."""
        wrong = 0
        for start, end in parts:
            free = self._kinds[start:end] == _FREE
            if start >= self._heap.start:
                runs = [(start + first, last - first) for first, last in _runs(free)]
                if sorted(self._heap.extents(row)) != runs or self._heaps.free[row] != int(free.sum()):
                    self._heap.relink(row, runs)
                    wrong += not ended
            elif ended:
                self._heap.relink_pool(row, [start + int(index) for index in numpy.flatnonzero(free)
                                             if start + index < self._heaps.pool_unused[row]])
        return wrong

    def _regions(self) -> dict[int, list[tuple[int, int]]]:
        """By heap, its parts: of the pool, and outside; the host's own is not touched by domains that run."""
        cuts = [0, *(numpy.flatnonzero(numpy.diff(self._row)) + 1).tolist(), len(self._row)]
        regions: dict[int, list[tuple[int, int]]] = {}
        for start, end in pairwise(cuts):
            row = int(self._row[start])
            if row:
                regions.setdefault(row, []).append((start, end))
        return regions


def _runs(chosen: Column) -> list[tuple[int, int]]:
    """The runs of what is true: first and end of each."""
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([0], chosen.astype(numpy.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
