"""The frames of grant tables that guests see: of entries, and in version 2 also of status words."""

from collections.abc import Mapping

from abi.errno import Errno, XenError
from abi.types import Domid, Mfn
from grants.entries import Entries
from grants.interfaces import MemoryManager
from grants.tables import (
    FRAMES_PER_STATUS_FRAME,
    GrantDomainTable,
    GrantFrameTable,
    GrantStatusTable,
    status_frames,
)
from state.arena import Arena


class TableFrames:
    """`entries` are by version."""

    def __init__(self, domains: GrantDomainTable, shared: GrantFrameTable, status: GrantStatusTable,
                 entries: Mapping[int, Entries], memory: MemoryManager, arena: Arena) -> None:
        self._domains, self._entries, self._memory, self._arena = domains, entries, memory, arena
        self._shared, self._status = shared.mfn, status.mfn
        self._share, self._status_share = shared.rows // domains.rows, status.rows // domains.rows

    @property
    def most(self) -> int:
        """Frames of entries for which a domain has room."""
        return min(self._share, self._status_share * FRAMES_PER_STATUS_FRAME)

    def shared(self, domid: Domid) -> list[Mfn]:
        """The frames of a domain's entries."""
        first = domid * self._share
        return list(self._shared[first:first + self._domains.nr_frames[domid]])

    def status(self, domid: Domid) -> list[Mfn]:
        """The frames of a domain's status words."""
        first = domid * self._status_share
        count = status_frames(self._domains.version[domid], self._domains.nr_frames[domid])
        return list(self._status[first:first + count])

    def grow(self, domid: Domid, frames: int) -> None:
        """Have at least `frames` frames, and the status frames for them.

        Raises XenError(ENOMEM), and then has as many as before.
        """
        before = self._domains.nr_frames[domid]
        version = self._domains.version[domid]
        try:
            for index in range(before, frames):
                self._add_status(domid, status_frames(version, index), status_frames(version, index + 1))
                try:
                    self._shared[domid * self._share + index] = self._memory.allocate_xen_frame(domid)
                except XenError:
                    self._drop_status(domid, status_frames(version, index), status_frames(version, index + 1))
                    raise
                self.resize(domid, index + 1)
        except XenError:
            self.shrink(domid, before)
            raise

    def shrink(self, domid: Domid, frames: int) -> None:
        """Have no more than `frames` frames."""
        before, version = self._domains.nr_frames[domid], self._domains.version[domid]
        for index in range(frames, before):
            self._memory.put_page(self._shared[domid * self._share + index])
        self._drop_status(domid, status_frames(version, frames), status_frames(version, before))
        self.resize(domid, frames)

    def resize(self, domid: Domid, frames: int) -> None:
        """The domain has so many frames of entries of its version."""
        self._domains.nr_frames[domid] = frames
        self._domains.nr_entries[domid] = frames * self._entries[self._domains.version[domid]].per_frame

    def clear(self, domid: Domid) -> None:
        """No entry says anything."""
        for mfn in self.shared(domid):
            self._arena.zero(mfn)

    def populate_status(self, domid: Domid) -> None:
        """Make the status frames of a domain that is about to have version 2.  Raises XenError(ENOMEM)."""
        self._add_status(domid, 0, status_frames(2, self._domains.nr_frames[domid]))

    def unpopulate_status(self, domid: Domid) -> None:
        """Free the status frames of a domain of version 2.

        Raises XenError(EBUSY), and frees none, while anything but the table, or the guest's sight of them, refers to
        them: a PV guest has to unmap them first.
        """
        frames = self.status(domid)
        if any(self._memory.references(mfn) != 1 for mfn in frames):
            raise XenError(Errno.EBUSY)
        self._drop_status(domid, 0, len(frames))

    def _add_status(self, domid: Domid, before: int, count: int) -> None:
        """Have `count` status frames instead of `before`, or as many as before and XenError(ENOMEM)."""
        for index in range(before, count):
            try:
                self._status[domid * self._status_share + index] = self._memory.allocate_xen_frame(domid)
            except XenError:
                self._drop_status(domid, before, index)
                raise

    def _drop_status(self, domid: Domid, first: int, end: int) -> None:
        for index in range(first, end):
            self._memory.put_page(self._status[domid * self._status_share + index])
