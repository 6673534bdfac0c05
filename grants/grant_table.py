"""Grant tables of all domains of a host: their birth, size and end (xen/common/grant_table.c of Xen 4.17).

`GrantTables.mappings`, `copies`, `transfers` and `versions` do the rest.  Nothing here keeps shared state: any process
that lays the same tables over the same bytes may go on where another stopped.
"""

from collections.abc import Callable, Sequence

from abi.errno import Errno, XenError
from abi.grant_table import GrantStatus, GTF_permit_access
from abi.memory import XENMAPIDX_grant_table_status
from abi.types import Domid, Gfn, GrantHandle, GrantRef, Mfn
from grants.copy import GrantCopies
from grants.entries import Entries, Entry
from grants.entry_v1 import EntriesV1
from grants.entry_v2 import EntriesV2
from grants.errors import GrantError
from grants.frames import TableFrames
from grants.interfaces import HostMapping, MemoryManager, PageMover
from grants.map import GrantMappings
from grants.tables import (
    DEFAULT_MAX_GRANT_FRAMES,
    DEFAULT_MAX_MAPTRACK_FRAMES,
    FRAMES_PER_STATUS_FRAME,
    HANDLES_PER_FRAME,
    NO_HANDLE,
    ActiveTable,
    GrantDomainTable,
    GrantFrameTable,
    GrantStatusTable,
    MaptrackTable,
)
from grants.transfer import GrantTransfers
from grants.version import GrantVersions
from state.arena import Arena

_INITIAL_FRAMES = 1
Require = Callable[[Domid, int], None]
"""Called with a domain that acts and another before anything of the other's is looked at; may raise, and then the whole
operation is asked for again."""


