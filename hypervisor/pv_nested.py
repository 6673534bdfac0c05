"""The nested page tables of PV guests: one to one, and only frames that the domain may touch.

Whatever a guest manages to write into its page tables, the processor finds nothing else through them.
"""

from abi.errno import Errno, XenError
from abi.types import Domid
from grants.interfaces import P2mType
from hypervisor.p2m import WRITABLE, P2m

_LOW, _HIGH, _MOST = 9, 59, 127
"""Bits 9 to 11 and 59 to 62, which the processor leaves to software, count the mappings of another domain's frame."""
_FIRST = 1 << _LOW


class Nested(P2m):
    """As `P2m`, with page = frame."""

    def allow(self, domid: Domid, mfn: int, readonly: bool = False) -> None:
        """Let a domain touch a frame of its own, or of Xen's.  Raises XenError(ENOMEM)."""
        self.fill(domid, mfn, mfn, P2mType.RAM_RO if readonly else P2mType.RAM_RW)

    def allow_extent(self, domid: Domid, mfn: int, count: int) -> None:
        """Let a domain touch `count` frames in a row.  Raises XenError(ENOMEM)."""
        self.set_extent(domid, mfn, mfn, count, P2mType.RAM_RW)

    def deny(self, domid: Domid, mfn: int) -> None:
        """The domain may not touch the frame any more."""
        if self.find(domid, mfn) is not None:
            self.clear(domid, mfn)

    def add_use(self, domid: Domid, mfn: int, readonly: bool) -> None:
        """An entry maps another domain's frame.  Raises XenError: ENOMEM, also for more than 127 entries of a frame."""
        slot = self._slot(domid, mfn)
        entry = self._u64[slot]
        if not entry & 1:
            self.set_entry(domid, mfn, mfn, P2mType.GRANT_MAP_RO if readonly else P2mType.GRANT_MAP_RW)
            self._u64[slot] |= _FIRST
            return
        uses = (entry >> _HIGH & 15) << 3 | entry >> _LOW & 7
        if not uses:
            return  # it is the domain's own, or Xen's
        if uses == _MOST:
            raise XenError(Errno.ENOMEM)
        if not readonly and not entry & WRITABLE:
            self.set_entry(domid, mfn, mfn, P2mType.GRANT_MAP_RW)
        self._count(slot, uses + 1)

    def drop_use(self, domid: Domid, mfn: int) -> None:
        """An entry that `add_use` counted is gone; after the last the frame is out of reach."""
        slot = self._slot(domid, mfn)
        entry = self._u64[slot]
        uses = (entry >> _HIGH & 15) << 3 | entry >> _LOW & 7
        if uses == 1:
            self._u64[slot] = 0
            self._flush(domid, mfn)
        elif uses:
            self._count(slot, uses - 1)

    def _count(self, slot: int, uses: int) -> None:
        self._u64[slot] = self._u64[slot] & ~(15 << _HIGH | 7 << _LOW) | (uses >> 3) << _HIGH | (uses & 7) << _LOW
