"""Pages that change hands by GNTTABOP_transfer.

A frame belongs to the heap of one domain for good (`hypervisor.heap`).  So what the taker gets is a frame of its own
with a copy, as Xen does it where the taker cannot have frames so high; the giver's frame goes back to the giver's heap.
"""

from collections.abc import Callable
from contextlib import suppress

from abi.errno import Errno, XenError
from abi.types import Domid, Gfn, Mfn
from hypervisor.frames import ALLOCATED, FrameKind
from hypervisor.memory_call import MemoryHost
from hypervisor.memory_pv import give
from state.arena import Arena


class PageTransfers:
    """Implements `grants.interfaces.PageMover` for the host `hv`."""

    def __init__(self, hv: MemoryHost, arena: Arena) -> None:
        self._hv, self._arena = hv, arena
        self.fetch: Callable[[Domid, Mfn], None] | None = None
        """See `GrantTables.set_fetch`."""

    def givable(self, domid: Domid, page: Gfn) -> Mfn:
        """Raises XenError: EOPNOTSUPP for a translated domain, EINVAL where anything but its allocation keeps it."""
        frames = self._hv.memory.frames
        if self._hv.memory.root(domid):
            raise XenError(Errno.EOPNOTSUPP)
        mfn, table = Mfn(page), frames.table
        if not frames.valid(mfn) or frames.owner(mfn) != domid or table.kind[mfn] != FrameKind.RAM or (
                table.flags[mfn] != ALLOCATED or table.refs[mfn]):
            raise XenError(Errno.EINVAL)
        return mfn

    def has_room(self, domid: Domid) -> bool:
        return self._hv.domains.tot_pages[domid] < self._hv.domains.max_pages[domid]

    def move(self, mfn: Mfn, taker: Domid, page: Gfn) -> int | None:
        """Where a translated taker cannot have anything at `page`, it owns the frame and does not see it, as in Xen."""
        memory = self._hv.memory
        if memory.root(taker):
            frame = memory.allocate_pages(taker, 1)
            self._copy(mfn, taker, frame)
            with suppress(XenError):
                memory.physmap.add_page(taker, page, frame)
            return None
        assert memory.pv is not None
        frame = Mfn(give(self._hv, memory.pv, taker, page, 0, memory.frames.count))
        self._copy(mfn, taker, frame)
        return frame

    def take_away(self, mfn: Mfn) -> None:
        self._hv.memory.frames.drop_allocation(mfn)

    def _copy(self, mfn: Mfn, taker: Domid, frame: Mfn) -> None:
        if self.fetch is not None:
            self.fetch(taker, frame)
        self._arena.page(frame)[:] = self._arena.page(mfn)
