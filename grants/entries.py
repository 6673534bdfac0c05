"""What the grant tables ask of the entries in the pages that a guest shares with Xen, whichever their version.

The guest may change an entry at any time, also while it is mapped; nothing read there is trusted twice.  What must
stay true during a mapping is in the active entry.
"""

from typing import NamedTuple, Protocol

from abi.types import Domid, Gfn, GrantRef


class Entry(NamedTuple):
    """An entry as either version can have it."""

    flags: int
    """GTF_reading and GTF_writing among them, wherever the version keeps these."""
    domid: Domid
    frame: Gfn


class Entries(Protocol):
    """The shared entries of domains whose tables have one version.  Callers have checked that `ref` exists.

    A pinned entry was checked when it was pinned; then only GTF_readonly counts.
    """

    per_frame: int
    """Entries in one frame of the table."""

    def claim(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool) -> Gfn:
        """Check that `grantee` may map, and show the granter that it does by GTF_reading and GTF_writing (_set_status).

        Returns the page that the entry names now.  Raises GrantError.
        """

    def look(self, domid: Domid, ref: GrantRef, grantee: Domid, readonly: bool, pinned: bool) -> tuple[Gfn, int, int]:
        """Check that `grantee` may copy, and show nothing: the page, where in it the grant begins, and how long it is.

        Of a transitive entry these mean nothing.  Raises GrantError.
        """

    def transitive(self, domid: Domid, ref: GrantRef) -> tuple[Domid, GrantRef] | None:
        """Whose grant, and which, a transitive entry passes on; None for any other entry."""

    def clear(self, domid: Domid, ref: GrantRef, flags: int) -> None:
        """Take GTF_reading or GTF_writing back."""

    def read(self, domid: Domid, ref: GrantRef) -> Entry:
        """What the guest wrote, as if it were a whole page."""

    def write(self, domid: Domid, ref: GrantRef, entry: Entry) -> None:
        """Store an entry on the guest's behalf, as a domain builder does."""

    def swap(self, domid: Domid, a: GrantRef, b: GrantRef) -> None:
        """Exchange two entries."""

    def accepting(self, domid: Domid, ref: GrantRef, giver: Domid) -> Gfn:
        """The page at which the guest takes a frame from `giver`.  Raises GrantError where it does not."""

    def complete(self, domid: Domid, ref: GrantRef, frame: int | None) -> None:
        """The frame is the guest's: tell it which one, unless it does not name frames, and then that it has it."""
