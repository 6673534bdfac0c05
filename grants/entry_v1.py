"""Entries of version 1 in the pages that a guest shares with Xen.

The guest may change an entry at any time, also while it is mapped; nothing read here is trusted twice.  What must
stay true during a mapping is in the active entry.
"""

from typing import Protocol, cast

from abi.grant_table import (
    GrantStatus,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_type_mask,
    GTF_writing,
)
from abi.types import Domid, Gfn, GrantRef
from grants.errors import GrantError
from grants.tables import ENTRIES_PER_FRAME, GrantDomainTable, GrantFrameTable
from state.arena import Arena


class Entries(Protocol):
    """The shared entries of domains whose tables have one version.  Callers have checked that `ref` exists."""

    per_frame: int
    """Entries in one frame of the table."""

    def claim(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool, mapping: bool) -> Gfn:
        """Check that `grantee` may, and show the granter that it does: GTF_reading, GTF_writing (Xen's _set_status).

        A pinned entry was checked when it was pinned; then only GTF_readonly counts.  Returns the page that the entry
        names now.  Raises GrantError.
        """

    def clear(self, domid: Domid, ref: GrantRef, flags: int) -> None:
        """Take GTF_reading or GTF_writing back."""

    def write(self, domid: Domid, ref: GrantRef, grantee: Domid, gfn: Gfn, flags: int) -> None:
        """Store an entry on the guest's behalf, as a domain builder does."""

    def swap(self, domid: Domid, a: GrantRef, b: GrantRef) -> None:
        """Exchange two entries."""


_DOMID = 0xFFFF0000
_FOR_MAPPING = _DOMID | GTF_type_mask | GTF_sub_page
_FOR_COPY = _DOMID | GTF_type_mask


class EntriesV1:
    """An entry is two words of 32 bits: its header (flags | domid << 16) and its frame."""

    per_frame = ENTRIES_PER_FRAME

    def __init__(self, domains: GrantDomainTable, frames: GrantFrameTable, arena: Arena) -> None:
        self._mfn = frames.mfn
        self._share = frames.rows // domains.rows
        self._words = arena.u32
        self._gfns = cast("memoryview[Gfn]", arena.u32)

    def claim(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool, mapping: bool) -> Gfn:
        # GTF_sub_page is of version 2.  Xen refuses to map such an entry here, and copies as if it were a whole page.
        at = self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1
        header = self._words[at]
        if not pinned and header & (_FOR_MAPPING if mapping else _FOR_COPY) != grantee << 16 | GTF_permit_access:
            raise GrantError(GrantStatus.general_error)
        if readonly:
            self._words[at] = header | GTF_reading
        elif header & GTF_readonly:
            raise GrantError(GrantStatus.general_error)
        else:
            self._words[at] = header | (GTF_reading | GTF_writing)
        return self._gfns[at + 1]

    def clear(self, domid: Domid, ref: GrantRef, flags: int) -> None:
        self._words[self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1] &= ~flags

    def write(self, domid: Domid, ref: GrantRef, grantee: Domid, gfn: Gfn, flags: int) -> None:
        at = self._at(domid, ref)
        self._words[at + 1] = gfn
        self._words[at] = grantee << 16 | flags

    def swap(self, domid: Domid, a: GrantRef, b: GrantRef) -> None:
        words, one, two = self._words, self._at(domid, a), self._at(domid, b)
        words[one], words[two] = words[two], words[one]
        words[one + 1], words[two + 1] = words[two + 1], words[one + 1]

    def _at(self, domid: Domid, ref: GrantRef) -> int:
        """Index of an entry's header; `claim` and `clear`, which must be fast, have the same formula."""
        return self._mfn[domid * self._share + (ref >> 9)] << 10 | (ref & 511) << 1
