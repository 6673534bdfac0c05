"""GNTTABOP_copy: the hypervisor copies bytes between two frames, each a page of the caller's or a grant to it.

Xen pins a granted frame for the time of a copy.  Here nothing can happen in that time, because the caller has the
baton; so the counters are not touched, only the checks and the lasting effects on the shared entry are made.
"""

from collections.abc import Callable, Mapping
from typing import Any

from abi.grant_table import GNTCOPY_dest_gref, GNTCOPY_source_gref, GrantStatus, GTF_reading, GTF_writing
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, GrantRef, Mfn
from abi.xen import DOMID_SELF
from grants.entry_v1 import Entries
from grants.errors import GrantError
from grants.interfaces import MemoryManager
from grants.page import frame_to_copy
from grants.pins import FULL, HOST_READ, HOST_WRITE, WRITERS
from grants.tables import ActiveTable, GrantDomainTable
from state.arena import Arena


class GrantCopies:
    """`entries` are by version."""

    def __init__(self, domains: GrantDomainTable, active: ActiveTable, entries: Mapping[int, Entries],
                 memory: MemoryManager, arena: Arena) -> None:
        self._entries, self._memory = entries, memory
        self._rows, self._version, self._nr_entries = domains.rows, domains.version, domains.nr_entries
        self._pin, self._grantee, self._frame = active.pin, active.domid, active.mfn
        self._refs = active.rows // domains.rows
        self._bytes = arena.u8
        self.require: Callable[[Domid, int], None] = lambda domid, other: None
        """See `grants.grant_table.Require`."""
        self.fetch: Callable[[Domid, Mfn], None] | None = None
        """See `grants.grant_table.GrantTables.set_fetch`."""
        self.may_write: Callable[[int], bool] | None = None
        """Where the host has PV guests: whether a frame may be written, or is a page table, say."""

    def copy(self, caller: Domid, source: Any, source_domid: Domid, source_offset: int,
             dest: Any, dest_domid: Domid, dest_offset: int, length: int, flags: int) -> None:
        """Copy `length` bytes.  `source` and `dest` are each a GrantRef or a Gfn, as `flags` say.

        Raises GrantError.
        """
        if not length:
            return
        giver = self._domain(caller, source_domid, flags & GNTCOPY_source_gref)
        taker = self._domain(caller, dest_domid, flags & GNTCOPY_dest_gref)
        if flags & GNTCOPY_source_gref:
            start = self._granted_here(giver, source & 0xFFFFFFFF, caller, True) << PAGE_SHIFT
        else:
            start = frame_to_copy(self._memory, caller, source, True, False) << PAGE_SHIFT
        if flags & GNTCOPY_dest_gref:
            to = self._granted_here(taker, dest & 0xFFFFFFFF, caller, False) << PAGE_SHIFT
        else:
            to = frame_to_copy(self._memory, caller, dest, False, False) << PAGE_SHIFT
        if self.may_write is not None and not self.may_write(to >> PAGE_SHIFT):
            raise GrantError(GrantStatus.general_error)
        if source_offset + length > PAGE_SIZE or dest_offset + length > PAGE_SIZE:
            raise GrantError(GrantStatus.bad_copy_arg)
        start += source_offset
        to += dest_offset
        self._bytes[to:to + length] = self._bytes[start:start + length]

    def _domain(self, caller: Domid, domid: Domid, is_grant: int) -> Domid:
        if domid == DOMID_SELF:
            return caller
        if not is_grant:
            raise GrantError(GrantStatus.permission_denied)
        self.require(caller, domid)
        if domid >= self._rows or not self._version[domid]:
            raise GrantError(GrantStatus.bad_domain)
        return domid

    def _granted_here(self, granter: Domid, ref: GrantRef, copier: Domid, readonly: bool) -> Mfn:
        mfn = self._granted(granter, ref, copier, readonly)
        if self.fetch is not None:
            self.fetch(granter, mfn)
        return mfn

    def _granted(self, granter: Domid, ref: GrantRef, copier: Domid, readonly: bool) -> Mfn:
        """The frame of a grant to `copier` (Xen's acquire_grant_for_copy and release_grant_for_copy in one)."""
        if ref >= self._nr_entries[granter]:
            raise GrantError(GrantStatus.bad_gntref)
        row = granter * self._refs + ref
        pin = self._pin[row]
        entries = self._entries[self._version[granter]]
        if not pin:
            gfn = entries.claim(granter, ref, copier, readonly, False, False)
            entries.clear(granter, ref, GTF_reading if readonly else GTF_reading | GTF_writing)
            return frame_to_copy(self._memory, granter, gfn, readonly, True)
        if self._grantee[row] != copier or pin & (HOST_READ if readonly else HOST_WRITE) << FULL:
            raise GrantError(GrantStatus.general_error)
        if not readonly and not pin & WRITERS:
            entries.claim(granter, ref, copier, False, True, False)
            entries.clear(granter, ref, GTF_writing)
        return self._frame[row]
