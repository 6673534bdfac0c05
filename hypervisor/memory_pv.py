"""The balloon of PV guests: extents of machine frames given and taken, and exchanged (xen/memory.h).

A PV guest names frames; what it gives back must be its own, and is free when nothing refers to it any more.
"""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.memory import MEMORY_EXCHANGE, MEMORY_RESERVATION
from abi.types import PAGE_SHIFT, Domid, Mfn
from hypervisor.call import Call
from hypervisor.frames import ALLOCATED, INVALID_M2P
from hypervisor.memory_call import MemoryHost, target_of

_MOST = (1 << 63) - 1


class PvPages(Protocol):
    """`pv.PvMemory`, as far as the balloon goes."""

    def add_memory(self, domid: Domid, mfn: int, count: int) -> None:
        """The domain has got frames.  Raises XenError(ENOMEM)."""

    def set_m2p(self, mfn: int, pfn: int) -> None:
        """What the guest calls a frame."""


def give_back(hv: MemoryHost, domid: Domid, mfn: int) -> None:
    """Take a frame from a domain (guest_remove_page).

    Raises XenError: EINVAL where there is no memory, ENXIO where it is not the domain's.
    """
    frames = hv.memory.frames
    if not frames.valid(mfn):
        raise XenError(Errno.EINVAL)
    if not frames.get_page(Mfn(mfn), domid):
        raise XenError(Errno.ENXIO)
    frames.drop_allocation(Mfn(mfn))
    frames.put_page(Mfn(mfn))


def give(hv: MemoryHost, pages: PvPages, domid: Domid, pfn: int | None, order: int, below: int) -> int:
    """Give a domain 2**order frames in a row, to be known as `pfn` and so on; returns the first.

    Raises XenError(ENOMEM).
    """
    count = 1 << order
    mfn = hv.memory.allocate_pages(domid, count, count, below)
    for index in range(count):
        pages.set_m2p(mfn + index, INVALID_M2P if pfn is None else pfn + index)
    pages.add_memory(domid, mfn, count)
    return mfn


def exchange(hv: MemoryHost, call: Call, pages: PvPages, arg: int, most_order: int) -> int:
    """XENMEM_exchange: give frames back for as much memory in other extents.

    Errors: EFAULT; EPERM for too large an order; EINVAL where the sizes differ, or a frame is not the domain's alone;
    ESRCH; ENOMEM.  `nr_exchanged` says how many extents of the input were exchanged.
    """
    shape, list_shape = MEMORY_EXCHANGE.at(call.width), MEMORY_RESERVATION.at(call.width)
    data = call.memory.read(arg, shape.size)
    given, taken = (list_shape.unpack_from(data, shape.offset[name]) for name in ("in", "out"))
    word, at = call.width // 8, shape.offset["nr_exchanged"]
    done = int.from_bytes(data[at:at + word], "little")
    swap = _Exchange(hv, call, pages, given, taken, word)
    try:
        if max(given[2], taken[2]) > most_order:
            raise XenError(Errno.EPERM)
        if done > given[1] or given[4] != taken[4] or given[1] > _MOST >> given[2] or taken[1] > _MOST >> taken[2] or (
                given[1] << given[2] != taken[1] << taken[2]):
            raise XenError(Errno.EINVAL)
        domid = target_of(hv, call, given[4])
        step = 1 << max(taken[2] - given[2], 0)
        done -= done % step
        while done < given[1]:
            swap.chunk(domid, done, step)
            done += step
    finally:
        call.memory.write(arg + at, done.to_bytes(word, "little"))
    return 0


class _Exchange:
    """One call: `given` and `taken` are the fields of its two lists."""

    def __init__(self, hv: MemoryHost, call: Call, pages: PvPages, given: tuple[int, ...], taken: tuple[int, ...],
                 word: int) -> None:
        self._hv, self._memory, self._pages, self._given, self._taken, self._word = (
            hv, call.memory, pages, given, taken, word)

    def chunk(self, domid: Domid, first: int, count: int) -> None:
        """Exchange `count` extents of the input, from number `first` on: all, or none with an XenError."""
        order_in, order_out = self._given[2], self._taken[2]
        old = [mfn for index in range(first, first + count)
               for mfn in self._extent(self._read(self._given, index), order_in)]
        if len(set(old)) != len(old) or not all(self._sole(domid, mfn) for mfn in old):
            raise XenError(Errno.EINVAL)
        outputs = range((first << order_in) >> order_out, ((first + count) << order_in) >> order_out)
        pfns = [self._read(self._taken, index) for index in outputs]
        # The new frames come first: where there are none the old ones must stay.
        limit = self._hv.domains.max_pages[domid]
        bits, frames = self._taken[3] & 0xFF, self._hv.memory.frames.count
        below = min(frames, 1 << max(bits - PAGE_SHIFT, 0)) if bits else frames
        new: list[int] = []
        try:
            self._hv.domains.max_pages[domid] = limit + len(old)
            for pfn in pfns:
                new.append(give(self._hv, self._pages, domid, pfn, order_out, below))
        except XenError:
            for mfn in new:
                for frame in self._extent(mfn, order_out):
                    give_back(self._hv, domid, frame)
            raise
        finally:
            self._hv.domains.max_pages[domid] = limit
        for mfn in old:
            give_back(self._hv, domid, mfn)
        for index, mfn in zip(outputs, new, strict=True):
            self._memory.write(self._taken[0] + index * self._word, mfn.to_bytes(self._word, "little"))

    def _read(self, extents: tuple[int, ...], index: int) -> int:
        return int.from_bytes(self._memory.read(extents[0] + index * self._word, self._word), "little")

    def _extent(self, first: int, order: int) -> range:
        return range(first, first + (1 << order))

    def _sole(self, domid: Domid, mfn: int) -> bool:
        """Nothing but its allocation keeps the frame (steal_page)."""
        frames = self._hv.memory.frames
        return frames.valid(mfn) and frames.owner(Mfn(mfn)) == domid and (
            frames.table.flags[mfn] == ALLOCATED and not frames.table.refs[mfn])
