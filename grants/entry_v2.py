"""Entries of version 2: 16 bytes in the shared frames, of which Xen writes nothing, and a status word each elsewhere.

The guest reads GTF_reading and GTF_writing in the status word.  On a machine, where both sides run at once, Xen sets
them first and then looks at the entry again: either it sees that the guest has taken the entry back, or the guest sees
that it is in use.  Here nobody runs beside the call, so one look does; the order of the writes is the same.
"""

from typing import cast

from abi.grant_table import (
    GRANT_ENTRY_V2,
    GRANT_ENTRY_V2_FULL_PAGE,
    GRANT_ENTRY_V2_SUB_PAGE,
    GRANT_ENTRY_V2_TRANSITIVE,
    GrantStatus,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transfer_committed,
    GTF_transfer_completed,
    GTF_transitive,
    GTF_type_mask,
    GTF_writing,
)
from abi.layout import measure
from abi.types import PAGE_SIZE, Domid, Gfn, GrantRef
from grants.entries import Entry
from grants.errors import GrantError
from grants.tables import ENTRIES_PER_FRAME_V2, GrantDomainTable, GrantFrameTable, GrantStatusTable
from state.arena import Arena

_DOMID = 0xFFFF0000
_FOR_MAPPING = _DOMID | GTF_type_mask | GTF_sub_page
_FOR_COPY = _DOMID | GTF_type_mask
_START = 0x7FFF
"""Xen keeps 15 bits of a part's first byte."""
_IN_USE = GTF_reading | GTF_writing

# In words of 32 bits from an entry's first: the part, or the domain whose grant is passed on; the frame, or that grant.
_PART, _FRAME = (GRANT_ENTRY_V2_SUB_PAGE.at(64).offset[name] // 4 for name in ("page_off", "frame"))
assert measure(GRANT_ENTRY_V2, 64)[0] == 16
assert GRANT_ENTRY_V2_FULL_PAGE.at(64).offset["frame"] == 4 * _FRAME
assert [GRANT_ENTRY_V2_TRANSITIVE.at(64).offset[name] // 4 for name in ("trans_domid", "gref")] == [_PART, _FRAME]


class EntriesV2:
    """Implements `grants.entries.Entries`."""

    per_frame = ENTRIES_PER_FRAME_V2

    def __init__(self, domains: GrantDomainTable, frames: GrantFrameTable, status: GrantStatusTable,
                 arena: Arena) -> None:
        self._mfn, self._status_mfn = frames.mfn, status.mfn
        self._share, self._status_share = frames.rows // domains.rows, status.rows // domains.rows
        self._halves, self._words = arena.u16, arena.u32
        self._gfns = cast("memoryview[Gfn]", arena.u64)

    def claim(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool) -> Gfn:
        at = self._checked(domid, ref, readonly)
        if not pinned and self._words[at] & _FOR_MAPPING != grantee << 16 | GTF_permit_access:
            raise GrantError(GrantStatus.general_error)
        self._halves[self._status(domid, ref)] |= GTF_reading if readonly else _IN_USE
        return self._gfns[at + _FRAME >> 1]

    def look(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool) -> tuple[Gfn, int, int]:
        at = self._checked(domid, ref, readonly)
        header = self._words[at]
        if not pinned and header & _FOR_COPY not in (
                grantee << 16 | GTF_permit_access, grantee << 16 | GTF_transitive):
            raise GrantError(GrantStatus.general_error)
        frame, part = self._gfns[at + _FRAME >> 1], self._words[at + _PART]
        return (frame, part & _START, part >> 16) if header & GTF_sub_page else (frame, 0, PAGE_SIZE)

    def transitive(self, domid: Domid, ref: GrantRef) -> tuple[Domid, GrantRef] | None:
        at = self._at(domid, ref)
        if self._words[at] & GTF_type_mask != GTF_transitive:
            return None
        return Domid(self._words[at + _PART] & 0xFFFF), GrantRef(self._words[at + _FRAME])

    def clear(self, domid: Domid, ref: GrantRef, flags: int) -> None:
        self._halves[self._status(domid, ref)] &= ~flags

    def read(self, domid: Domid, ref: GrantRef) -> Entry:
        at = self._at(domid, ref)
        flags = self._words[at] & 0xFFFF | self._halves[self._status(domid, ref)]
        return Entry(flags, Domid(self._words[at] >> 16), self._gfns[at + _FRAME >> 1])

    def write(self, domid: Domid, ref: GrantRef, entry: Entry) -> None:
        at = self._at(domid, ref)
        self._halves[self._status(domid, ref)] = entry.flags & _IN_USE
        self._gfns[at + _FRAME >> 1] = entry.frame
        self._words[at + _PART] = 0
        self._words[at] = entry.domid << 16 | entry.flags & ~_IN_USE

    def swap(self, domid: Domid, a: GrantRef, b: GrantRef) -> None:
        for view, one, two, count in ((self._words, self._at(domid, a), self._at(domid, b), 4),
                                      (self._halves, self._status(domid, a), self._status(domid, b), 1)):
            for index in range(count):
                view[one + index], view[two + index] = view[two + index], view[one + index]

    def accepting(self, domid: Domid, ref: GrantRef, giver: Domid) -> Gfn:
        at = self._at(domid, ref)
        if self._words[at] != giver << 16 | GTF_accept_transfer:
            raise GrantError(GrantStatus.general_error)
        return self._gfns[at + _FRAME >> 1]

    def complete(self, domid: Domid, ref: GrantRef, frame: int | None) -> None:
        at = self._at(domid, ref)
        if frame is not None:
            self._gfns[at + _FRAME >> 1] = Gfn(frame)
        self._words[at] |= GTF_transfer_committed | GTF_transfer_completed

    def _checked(self, domid: Domid, ref: GrantRef, readonly: bool) -> int:
        """As `_at`, where the entry does not forbid this by GTF_readonly."""
        at = self._at(domid, ref)
        if not readonly and self._words[at] & GTF_readonly:
            raise GrantError(GrantStatus.general_error)
        return at

    def _at(self, domid: Domid, ref: GrantRef) -> int:
        """Index of an entry's header, in words of 32 bits."""
        return self._mfn[domid * self._share + (ref >> 8)] << 10 | (ref & 255) << 2

    def _status(self, domid: Domid, ref: GrantRef) -> int:
        """Index of an entry's status, in words of 16 bits."""
        return self._status_mfn[domid * self._status_share + (ref >> 11)] << 11 | ref & 2047