class GrantTables:
    """`hosts` gives the HostMapping for each number that `create` is told as a domain's `kind`."""

    def __init__(self, domains: GrantDomainTable, frames: GrantFrameTable, status: GrantStatusTable,
                 active: ActiveTable, maptrack: MaptrackTable, arena: Arena, memory: MemoryManager, pages: PageMover,
                 hosts: Sequence[HostMapping]) -> None:
        self.domains, self._active = domains, active
        self.require: Require = lambda domid, other: None
        self._hosts = hosts
        self._entries: dict[int, Entries] = {
            1: EntriesV1(domains, frames, arena), 2: EntriesV2(domains, frames, status, arena)}
        self._frames = TableFrames(domains, frames, status, self._entries, memory, arena)
        self._ref_share = active.rows // domains.rows
        self._handle_share = maptrack.rows // domains.rows
        self.mappings = GrantMappings(domains, active, maptrack, self._entries, memory, hosts)
        self.copies = GrantCopies(domains, active, self._entries, memory, arena)
        self.transfers = GrantTransfers(domains, self._entries, pages)
        self.versions = GrantVersions(domains, active, self._entries, self._frames)
        self.set_version = self.versions.set_version

    def set_require(self, require: Require) -> None:
        """Have `require` asked before a domain's operation touches another domain."""
        self.require = self.mappings.require = self.copies.require = self.transfers.require = require

    def set_fetch(self, fetch: Callable[[Domid, Mfn], None]) -> None:
        """On a host of several nodes: `fetch` is called with a domain and a frame that it granted, when that has been
        mapped, or is about to be copied from or to."""
        self.mappings.fetch = self.copies.fetch = fetch

    def create(self, domid: Domid, kind: int, max_frames: int = DEFAULT_MAX_GRANT_FRAMES,
               max_maptrack_frames: int = DEFAULT_MAX_MAPTRACK_FRAMES, max_version: int = 2) -> None:
        """Give a new domain its table, of one frame.

        Raises XenError: EEXIST while the domain has one, EBUSY while others have grants of a former domain of this
        number mapped, EINVAL where the host's tables are laid out for less, ENOMEM.
        """
        domains = self.domains
        if domains.version[domid]:
            raise XenError(Errno.EEXIST)
        if domains.lingering[domid]:
            raise XenError(Errno.EBUSY)
        room = min(self._frames.most, self._ref_share // 512)
        if not _INITIAL_FRAMES <= max_frames <= room or max_maptrack_frames > self._handle_share // HANDLES_PER_FRAME:
            raise XenError(Errno.EINVAL)
        domains.clear(domid)
        domains.kind[domid], domains.max_version[domid], domains.max_frames[domid] = kind, max_version, max_frames
        domains.maptrack_max[domid] = max_maptrack_frames * HANDLES_PER_FRAME
        domains.maptrack_head[domid] = domains.maptrack_tail[domid] = GrantHandle(NO_HANDLE)
        domains.version[domid] = 1
        try:
            self._frames.grow(domid, _INITIAL_FRAMES)
        except XenError:
            domains.version[domid] = 0
            raise

    def destroy(self, domid: Domid) -> None:
        """The domain dies: what it has mapped is unmapped, and its table is gone.  Its p2m must still stand.

        Frames of its own that others have mapped stay theirs to use and to unmap.
        """
        if not self.domains.version[domid]:
            return
        self.mappings.release_mappings(domid)
        first, entries = domid * self._ref_share, self.domains.nr_entries[domid]
        self.domains.lingering[domid] = entries - self._active.pin[first:first + entries].tolist().count(0)
        self._frames.shrink(domid, 0)
        self.domains.version[domid] = 0

    def exists(self, domid: Domid) -> bool:
        """A domain of this number lives, and has a grant table."""
        return domid < self.domains.rows and self.domains.version[domid] != 0

    def setup_table(self, domid: Domid, frames: int) -> list[int]:
        """Have at least `frames` frames, and name the first `frames` as the guest does.  Raises GrantError."""
        if frames > self.domains.max_frames[domid]:
            raise GrantError(GrantStatus.general_error)
        try:
            self._frames.grow(domid, frames)
        except XenError:
            raise GrantError(GrantStatus.general_error) from None
        return self._named(domid, self._frames.shared(domid)[:frames])

    def status_frames(self, domid: Domid, frames: int) -> list[int]:
        """The first `frames` status frames as the guest names them (gnttab_get_status_frames).

        Raises GrantError where there are not so many; in version 1 there are none.
        """
        found = self._frames.status(domid)
        if frames > len(found):
            raise GrantError(GrantStatus.general_error)
        return self._named(domid, found[:frames])

    def _named(self, domid: Domid, frames: Sequence[Mfn]) -> list[int]:
        host = self._hosts[self.domains.kind[domid]]
        return [host.frame_number(domid, mfn) for mfn in frames]

    def query_size(self, domid: Domid) -> tuple[int, int]:
        """Frames that the table has, and may have."""
        return self.domains.nr_frames[domid], self.domains.max_frames[domid]

    def shared_frame(self, domid: Domid, index: int) -> Mfn:
        """Frame `index` of the table, which grows to have it (gnttab_map_frame, for XENMAPSPACE_grant_table).

        With XENMAPIDX_grant_table_status in the index it is a status frame.  In version 1 such an index names nothing:
        it is too large, as in Xen.  Raises XenError: EINVAL beyond the limit, ENOMEM.
        """
        if self.domains.version[domid] == 2 and index & XENMAPIDX_grant_table_status:
            return self._status_frame(domid, index & ~XENMAPIDX_grant_table_status)
        if index >= self.domains.max_frames[domid]:
            raise XenError(Errno.EINVAL)
        self._frames.grow(domid, index + 1)
        return self._frames.shared(domid)[index]

    def _status_frame(self, domid: Domid, index: int) -> Mfn:
        """Status frame `index`; where there is none yet, the table grows to fill it with status words."""
        if index >= len(self._frames.status(domid)):
            frames = (index + 1) * FRAMES_PER_STATUS_FRAME
            if frames > self.domains.max_frames[domid]:
                raise XenError(Errno.EINVAL)
            self._frames.grow(domid, frames)
        return self._frames.status(domid)[index]

    def swap_grant_ref(self, domid: Domid, a: GrantRef, b: GrantRef) -> None:
        """Exchange two of the domain's entries.  Raises GrantError."""
        if max(a, b) >= self.domains.nr_entries[domid]:
            raise GrantError(GrantStatus.bad_gntref)
        if a == b:
            return
        first = domid * self._ref_share
        if self._active.pin[first + a] or self._active.pin[first + b]:
            raise GrantError(GrantStatus.eagain)
        self._entries[self.domains.version[domid]].swap(domid, a, b)

    def seed(self, domid: Domid, ref: GrantRef, grantee: Domid, gfn: Gfn) -> None:
        """Grant `gfn` on the domain's behalf, as its builder does for the console's and the store's ring."""
        self._entries[self.domains.version[domid]].write(domid, ref, Entry(GTF_permit_access, grantee, gfn))

    def mapped(self, domid: Domid) -> tuple[int, int]:
        """How many grants the domain has mapped now, and how many it ever mapped."""
        mapped = self.domains.mapped[domid]
        return mapped - self.domains.unmapped[domid], mapped
