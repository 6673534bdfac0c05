"""Machine frames: who owns each one, what keeps it alive, and where its owner sees it (Xen's struct page_info).

A frame lives as long as its allocation or a reference does.  When a domain gives a frame back, or dies, the allocation
goes; mappings of grants and foreign mappings are references, and the last of them to go frees the frame.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import ClassVar

import numpy

from abi.types import Domid, Mfn
from abi.xen import DOMID_INVALID, DOMID_XEN
from hypervisor.heap import Heap
from hypervisor.tables import DomainTable
from state.table import Table


class FrameKind(IntEnum):
    FREE = 0
    RAM = 1
    """A domain's own memory (Xen's domain heap)."""
    XENHEAP = 2
    """The hypervisor's memory that a domain may see: shared_info, grant table frames.  References alone keep it."""
    TABLE = 3
    """A nested page table, or another page that no guest ever sees."""
    RESERVED = 4
    """Not memory: what lies below the first frame that the host may use."""


ALLOCATED = 1
"""In `flags`: the owner has not given the frame back (PGC_allocated)."""
INVALID_M2P = (1 << 64) - 1
"""In `gfn`: the owner does not see the frame (INVALID_M2P_ENTRY)."""


_HOST = Domid(0)


class FrameTable(Table):
    """A row a frame.  All zero is a free frame, so that a large table of a sparse file costs only what is used.

    `gfn` comes first: where the table begins on a page, that column is what a 64-bit PV guest reads as its M2P.
    """

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "gfn": "Q", "refs": "I", "owner": "H", "kind": "B", "flags": "B", "previous": "I", "next": "I", "extent": "I",
        "heap": "H",
    }
    gfn: "memoryview[int]"
    """Where the owner sees the frame, or INVALID_M2P."""
    refs: "memoryview[int]"
    """References beside the allocation."""
    owner: "memoryview[int]"
    kind: "memoryview[int]"
    flags: "memoryview[int]"
    previous: "memoryview[int]"
    next: "memoryview[int]"
    extent: "memoryview[int]"
    """`previous`, `next` and `extent` are the heap's."""
    heap: "memoryview[int]"
    """Whose heap the frame belongs to, whoever owns it."""


