"""GNTTABOP_set_version: from one layout of a domain's entries to the other.

All entries are lost but the reserved ones, by which the toolstack granted the console's and the store's ring, and which
may be mapped meanwhile.
"""

from collections.abc import Callable, Mapping

from abi.errno import Errno, XenError
from abi.grant_table import GNTTAB_NR_RESERVED_ENTRIES, GTF_permit_access, GTF_transitive, GTF_type_mask
from abi.types import Domid, Gfn, GrantRef
from grants.entries import Entries, Entry
from grants.frames import TableFrames
from grants.tables import ActiveTable, GrantDomainTable

_NOTHING = Entry(0, Domid(0), Gfn(0))
_RESERVED = [GrantRef(ref) for ref in range(GNTTAB_NR_RESERVED_ENTRIES)]


class GrantVersions:
    """`entries` are by version."""

    def __init__(self, domains: GrantDomainTable, active: ActiveTable, entries: Mapping[int, Entries],
                 frames: TableFrames) -> None:
        self._domains, self._pin, self._entries, self._frames = domains, active.pin, entries, frames
        self._refs = active.rows // domains.rows
        self.crash: Callable[[Domid], None] = lambda domid: None
        """Told of a domain whose status frames cannot be taken from it; a translated one does not survive that."""

    def set_version(self, domid: Domid, version: int) -> None:
        """Change the version of the table.

        Raises XenError, and then nothing has changed: EINVAL for a version that there is not, ENOSYS for one that the
        domain may not use, EBUSY while others have grants mapped beside the reserved ones, or while status frames that
        have to go are mapped, ERANGE where a reserved entry cannot be said in version 1, ENOMEM.
        """
        domains = self._domains
        if version not in self._entries:
            raise XenError(Errno.EINVAL)
        if version > domains.max_version[domid]:
            raise XenError(Errno.ENOSYS)
        before = domains.version[domid]
        if version == before:
            return
        first = domid * self._refs
        if any(self._pin[first + GNTTAB_NR_RESERVED_ENTRIES:first + domains.nr_entries[domid]]):
            raise XenError(Errno.EBUSY)
        if version == 2:
            self._frames.populate_status(domid)
            kept = self._reserved(domid, 1)
        else:
            kept = [self._in_version_1(entry) for entry in self._reserved(domid, 2)]
            try:
                self._frames.unpopulate_status(domid)
            except XenError:
                self.crash(domid)
                raise
        self._frames.clear(domid)
        domains.version[domid] = version
        self._frames.resize(domid, domains.nr_frames[domid])
        for ref, entry in zip(_RESERVED, kept, strict=True):
            self._entries[version].write(domid, ref, entry)

    def _reserved(self, domid: Domid, version: int) -> list[Entry]:
        return [self._entries[version].read(domid, ref) for ref in _RESERVED]

    def _in_version_1(self, entry: Entry) -> Entry:
        """What becomes of an entry of version 2: what permits no access is dropped.  Raises XenError(ERANGE)."""
        kind = entry.flags & GTF_type_mask
        if kind == GTF_transitive or (kind == GTF_permit_access and entry.frame >> 32):
            raise XenError(Errno.ERANGE)
        return entry if kind == GTF_permit_access else _NOTHING
