"""Entries of version 1: two words of 32 bits, the header (flags | domid << 16) and the frame."""

from typing import cast

from abi.grant_table import (
    GrantStatus,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transfer_committed,
    GTF_transfer_completed,
    GTF_type_mask,
    GTF_writing,
)
from abi.types import PAGE_SIZE, Domid, Gfn, GrantRef
from grants.entries import Entry
from grants.errors import GrantError
from grants.tables import ENTRIES_PER_FRAME, GrantDomainTable, GrantFrameTable
from state.arena import Arena

_DOMID = 0xFFFF0000
_FOR_MAPPING = _DOMID | GTF_type_mask | GTF_sub_page
_FOR_COPY = _DOMID | GTF_type_mask


class EntriesV1:
    """Implements `grants.entries.Entries`.

    GTF_sub_page is of version 2.  Xen refuses to map such an entry here, and copies as if it were a whole page.
    """

    per_frame = ENTRIES_PER_FRAME

    def __init__(self, domains: GrantDomainTable, frames: GrantFrameTable, arena: Arena) -> None:
        self._mfn = frames.mfn
        self._share = frames.rows // domains.rows
        self._words = arena.u32
        self._gfns = cast("memoryview[Gfn]", arena.u32)

    def claim(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool) -> Gfn:
        at = self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1
        header = self._words[at]
        if not pinned and header & _FOR_MAPPING != grantee << 16 | GTF_permit_access:
            raise GrantError(GrantStatus.general_error)
        if readonly:
            self._words[at] = header | GTF_reading
        elif header & GTF_readonly:
            raise GrantError(GrantStatus.general_error)
        else:
            self._words[at] = header | (GTF_reading | GTF_writing)
        return self._gfns[at + 1]

    def look(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool) -> tuple[Gfn, int, int]:
        at = self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1
        header = self._words[at]
        if not pinned and header & _FOR_COPY != grantee << 16 | GTF_permit_access:
            raise GrantError(GrantStatus.general_error)
        if not readonly and header & GTF_readonly:
            raise GrantError(GrantStatus.general_error)
        return self._gfns[at + 1], 0, PAGE_SIZE

    def transitive(self, domid: Domid, ref: GrantRef) -> tuple[Domid, GrantRef] | None:
        """There is none in this version; who is in a hurry does not ask."""
        return None

    def clear(self, domid: Domid, ref: GrantRef, flags: int) -> None:
        self._words[self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1] &= ~flags

    def read(self, domid: Domid, ref: GrantRef) -> Entry:
        at = self._at(domid, ref)
        return Entry(self._words[at] & 0xFFFF, Domid(self._words[at] >> 16), self._gfns[at + 1])

    def write(self, domid: Domid, ref: GrantRef, entry: Entry) -> None:
        at = self._at(domid, ref)
        self._words[at + 1] = entry.frame
        self._words[at] = entry.domid << 16 | entry.flags

    def swap(self, domid: Domid, a: GrantRef, b: GrantRef) -> None:
        words, one, two = self._words, self._at(domid, a), self._at(domid, b)
        words[one], words[two] = words[two], words[one]
        words[one + 1], words[two + 1] = words[two + 1], words[one + 1]

    def accepting(self, domid: Domid, ref: GrantRef, giver: Domid) -> Gfn:
        at = self._at(domid, ref)
        if self._words[at] != giver << 16 | GTF_accept_transfer:
            raise GrantError(GrantStatus.general_error)
        return self._gfns[at + 1]

    def complete(self, domid: Domid, ref: GrantRef, frame: int | None) -> None:
        at = self._at(domid, ref)
        if frame is not None:
            self._words[at + 1] = frame
        self._words[at] |= GTF_transfer_committed | GTF_transfer_completed

    def _at(self, domid: Domid, ref: GrantRef) -> int:
        """Index of an entry's header; `claim`, `look` and `clear`, which must be fast, have the same formula."""
        return self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1
