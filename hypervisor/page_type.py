"""What each frame is used for: types, their counts, and the references that go with them (xen/arch/x86/mm.c).

A frame has one type at a time, and may get another only when nothing uses it as what it is.  Since a writable mapping
is a use (WRITABLE), and so is being a page table, a guest never writes to a live page table but through Xen.
"""

from collections.abc import Callable

import numpy

from abi.errno import Errno, XenError
from abi.types import Domid, Mfn
from hypervisor.frames import FrameKind, Frames
from hypervisor.pv_tables import PageType, PageTypeTable, PvDomainTable, TypeFlag

_NONE, _L4, _WRITABLE = int(PageType.NONE), int(PageType.L4), int(PageType.WRITABLE)
_PINNED, _VALIDATED, _XEN_L2 = int(TypeFlag.PINNED), int(TypeFlag.VALIDATED), int(TypeFlag.PAE_XEN_L2)
_XENHEAP = int(FrameKind.XENHEAP)


class PageTypes:
    """The frames' types.  `flush(domid)` makes a domain forget its translations.

    `promote(mfn, type, flags)` checks a frame's contents for a type and takes what they refer to, or raises XenError
    and has taken nothing; `demote(mfn, type)` gives that back.  Both are set by `page_tables.PageTables`.
    """

    promote: Callable[[int, int, int], None]
    demote: Callable[[int, int], None]

    def __init__(self, frames: Frames, table: PageTypeTable, domains: PvDomainTable,
                 flush: Callable[[Domid], None]) -> None:
        self.frames, self.table, self._flush = frames, table, flush
        self._type, self._count, self._flags = table.type, table.count, table.flags
        self._stamp, self._linear, self._flushes = table.stamp, table.linear, domains.flushes
        self._kind, self._owner = frames.table.kind, frames.table.owner
        self._types = numpy.frombuffer(table.type, numpy.uint8)
        self._all_flags = numpy.frombuffer(table.flags, numpy.uint8)

    def get_type(self, mfn: int, kind: int, flags: int = 0) -> None:
        """Use a frame, on which the caller holds a reference, as `kind` (get_page_type).

        Raises XenError: EINVAL while it is something else, and what its validation finds.
        """
        count = self._count[mfn]
        if count:
            if self._type[mfn] != kind or self._flags[mfn] & _XEN_L2 != flags:
                raise XenError(Errno.EINVAL)
            self._count[mfn] = count + 1
            return
        if kind == _WRITABLE:
            self._type[mfn] = kind
            self._count[mfn] = 1
            return
        if self._kind[mfn] == _XENHEAP:  # shared with its owner for writing, for ever
            raise XenError(Errno.EINVAL)
        if self._type[mfn] == _WRITABLE:
            owner = self._owner[mfn]
            if self._stamp[mfn] == self._flushes[owner]:
                self._flush(Domid(owner))
        self._type[mfn], self._count[mfn], self._flags[mfn] = kind, 1, flags
        try:
            self.promote(mfn, kind, flags)
        except XenError:
            self._type[mfn], self._count[mfn], self._flags[mfn] = _NONE, 0, 0
            raise
        self._flags[mfn] |= _VALIDATED

    def put_type(self, mfn: int) -> None:
        """End a use of a frame; the caller still holds its reference (put_page_type)."""
        count = self._count[mfn] - 1
        if count:
            self._count[mfn] = count
            return
        kind = self._type[mfn]
        if kind == _WRITABLE:
            self._stamp[mfn] = self._flushes[self._owner[mfn]]
        elif kind <= _L4:
            self.demote(mfn, kind)
            self._flags[mfn] = 0
        self._count[mfn] = 0

    def get(self, mfn: int, kind: int, domid: Domid, flags: int = 0) -> None:
        """Refer to a frame of `domid`, as `kind` (get_page_and_type_from_mfn).

        Raises XenError as `get_type`, and EINVAL where the frame is not the domain's.
        """
        if not self.frames.valid(mfn) or not self.frames.get_page(Mfn(mfn), domid):
            raise XenError(Errno.EINVAL)
        try:
            self.get_type(mfn, kind, flags)
        except XenError:
            self.frames.put_page(Mfn(mfn))
            raise

    def put(self, mfn: int) -> None:
        """End what `get` began (put_page_and_type)."""
        self.put_type(mfn)
        self.frames.put_page(Mfn(mfn))

    def pin(self, mfn: int, kind: int, domid: Domid) -> None:
        """Keep a frame's type whatever uses it (MMUEXT_PIN_*).  Raises XenError: EINVAL, also where it is pinned."""
        self.get(mfn, kind, domid)
        if self._flags[mfn] & _PINNED:
            self.put(mfn)
            raise XenError(Errno.EINVAL)
        self._flags[mfn] |= _PINNED

    def unpin(self, mfn: int, domid: Domid) -> None:
        """Undo `pin`.  Raises XenError(EINVAL) where the frame is not the domain's, or not pinned."""
        if not self.frames.valid(mfn) or self._owner[mfn] != domid or not self._kind[mfn]:
            raise XenError(Errno.EINVAL)
        if not self._flags[mfn] & _PINNED:
            raise XenError(Errno.EINVAL)
        self._flags[mfn] &= ~_PINNED
        self.put(mfn)

    def forget(self, mfn: int, count: int) -> None:
        """`count` frames in a row are free, and are nothing any more."""
        for column in (self._types, self._all_flags):
            column[mfn:mfn + count] = 0

    def live(self, mfn: int) -> int:
        """The type that a frame is in use as, validated; NONE for any other (page_lock)."""
        return self._type[mfn] if self._count[mfn] else _NONE

    def may_write(self, mfn: int) -> bool:
        """Whether Xen may write to a frame on a guest's behalf: nothing uses it as something else."""
        return not self._count[mfn] or self._type[mfn] == _WRITABLE

    def get_linear(self, mfn: int, kind: int, holder: int, domid: Domid) -> bool:
        """Let table `holder` name `mfn`, a validated table of its own level, as one of the level below.

        They must not form chains: a table that holds recursive entries is not named by others (get_linear_pagetable).
        """
        if mfn == holder:
            return True
        if not self.frames.valid(mfn) or self._linear[mfn] > 0 or self._linear[holder] < 0:
            return False
        if self._type[mfn] != kind or not self._count[mfn] or not self._flags[mfn] & _VALIDATED:
            return False
        if not self.frames.get_page(Mfn(mfn), domid):
            return False
        self._linear[mfn] -= 1
        self._linear[holder] += 1
        self._count[mfn] += 1
        return True

    def put_linear(self, mfn: int, holder: int) -> None:
        """End what `get_linear` began."""
        if mfn != holder:
            self._linear[mfn] += 1
            self._linear[holder] -= 1
            self.put(mfn)