class Frames:
    """The frames of one host.  `domains.tot_pages` counts the RAM frames that a domain owns, given back or not."""

    def __init__(self, table: FrameTable, heap: Heap, domains: DomainTable) -> None:
        self.table, self.heap = table, heap
        self.count = table.rows
        self._owner, self._kind, self._flags, self._refs = table.owner, table.kind, table.flags, table.refs
        self._tot_pages = domains.tot_pages
        self._owners = numpy.frombuffer(table.owner, numpy.uint16)
        self._kinds = numpy.frombuffer(table.kind, numpy.uint8)
        self._all_flags = numpy.frombuffer(table.flags, numpy.uint8)
        self._all_refs = numpy.frombuffer(table.refs, numpy.uint32)
        self.gfns = numpy.frombuffer(table.gfn, numpy.uint64)
        """The M2P, writable."""
        self.freed: Callable[[int, int], None] | None = None
        """Told the first frame and the number of those that go back to the heap, while they still have an owner."""

    def format(self, first: int, pool: int) -> None:
        """Make a new host's heap: frames below `first` are not memory, the `pool` frames from there are Xen's own."""
        self.heap.format(first, pool)
        self._kinds[:first] = FrameKind.RESERVED
        self._owners[:first] = DOMID_XEN

    def allocate_xen_frame(self, owner: Domid) -> Mfn:
        """One zeroed frame of the Xen heap that `owner` may see, with one reference.  Raises XenError(ENOMEM)."""
        mfn = self._take(owner, owner, FrameKind.XENHEAP)
        self._refs[mfn] = 1
        return mfn

    def allocate_table(self, domid: Domid = _HOST) -> Mfn:
        """One zeroed frame below 4 GiB that no guest sees, from what the hypervisor has for a domain, or for all.

        Raises XenError(ENOMEM).
        """
        return self._take(domid, Domid(DOMID_XEN), FrameKind.TABLE)

    def free_table(self, mfn: Mfn) -> None:
        """The end of a frame that `allocate_table` gave."""
        self.heap.free(mfn, 1)

    def allocate_extent(self, owner: Domid, frames: int, align: int = 1, below: int | None = None) -> Mfn:
        """`frames` zeroed RAM frames in a row for a domain, the first a multiple of `align`, all below frame `below`.

        Raises XenError(ENOMEM).
        """
        mfn = self.heap.allocate(owner, frames, align, self.count if below is None else below)
        end = mfn + frames
        self._owners[mfn:end] = owner
        self._kinds[mfn:end] = FrameKind.RAM
        self._all_flags[mfn:end] = ALLOCATED
        self.gfns[mfn:end] = INVALID_M2P
        self._tot_pages[owner] += frames
        return mfn

    def valid(self, mfn: int) -> bool:
        """Whether there is such a frame of memory (mfn_valid)."""
        return mfn < self.count and self._kind[mfn] != FrameKind.RESERVED

    def owner(self, mfn: Mfn) -> Domid:
        """Who owns a frame, also while only references keep it; DOMID_INVALID where it is free or does not exist."""
        return Domid(self._owner[mfn] if mfn < self.count and self._kind[mfn] else DOMID_INVALID)

    def is_xen_heap(self, mfn: Mfn) -> bool:
        """Whether the hypervisor's own pages are here (is_special_page)."""
        return self._kind[mfn] == FrameKind.XENHEAP

    def get_page(self, mfn: Mfn, domid: Domid) -> bool:
        """Take a reference to a frame, if `domid` owns it and it is not free."""
        if mfn >= self.count or self._owner[mfn] != domid or not self._kind[mfn]:
            return False
        self._refs[mfn] += 1
        return True

    def put_page(self, mfn: Mfn) -> None:
        """Drop a reference; the last one frees a frame that its owner has given back."""
        refs = self._refs[mfn] - 1
        self._refs[mfn] = refs
        if not refs and not self._flags[mfn]:
            self._free(mfn, 1)

    def drop_allocation(self, mfn: Mfn) -> None:
        """The owner gives a RAM frame back (put_page_alloc_ref).  A second time changes nothing."""
        if self._flags[mfn]:
            self._flags[mfn] = 0
            if not self._refs[mfn]:
                self._free(mfn, 1)

    def free_unused(self, mfn: Mfn) -> None:
        """Free a frame that nobody has allocated and nothing refers to, and that was not freed with the last of them:
        who should have done so died.
        """
        self._free(mfn, 1)

    def release(self, domid: Domid, first: int, end: int) -> int:
        """Give back the RAM frames of a dead domain in [first, end); returns how many are still referenced."""
        owned = (self._owners[first:end] == domid) & (self._kinds[first:end] == FrameKind.RAM)
        self._all_flags[first:end][owned] = 0
        unused = numpy.flatnonzero(owned & (self._all_refs[first:end] == 0)) + first
        if len(unused):
            for run in numpy.split(unused, numpy.flatnonzero(numpy.diff(unused) != 1) + 1):
                self._free(Mfn(int(run[0])), len(run))
        return int(owned.sum()) - len(unused)

    def _take(self, domid: Domid, owner: Domid, kind: FrameKind) -> Mfn:
        mfn = self.heap.take(domid)
        self._owner[mfn], self._kind[mfn] = owner, kind
        self.table.gfn[mfn] = INVALID_M2P
        return mfn

    def _free(self, mfn: Mfn, count: int) -> None:
        """Hand frames of one owner that nobody holds to the heap."""
        if self.freed is not None:
            self.freed(mfn, count)
        if self._kind[mfn] == FrameKind.RAM:
            self._tot_pages[self._owner[mfn]] -= count
        self.heap.free(mfn, count)
