"""GNTMAP_host_map by kind of guest: implementations of `grants.interfaces.HostMapping`."""

from contextlib import suppress

from abi.errno import XenError
from abi.grant_table import GNTMAP_contains_pte, GNTMAP_host_map, GNTMAP_readonly, GrantStatus
from abi.types import PAGE_SHIFT, Domid, Gfn, Mfn
from grants.errors import GrantError
from grants.interfaces import MemoryManager

INVALID_FRAME = (1 << 64) - 1


class PhysmapMapping:
    """HVM and PVH: `host_addr` is a guest-physical address, and the frame goes into the p2m.

    Calling `Gfn` would cost 0.1 us, in a path of 4 us; hence the page number is made without.
    """

    external = True

    def __init__(self, memory: MemoryManager) -> None:
        self._memory = memory

    def create(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        if flags & ~GNTMAP_readonly != GNTMAP_host_map:
            raise GrantError(GrantStatus.general_error)
        try:
            gfn = address >> PAGE_SHIFT
            self._memory.map_grant(domid, gfn, mfn, flags & GNTMAP_readonly != 0)  # type: ignore[arg-type]
        except XenError:
            raise GrantError(GrantStatus.general_error) from None

    def replace(self, domid: Domid, address: int, mfn: Mfn, new_address: int, flags: int) -> None:
        if new_address or flags & GNTMAP_contains_pte:
            raise GrantError(GrantStatus.general_error)
        try:
            self._memory.unmap_grant(domid, address >> PAGE_SHIFT, mfn)  # type: ignore[arg-type]
        except XenError:
            raise GrantError(GrantStatus.general_error) from None

    def release(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        with suppress(XenError):  # the guest may have put something else there since
            self._memory.unmap_grant(domid, Gfn(address >> PAGE_SHIFT), mfn)

    def frame_number(self, domid: Domid, mfn: Mfn) -> int:
        gfn = self._memory.gfn_of(domid, mfn)
        return INVALID_FRAME if gfn is None else gfn


class NoHostMapping:
    """Guests whose page tables are Xen's affair, until there is code that edits them: host mappings are refused.

    A device mapping works: `dev_bus_addr` is the machine address, which is how a back end of ours that sits in
    domain 0 reaches a frame.
    """

    external = False

    def create(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        raise GrantError(GrantStatus.general_error)

    def replace(self, domid: Domid, address: int, mfn: Mfn, new_address: int, flags: int) -> None:
        raise GrantError(GrantStatus.general_error)

    def release(self, domid: Domid, address: int, mfn: Mfn, flags: int) -> None:
        pass

    def frame_number(self, domid: Domid, mfn: Mfn) -> int:
        return mfn
