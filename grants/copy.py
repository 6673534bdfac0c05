"""GNTTABOP_copy: the hypervisor copies bytes between two frames, each a page of the caller's or a grant to it.

Xen pins a granted frame for the time of a copy.  Here nothing can happen in that time, because the caller has the
baton; so the counters are not touched, only the checks and the lasting effects on the shared entry are made.

Only copies may use a part of a page, and a transitive grant: "what this domain lets me use of that domain's grant".
"""

from collections.abc import Callable, Mapping
from typing import Any

from abi.grant_table import GNTCOPY_dest_gref, GNTCOPY_source_gref, GrantStatus, GTF_reading, GTF_writing
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, GrantRef, Mfn
from abi.xen import DOMID_SELF
from grants.entries import Entries
from grants.errors import GrantError
from grants.interfaces import MemoryManager
from grants.page import frame_to_copy
from grants.pins import FULL, HOST_READ, HOST_WRITE, WRITERS
from grants.tables import ActiveTable, GrantDomainTable
from state.arena import Arena

_Side = tuple[Mfn, int, int, Domid]
"""What one side of a copy may use: a frame, the first byte there, how many; and whose frame it is."""


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
        source_first = dest_first = 0
        source_length = dest_length = PAGE_SIZE
        if flags & GNTCOPY_source_gref:
            mfn, source_first, source_length = self._granted_here(giver, source & 0xFFFFFFFF, caller, True)
        else:
            mfn = frame_to_copy(self._memory, caller, source, True, False)
        start = (mfn << PAGE_SHIFT) + source_offset
        if flags & GNTCOPY_dest_gref:
            mfn, dest_first, dest_length = self._granted_here(taker, dest & 0xFFFFFFFF, caller, False)
        else:
            mfn = frame_to_copy(self._memory, caller, dest, False, False)
        to = (mfn << PAGE_SHIFT) + dest_offset
        if self.may_write is not None and not self.may_write(mfn):
            raise GrantError(GrantStatus.general_error)
        if source_offset + length > PAGE_SIZE or dest_offset + length > PAGE_SIZE:
            raise GrantError(GrantStatus.bad_copy_arg)
        if source_offset < source_first or source_offset + length > source_first + source_length or (
                dest_offset < dest_first or dest_offset + length > dest_first + dest_length):
            raise GrantError(GrantStatus.general_error)
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

    def _granted_here(self, granter: Domid, ref: GrantRef, copier: Domid, readonly: bool) -> tuple[Mfn, int, int]:
        """The frame of a grant to `copier`, and which part of it: its first byte and its length."""
        mfn, first, length, owner = self._granted(granter, ref, copier, readonly, True)
        if self.fetch is not None:
            self.fetch(owner, mfn)
        return mfn, first, length

    def _granted(self, granter: Domid, ref: GrantRef, copier: Domid, readonly: bool, through: bool) -> _Side:
        """Xen's acquire_grant_for_copy and release_grant_for_copy in one; `through` lets a grant be transitive."""
        if ref >= self._nr_entries[granter]:
            raise GrantError(GrantStatus.bad_gntref)
        row = granter * self._refs + ref
        pin = self._pin[row]
        if pin and (self._grantee[row] != copier or pin & (HOST_READ if readonly else HOST_WRITE) << FULL):
            raise GrantError(GrantStatus.general_error)
        version = self._version[granter]
        entries = self._entries[version]
        passed_on = entries.transitive(granter, ref) if version == 2 else None
        if passed_on is not None:
            return self._transitive(granter, ref, copier, readonly, through, *passed_on)
        if not pin:
            gfn, start, length = entries.look(granter, ref, copier, readonly, False)
            entries.clear(granter, ref, GTF_reading if readonly else GTF_reading | GTF_writing)
            return frame_to_copy(self._memory, granter, gfn, readonly, True), start, length, granter
        if not readonly and not pin & WRITERS:
            entries.look(granter, ref, copier, False, True)
            entries.clear(granter, ref, GTF_writing)
        return self._frame[row], 0, PAGE_SIZE, granter

    def _transitive(self, middle: Domid, ref: GrantRef, copier: Domid, readonly: bool, through: bool,
                    granter: Domid, granted: GrantRef) -> _Side:
        """What `middle` passes on to `copier` is `granter`'s grant to `middle`, which must not be transitive again.

        An entry that was made transitive while it is mapped does not fit its mapping.  Xen makes the call again until
        it does, which may be never; here the guest is told to try again (GNTST_eagain).
        """
        pin, entries = self._pin[middle * self._refs + ref], self._entries[self._version[middle]]
        lasting = 0
        if not pin:
            lasting = GTF_reading if readonly else GTF_reading | GTF_writing
        elif not readonly and not pin & WRITERS:
            lasting = GTF_writing
        if lasting:
            entries.look(middle, ref, copier, readonly, pin != 0)
        if not through or granter == middle:
            entries.clear(middle, ref, lasting)
            raise GrantError(GrantStatus.general_error)
        self.require(copier, granter)
        entries.clear(middle, ref, lasting)
        if granter >= self._rows or not self._version[granter]:
            raise GrantError(GrantStatus.general_error)
        found = self._granted(granter, granted, middle, readonly, False)
        if pin:
            raise GrantError(GrantStatus.eagain)
        return found
