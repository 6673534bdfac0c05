"""What the grant tables need from the rest of the hypervisor."""

from enum import IntEnum
from typing import Protocol

from abi.types import Domid, Gfn, Mfn


class P2mType(IntEnum):
    """What a guest-physical page is; names and numbers are Xen's (asm/p2m.h), those that a host of ours can meet."""

    RAM_RW = 0
    INVALID = 1
    RAM_LOGDIRTY = 2
    RAM_RO = 3
    MMIO_DM = 4
    MMIO_DIRECT = 5
    GRANT_MAP_RW = 7
    GRANT_MAP_RO = 8
    MAP_FOREIGN = 14


class MemoryManager(Protocol):
    """Frames, their owners and reference counts, and the guests' physical address spaces.

    A frame lives as long as its owner's allocation or any reference is left.  Mapping a grant takes no reference by
    itself: the grant tables take one by `get_page` for each mapping and give it back by `put_page`.
    """

    def lookup(self, domid: Domid, gfn: Gfn, /) -> tuple[Mfn, P2mType]:
        """The frame behind a guest page (for a PV guest: `gfn` itself, if it may name it).  Raises XenError if none."""

    def owner(self, mfn: Mfn, /) -> Domid:
        """The domain that the frame belongs to, also while only others' references keep it."""

    def get_page(self, mfn: Mfn, domid: Domid, /) -> bool:
        """Take a reference to a frame of `domid`.  False, and none taken, where it belongs to another or is free."""

    def put_page(self, mfn: Mfn, /) -> None:
        """Give a reference back; the last one frees the frame."""

    def references(self, mfn: Mfn, /) -> int:
        """How many references there are to a frame of Xen's heap."""

    def map_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn, readonly: bool, /) -> None:
        """Put a foreign frame at guest page `gfn`, as GRANT_MAP_RW or GRANT_MAP_RO, in place of what was there.

        Raises XenError where `gfn` cannot hold one (guest_physmap_add_entry fails: beyond the address space, or a
        grant or foreign mapping is there already, for which Xen also crashes the domain).
        """

    def unmap_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn, /) -> None:
        """Leave a hole at `gfn`.  Raises XenError where no grant mapping of `mfn` is there."""

    def gfn_of(self, domid: Domid, mfn: Mfn, /) -> Gfn | None:
        """The guest page at which the domain sees a frame of its own (Xen's M2P), None while it has none."""

    def allocate_xen_frame(self, owner: Domid, /) -> Mfn:
        """A zeroed frame of Xen's heap, shared with its `owner`, that does not count as the owner's memory.

        It is born with one reference, the caller's; `put_page` frees it.  Raises XenError(ENOMEM).
        """


class HostMapping(Protocol):
    """GNTMAP_host_map for one kind of guest: how a frame gets into its address space.

    Errors are `GrantError`.  `flags` are the GNTMAP_* of the map request.
    """

    external: bool
    """The guest's page tables are its own affair (Xen's paging_mode_external): HVM and PVH."""

    def create(self, domid: Domid, address: int, mfn: Mfn, flags: int, /) -> None:
        """Map the frame at `address` of the guest that is running."""

    def replace(self, domid: Domid, address: int, mfn: Mfn, new_address: int, flags: int, /) -> None:
        """Unmap the frame from `address`; with a `new_address`, move what is mapped there into its place."""

    def release(self, domid: Domid, address: int, mfn: Mfn, flags: int, /) -> None:
        """Forget the mapping of a domain that dies.  Never fails."""

    def frame_number(self, domid: Domid, mfn: Mfn, /) -> int:
        """What the guest calls a frame of its own grant table; all ones where it does not see it yet."""


class PageMover(Protocol):
    """How a page goes from one domain to another."""

    def givable(self, domid: Domid, page: Gfn, /) -> Mfn:
        """The frame behind a page of memory that nobody uses and that is the domain's (steal_page).

        Raises XenError where there is none.  The frame stays the domain's until `take_away`.
        """

    def has_room(self, domid: Domid, /) -> bool:
        """Whether the domain may have one more page."""

    def move(self, mfn: Mfn, taker: Domid, page: Gfn, /) -> int | None:
        """Give `taker` a page with what is in the frame, to be known as `page`.

        Returns the number of its frame, None for a domain that does not name frames.  Raises XenError(ENOMEM).
        """

    def take_away(self, mfn: Mfn, /) -> None:
        """The frame's owner does not have it any more."""
