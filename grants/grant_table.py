"""Grant tables of all domains of a host: their birth, size, version and end (xen/common/grant_table.c of Xen 4.17).

`GrantTables.mappings` and `GrantTables.copies` do the rest.  Nothing here keeps shared state: any process that lays
the same tables over the same bytes may go on where another stopped.
"""

from collections.abc import Callable, Sequence

from abi.errno import Errno, XenError
from abi.grant_table import GrantStatus, GTF_permit_access
from abi.types import Domid, Gfn, GrantHandle, GrantRef, Mfn
from grants.copy import GrantCopies
from grants.entry_v1 import Entries, EntriesV1
from grants.errors import GrantError
from grants.interfaces import HostMapping, MemoryManager
from grants.map import GrantMappings
from grants.tables import (
    DEFAULT_MAX_GRANT_FRAMES,
    DEFAULT_MAX_MAPTRACK_FRAMES,
    HANDLES_PER_FRAME,
    NO_HANDLE,
    ActiveTable,
    GrantDomainTable,
    GrantFrameTable,
    MaptrackTable,
)
from state.arena import Arena

_INITIAL_FRAMES = 1
Require = Callable[[Domid, int], None]
"""Called with a domain that acts and another before anything of the other's is looked at; may raise, and then the whole
operation is asked for again."""


class GrantTables:
    """`hosts` gives the HostMapping for each number that `create` is told as a domain's `kind`."""

    def __init__(self, domains: GrantDomainTable, frames: GrantFrameTable, active: ActiveTable,
                 maptrack: MaptrackTable, arena: Arena, memory: MemoryManager, hosts: Sequence[HostMapping]) -> None:
        self.domains, self._frames, self._active = domains, frames, active
        self.require: Require = lambda domid, other: None
        self._memory, self._hosts = memory, hosts
        self._entries: dict[int, Entries] = {1: EntriesV1(domains, frames, arena)}
        self._frame_share = frames.rows // domains.rows
        self._ref_share = active.rows // domains.rows
        self._handle_share = maptrack.rows // domains.rows
        self.mappings = GrantMappings(domains, active, maptrack, self._entries, memory, hosts)
        self.copies = GrantCopies(domains, active, self._entries, memory, arena)

    def set_require(self, require: Require) -> None:
        """Have `require` asked before a domain's operation touches another domain."""
        self.require = self.mappings.require = self.copies.require = require

    def set_fetch(self, fetch: Callable[[Domid, Mfn], None]) -> None:
        """On a host of several nodes: `fetch` is called with a domain and a frame that it granted, when that has been
        mapped, or is about to be copied from or to."""
        self.mappings.fetch = self.copies.fetch = fetch

    def create(self, domid: Domid, kind: int, max_frames: int = DEFAULT_MAX_GRANT_FRAMES,
               max_maptrack_frames: int = DEFAULT_MAX_MAPTRACK_FRAMES, max_version: int = 1) -> None:
        """Give a new domain its table, of one frame.

        Raises XenError: EEXIST while the domain has one, EBUSY while others have grants of a former domain of this
        number mapped, EINVAL where the host's tables are laid out for less, ENOMEM.
        """
        domains = self.domains
        if domains.version[domid]:
            raise XenError(Errno.EEXIST)
        if domains.lingering[domid]:
            raise XenError(Errno.EBUSY)
        room = min(self._frame_share, self._ref_share // 512)
        if not _INITIAL_FRAMES <= max_frames <= room or max_maptrack_frames > self._handle_share // HANDLES_PER_FRAME:
            raise XenError(Errno.EINVAL)
        domains.clear(domid)
        domains.kind[domid], domains.max_version[domid], domains.max_frames[domid] = kind, max_version, max_frames
        domains.maptrack_max[domid] = max_maptrack_frames * HANDLES_PER_FRAME
        domains.maptrack_head[domid] = domains.maptrack_tail[domid] = GrantHandle(NO_HANDLE)
        domains.version[domid] = 1
        try:
            self._grow(domid, _INITIAL_FRAMES)
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
        self._shrink(domid, 0)
        self.domains.version[domid] = 0

    def exists(self, domid: Domid) -> bool:
        """A domain of this number lives, and has a grant table."""
        return domid < self.domains.rows and self.domains.version[domid] != 0

    def setup_table(self, domid: Domid, frames: int) -> list[int]:
        """Have at least `frames` frames, and name the first `frames` as the guest does.  Raises GrantError."""
        if frames > self.domains.max_frames[domid]:
            raise GrantError(GrantStatus.general_error)
        try:
            self._grow(domid, frames)
        except XenError:
            raise GrantError(GrantStatus.general_error) from None
        host, first = self._hosts[self.domains.kind[domid]], domid * self._frame_share
        return [host.frame_number(domid, mfn) for mfn in self._frames.mfn[first:first + frames]]

    def query_size(self, domid: Domid) -> tuple[int, int]:
        """Frames that the table has, and may have."""
        return self.domains.nr_frames[domid], self.domains.max_frames[domid]

    def shared_frame(self, domid: Domid, index: int) -> Mfn:
        """Frame `index` of the table, which grows to have it (gnttab_map_frame, for XENMAPSPACE_grant_table).

        An index with XENMAPIDX_grant_table_status names nothing in version 1: it is too large, as in Xen.
        Raises XenError: EINVAL beyond the limit, ENOMEM.
        """
        if index >= self.domains.max_frames[domid]:
            raise XenError(Errno.EINVAL)
        self._grow(domid, index + 1)
        return self._frames.mfn[domid * self._frame_share + index]

    def set_version(self, domid: Domid, version: int) -> None:
        """Change the version of the table.  Raises XenError: EINVAL for none, ENOSYS for one the domain may not use."""
        if version not in (1, 2):
            raise XenError(Errno.EINVAL)
        if version > self.domains.max_version[domid] or version not in self._entries:
            raise XenError(Errno.ENOSYS)
        self.domains.version[domid] = version

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
        self._entries[self.domains.version[domid]].write(domid, ref, grantee, gfn, GTF_permit_access)

    def mapped(self, domid: Domid) -> tuple[int, int]:
        """How many grants the domain has mapped now, and how many it ever mapped."""
        mapped = self.domains.mapped[domid]
        return mapped - self.domains.unmapped[domid], mapped

    def _grow(self, domid: Domid, frames: int) -> None:
        """Have at least `frames` frames.  Raises XenError(ENOMEM), and then has as many as before."""
        before = self.domains.nr_frames[domid]
        try:
            for index in range(before, frames):
                self._frames.mfn[domid * self._frame_share + index] = self._memory.allocate_xen_frame(domid)
                self._resize(domid, index + 1)
        except XenError:
            self._shrink(domid, before)
            raise

    def _shrink(self, domid: Domid, frames: int) -> None:
        for index in range(frames, self.domains.nr_frames[domid]):
            self._memory.put_page(self._frames.mfn[domid * self._frame_share + index])
        self._resize(domid, frames)

    def _resize(self, domid: Domid, frames: int) -> None:
        self.domains.nr_frames[domid] = frames
        self.domains.nr_entries[domid] = frames * self._entries[self.domains.version[domid]].per_frame
