"""Which bytes have changed since one last looked, by comparison with a copy: for memory that is sent while it is used.

The engine's stores leave no mark anywhere, and asking the kernel for one would cost a fault a page.  Comparing reads
memory at its full speed: 64 MiB take about 20 ms (`python -m experiments.checkpoint_cost`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from abi.types import PAGE_SIZE
from state.sparse import data_pages

Range = tuple[int, int]
_BATCH = 32
"""Pages compared at once: both sides and the result stay in the processor's cache."""
_WORDS = PAGE_SIZE // 8


class DirtyScan:
    """Looks at `ranges` (offset, length) of `memory`, whose start is page aligned; whole pages in them are units.

    `descriptor` is the open file that `memory` maps from its start: its holes are not read, which would fill them.
    Without it everything is read.  The copy takes as much memory as what is not zero.
    """

    def __init__(self, memory: memoryview, ranges: Iterable[Range], descriptor: int | None = None) -> None:
        self._memory, self._descriptor = memory, descriptor
        whole = len(memory) // PAGE_SIZE
        self._words: Any = numpy.frombuffer(memory[:whole * PAGE_SIZE], numpy.uint64).reshape(-1, _WORDS)
        self._runs: list[tuple[int, int, int]] = []
        """Whole pages: the first, how many, and where their copies begin."""
        self._edges: dict[Range, bytes] = {}
        """Parts of pages, and their copies."""
        count = 0
        for offset, length in ranges:
            first, end = -(-offset // PAGE_SIZE), (offset + length) // PAGE_SIZE
            if first >= end:
                self._add_edges(offset, offset + length)
                continue
            self._add_edges(offset, first * PAGE_SIZE)
            self._add_edges(end * PAGE_SIZE, offset + length)
            self._runs.append((first, end - first, count))
            count += end - first
        self._copy: Any = numpy.zeros((count, _WORDS), numpy.uint64)
        self._kept = numpy.zeros(count, bool)
        """Of which pages the copy may be other than zero."""
        self._differ = numpy.empty((_BATCH, _WORDS), bool)

    def _add_edges(self, start: int, end: int) -> None:
        while start < end:
            here = min(end, start + PAGE_SIZE - start % PAGE_SIZE)
            self._edges[start, here - start] = bytes(here - start)
            start = here

    def scan(self) -> list[Range]:
        """What is other than at the last scan; at the first, what is not zero.  Ascending, and joined."""
        return _joined((offset, len(data)) for offset, data in self.changes())

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """The same bit by bit, in no order, each with what is there, which is also what the next scan compares with.

        Who looks into the memory himself, where somebody writes to it meanwhile, sees something else, perhaps, and is
        not told when that becomes again what it was.
        """
        there = self._data()
        for offset, length in self._changed_edges(there):
            yield offset, self._edges[offset, length]
        for first, count, at in self._runs:
            for start in range(0, count, _BATCH):
                pages = self._changed_pages(first + start, min(_BATCH, count - start), at + start, there)
                for offset, length in _joined(pages):
                    row = at + offset // PAGE_SIZE - first
                    yield offset, self._copy[row:row + length // PAGE_SIZE].tobytes()

    def _data(self) -> Any:
        """Which pages of the memory are no holes."""
        pages = -(-len(self._memory) // PAGE_SIZE)
        if self._descriptor is None:
            return numpy.ones(pages, bool)
        data = numpy.zeros(pages, bool)
        for start, end in data_pages(self._descriptor, len(self._memory)):
            data[start:end] = True
        return data

    def _changed_edges(self, data: Any) -> Iterable[Range]:
        for (offset, length), copy in self._edges.items():
            now = bytes(self._memory[offset:offset + length]) if data[offset // PAGE_SIZE] else bytes(length)
            if now != copy:
                self._edges[offset, length] = now
                yield offset, length

    def _changed_pages(self, first: int, count: int, at: int, data: Any) -> list[Range]:
        there, kept = data[first:first + count], self._kept[at:at + count]
        if not (there | kept).any():
            return []
        copy, differ = self._copy[at:at + count], self._differ[:count]
        if there.all():
            now = self._words[first:first + count]
        else:
            now = numpy.zeros((count, _WORDS), numpy.uint64)
            now[there] = self._words[first:first + count][there]
        numpy.not_equal(now, copy, out=differ)
        if not differ.any():
            return []
        indices = numpy.flatnonzero(differ.any(axis=1))
        copy[indices] = now[indices]
        kept[indices] = True
        return [((first + index) * PAGE_SIZE, PAGE_SIZE) for index in indices.tolist()]


def _joined(changed: Iterable[Range]) -> list[Range]:
    joined: list[Range] = []
    for offset, length in sorted(changed):
        if joined and sum(joined[-1]) == offset:
            joined[-1] = joined[-1][0], joined[-1][1] + length
        else:
            joined.append((offset, length))
    return joined
