"""Many L1 entries at a time, by numpy, in the common case: every entry maps the domain's own memory, and may.

Each operation first makes sure that all its entries are of that kind.  Where they are not it does nothing and returns
False, and `page_entry.PageEntries` goes through them one by one, with Xen's errors.
"""

import numpy
from numpy.typing import NDArray

from abi.types import Domid
from hypervisor.frames import ALLOCATED, FrameKind
from hypervisor.page_type import PageTypes
from hypervisor.pte import ACCESSED, DIRTY, L1_DISALLOWED, MFN, PRESENT, SAME, WRITABLE, adjust_l1_all
from hypervisor.pv_tables import PageType
from hypervisor.tables import DomainTable
from state.arena import Arena

_Words = NDArray[numpy.uint64]
_P, _PW, _BAD = numpy.uint64(PRESENT), numpy.uint64(PRESENT | WRITABLE), numpy.uint64(L1_DISALLOWED)
_MFN, _SHIFT, _SAME = numpy.uint64(MFN), numpy.uint64(12), numpy.uint64(SAME)
_AD = numpy.uint64(ACCESSED | DIRTY)
_PRESERVE_AD = 2
_ONE = numpy.uint32(1)
"""Of the counts' own type, without which `add.at` is ten times slower."""


class L1Batch:
    """Batches over `types`, of entries in `arena`."""

    def __init__(self, arena: Arena, domains: DomainTable, types: PageTypes, flushes: "memoryview[int]") -> None:
        frames = types.frames
        self._width, self._nr, self._flushes = domains.width, frames.count, flushes
        self._words = numpy.frombuffer(arena.u64, numpy.uint64)
        self._type = numpy.frombuffer(types.table.type, numpy.uint8)
        self._count = numpy.frombuffer(types.table.count, numpy.uint32)
        self._stamp = numpy.frombuffer(types.table.stamp, numpy.uint32)
        self._refs = numpy.frombuffer(frames.table.refs, numpy.uint32)
        self._owner = numpy.frombuffer(frames.table.owner, numpy.uint16)
        self._kind = numpy.frombuffer(frames.table.kind, numpy.uint8)
        self._alive = numpy.frombuffer(frames.table.flags, numpy.uint8)

    def promote(self, mfn: int, domid: Domid) -> bool:
        """Take all that the entries of table `mfn` refer to, and mark them as Xen does."""
        table = self._words[mfn << 9:(mfn << 9) + 512]
        present = table[table & _P != 0]
        frames = self._own_frames(present, domid)
        if frames is None or not self._may_take(present, frames):
            return False
        self._take(present, frames)
        if self._width[domid] == 64:
            table[:] = adjust_l1_all(table)
        return True

    def demote(self, mfn: int, domid: Domid) -> bool:
        """Give back all that the entries of table `mfn` refer to."""
        table = self._words[mfn << 9:(mfn << 9) + 512]
        present = table[table & _P != 0]
        frames = self._own_frames(present, domid)
        if frames is None or not self._may_give(present, frames):
            return False
        self._give(present, frames, domid)
        return True

    def update(self, requests: _Words, domid: Domid) -> bool:
        """Do mmu_update's requests (rows of pointer and value) to the domain's live L1 tables."""
        pointers, new = requests[:, 0], requests[:, 1]
        commands = pointers & numpy.uint64(7)
        command = int(commands[0])
        if command not in (0, _PRESERVE_AD) or (commands != commands[0]).any():
            return False
        slots = (pointers >> numpy.uint64(3)).astype(numpy.int64)
        tables = numpy.unique(slots >> 9)
        if tables[-1] >= self._nr or not self._live_l1(tables, domid) or _repeats(slots):
            return False
        old = self._words[slots]
        changed = (old ^ new) & _SAME != 0
        taken, given = new[changed & (new & _P != 0)], old[changed & (old & _P != 0)]
        if (new & _BAD != 0)[new & _P != 0].any():
            return False
        taken_frames, given_frames = self._own_frames(taken, domid), self._own_frames(given, domid)
        if taken_frames is None or given_frames is None or not self._may_take(taken, taken_frames) or (
                not self._may_give(given, given_frames)):
            return False
        self._take(taken, taken_frames)
        self._give(given, given_frames, domid)
        if self._width[domid] == 64:
            new = adjust_l1_all(new)
        self._words[slots] = new | old & _AD if command == _PRESERVE_AD else new
        return True

    def _live_l1(self, tables: "NDArray[numpy.int64]", domid: Domid) -> bool:
        return bool(((self._type[tables] == PageType.L1) & (self._count[tables] != 0)
                     & (self._owner[tables] == domid) & (self._kind[tables] == FrameKind.RAM)).all())

    def _own_frames(self, entries: _Words, domid: Domid) -> "NDArray[numpy.int64] | None":
        """The frames that the entries name, if all are RAM of the domain that it has not given back."""
        frames = (entries >> _SHIFT & _MFN).astype(numpy.int64)
        if len(frames) and frames.max() >= self._nr:
            return None
        own = (self._owner[frames] == domid) & (self._kind[frames] == FrameKind.RAM) & (
            self._alive[frames] == ALLOCATED)
        return frames if own.all() else None

    def _may_take(self, entries: _Words, frames: "NDArray[numpy.int64]") -> bool:
        if (entries & _BAD).any():
            return False
        writable = frames[entries & _PW == _PW]
        return bool(((self._type[writable] == PageType.WRITABLE) | (self._count[writable] == 0)).all())

    def _may_give(self, entries: _Words, frames: "NDArray[numpy.int64]") -> bool:
        """Taking away the view of an LDT is the other module's affair."""
        readable = frames[entries & _PW == _P]
        return not ((self._type[readable] == PageType.SEG_DESC) & (self._count[readable] != 0)).any()

    def _take(self, entries: _Words, frames: "NDArray[numpy.int64]") -> None:
        numpy.add.at(self._refs, frames, _ONE)
        writable = frames[entries & _PW == _PW]
        self._type[writable] = PageType.WRITABLE
        numpy.add.at(self._count, writable, _ONE)

    def _give(self, entries: _Words, frames: "NDArray[numpy.int64]", domid: Domid) -> None:
        numpy.subtract.at(self._refs, frames, _ONE)
        writable = frames[entries & _PW == _PW]
        numpy.subtract.at(self._count, writable, _ONE)
        self._stamp[writable] = self._flushes[domid]


def _repeats(slots: "NDArray[numpy.int64]") -> bool:
    ordered = numpy.sort(slots)
    return bool((ordered[1:] == ordered[:-1]).any())
