"""Changes of a translated domain's physical address space that keep p2m, M2P and frame references in step.

These are Xen's guest_physmap_add_entry, guest_physmap_remove_page, guest_remove_page and p2m_add_foreign
(xen/arch/x86/mm/p2m.c, xen/common/memory.c), with their errors and the order in which they are found.
"""

from collections.abc import Callable

from abi.errno import Errno, XenError
from abi.types import Domid, Gfn, Mfn
from grants.interfaces import P2mType
from hypervisor.frames import INVALID_M2P, Frames
from hypervisor.p2m import P2m

RAM_TYPES = frozenset({P2mType.RAM_RW, P2mType.RAM_RO})


class Physmap:
    """`crash(domid, reason)` is Xen's domain_crash; it may raise, or return for the call to end with its error."""

    def __init__(self, frames: Frames, p2m: P2m, crash: Callable[[Domid, str], None]) -> None:
        self._frames, self._p2m, self._crash = frames, p2m, crash
        self._gfn = frames.table.gfn

    def add_page(self, domid: Domid, gfn: int, mfn: int, order: int = 0) -> None:
        """Map 2**order RAM or Xen heap frames at `gfn`, moving those that the domain sees elsewhere.

        RAM that was there is no longer mapped, but stays the domain's.  Raises XenError: EPERM where a grant or foreign
        frame is mapped there, which also crashes the domain; ENOENT beyond the address space; ENOMEM.
        """
        count = 1 << order
        for page in range(gfn, gfn + count):
            self._displace(domid, page)
        for index in range(count):
            before = self._gfn[mfn + index]
            if before not in (INVALID_M2P, gfn + index) and self._frames.owner(Mfn(mfn + index)) == domid:
                found = self._p2m.find(domid, before)
                if found is not None and found[1] in RAM_TYPES and found[0] == mfn + index:
                    self.remove_page(domid, before, found[0])
        if order:
            self._p2m.set_extent(domid, gfn, mfn, count, P2mType.RAM_RW)
        else:
            self._p2m.set_entry(domid, gfn, mfn, P2mType.RAM_RW)
        for index in range(count):
            self._gfn[mfn + index] = gfn + index

    def add_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn, kind: P2mType) -> None:
        """Map another domain's frame, on which the caller holds a reference.  Raises XenError as `add_page`.

        Here this host departs from Xen, where a domain that maps a frame of its own loses it at its former page.
        """
        self._displace(domid, gfn)
        self._p2m.set_entry(domid, gfn, mfn, kind)

    def remove_page(self, domid: Domid, gfn: int, mfn: Mfn) -> None:
        """Leave a hole where `mfn` is mapped; the frame stays whose it is.  Raises XenError(EILSEQ) if it is not."""
        found = self._p2m.find(domid, gfn)
        if found is None:
            return
        if found[0] != mfn:
            raise XenError(Errno.EILSEQ)
        self._p2m.clear(domid, gfn)
        if found[1] in RAM_TYPES:
            self._gfn[mfn] = INVALID_M2P
        elif found[1] == P2mType.MAP_FOREIGN:
            self._frames.put_page(mfn)

    def remove_and_free(self, domid: Domid, gfn: int) -> None:
        """Unmap a page and give its frame back (guest_remove_page).

        Raises XenError: ENOENT where nothing is mapped, ENXIO where the frame is another domain's.
        """
        found = self._p2m.find(domid, gfn)
        if found is None:
            raise XenError(Errno.ENOENT)
        mfn = found[0]
        if not self._frames.get_page(mfn, domid):
            raise XenError(Errno.ENXIO)
        try:
            self.remove_page(domid, gfn, mfn)
            self._frames.drop_allocation(mfn)
        finally:
            self._frames.put_page(mfn)

    def vacate(self, domid: Domid, gfn: int, newcomer: int | None = None) -> None:
        """Make way at `gfn` for the frame `newcomer`: Xen's pages are unhooked, other memory there is freed.

        Raises XenError as `remove_and_free`.
        """
        found = self._p2m.find(domid, gfn)
        if found is None:
            return
        if self._frames.is_xen_heap(found[0]):
            self.remove_page(domid, gfn, found[0])
        elif found[0] != newcomer:
            self.remove_and_free(domid, gfn)

    def add_foreign(self, domid: Domid, gfn: int, foreign: Domid, page: int) -> None:
        """Map page `page` of domain `foreign` at `gfn`; the entry holds a reference.

        Whether `domid` may is not checked here.  Raises XenError: EINVAL for its own pages or where `foreign` has no
        RAM at `page`, and as `vacate` and `add_page`.
        """
        found = self._p2m.find(foreign, page)
        if foreign == domid or found is None or found[1] not in RAM_TYPES:
            raise XenError(Errno.EINVAL)
        if not self._frames.get_page(found[0], foreign):
            raise XenError(Errno.EINVAL)
        try:
            self.vacate(domid, gfn)
            self._p2m.set_entry(domid, gfn, found[0], P2mType.MAP_FOREIGN)
        except XenError:
            self._frames.put_page(found[0])
            raise

    def _displace(self, domid: Domid, gfn: int) -> None:
        """RAM at `gfn` is about to be covered."""
        found = self._p2m.find(domid, gfn)
        if found is None:
            return
        if found[1] not in RAM_TYPES:
            self._crash(domid, f"mapping over the {found[1].name} entry at gfn {gfn:#x}")
            raise XenError(Errno.EPERM)
        self._gfn[found[0]] = INVALID_M2P
