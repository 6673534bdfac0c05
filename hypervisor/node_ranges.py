"""What of a domain's bytes the other nodes of a host need: always, or only to map, copy or unmap what it granted.

The *hot* part is what anybody of the domain's group may touch at any time: its rows of the tables of vCPUs, domains and
event channels, shared_info, and what it has mapped.  It travels with each baton, so it is small.  The *cold* part is
its p2m, its grant table, and its rows of the tables of frames.  Its memory is in neither; pages of it that another node
maps are added to the hot part one by one (`domains.travel`).

Ranges are (offset, length) in the host's buffer, and may only grow while the domain lives: each begins where it began.
"""

from collections.abc import Iterator

import numpy

from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid
from abi.xen import VCPU_INFO
from grants.tables import (
    ENTRIES_PER_FRAME,
    ActiveTable,
    GrantDomainTable,
    GrantFrameTable,
    GrantStatusTable,
    MaptrackTable,
)
from hypervisor.domain_ranges import BY_DOMAIN, BY_FRAME, BY_VCPU, frame_runs
from hypervisor.event_channel_fifo import (
    CONTROL_SIZE,
    MOST_PAGES,
    FifoDomainTable,
    FifoPortTable,
    FifoTables,
    FifoVcpuTable,
)
from hypervisor.event_channel_tables import PORTS, ChannelState, EventChannelTable, PortSpaceTable
from hypervisor.heap import HeapTable
from hypervisor.host_state import HostState, HostTable, StoreTable
from hypervisor.memory import MemoryTable
from hypervisor.p2m import P2mTable
from hypervisor.place import PlaceTable
from hypervisor.pv_tables import (
    GdtFrameTable,
    LdtFrameTable,
    PvDomainTable,
    PvNestedTable,
    PvVcpuTable,
    TrapTable,
)
from hypervisor.tables import DomainTable, VcpuTable
from state.table import Table

Range = tuple[int, int]
HOST = Domid(0)
_COLD_BY_DOMAIN: frozenset[type[Table]] = frozenset((
    HeapTable, MemoryTable, P2mTable, PvDomainTable, PvNestedTable, GrantFrameTable, GrantStatusTable))
_COLD_BY_VCPU: frozenset[type[Table]] = frozenset((PvVcpuTable, TrapTable, GdtFrameTable, LdtFrameTable))
_PARTLY: frozenset[type[Table]] = frozenset((
    EventChannelTable, FifoPortTable, ActiveTable, MaptrackTable, PlaceTable))
_INFO = VCPU_INFO.at(64).size
_STORE_STEP = 16 << 10
_STORE_HEADER = 64


class NodeRanges:
    """The ranges of one host's domains, which have been created already."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        table = state.table
        self._domains, self._vcpus, self._place = table(DomainTable), table(VcpuTable), table(PlaceTable)
        self._spaces, self._grants, self._channels = (
            table(PortSpaceTable), table(GrantDomainTable), table(EventChannelTable))
        self._track, self._active, self._heap = table(MaptrackTable), table(ActiveTable), table(HeapTable)
        self._store = table(StoreTable).data
        self._fifo = FifoTables(state, lambda mfn: None)
        self._shared_info = list(self._domains.shared_info)
        self._runs: dict[Domid, list[Range]] = {}

    # -- the hot part

    def hot_size(self, domid: Domid) -> tuple[int, ...]:
        """Changes when `hot` does."""
        first = self._domains.vcpu_base[domid]
        end = first + self._domains.vcpu_count[domid]
        return (self._spaces.valid[domid], self._grants.maptrack_limit[domid], self._place.store_ring[domid],
                self._fifo.domains.pages[domid], *self._fifo.vcpus.control[first:end], *self._vcpus.info[first:end])

    def hot_words(self, domid: Domid) -> list[Range]:
        """The bytes that `hot_size` reads."""
        first, count = self._domains.vcpu_base[domid], self._domains.vcpu_count[domid]
        return [*self._columns(PortSpaceTable, domid, 1, ("valid",)),
                *self._columns(GrantDomainTable, domid, 1, ("maptrack_limit",)),
                *self._columns(PlaceTable, domid, 1, ("store_ring",)),
                *self._columns(FifoDomainTable, domid, 1, ("pages",)),
                *self._columns(FifoVcpuTable, first, count, ("control",)),
                *self._columns(VcpuTable, first, count, ("info",))]

    def here(self, domid: Domid) -> list[Range]:
        """The byte that says whether the cold part is here."""
        return list(self._columns(PlaceTable, domid, 1, ("here",)))

    def hot(self, domid: Domid) -> list[Range]:
        """What travels with each baton, but for pages: the horizon, too, which the only group may bring nearer."""
        return [*self._columns(HostTable, 0, 1, ("horizon",)),
                *self._rows(domid, BY_DOMAIN - _COLD_BY_DOMAIN - _PARTLY, BY_VCPU - _COLD_BY_VCPU),
                *self._host_ports(domid),
                *self._columns(EventChannelTable, domid * PORTS, self._spaces.valid[domid]),
                *self._columns(FifoPortTable, domid * PORTS, self._spaces.valid[domid]),
                *self._columns(MaptrackTable, domid * self._share(self._track), self._grants.maptrack_limit[domid],
                               ("flags", "domid", "ref"))]

    def pages(self, domid: Domid) -> dict[int, int]:
        """By offset, the lengths of what else is hot and lies in pages that may be the guest's."""
        found = {self._shared_info[domid]: PAGE_SIZE, self._place.store_ring[domid]: PAGE_SIZE}
        found.pop(0, None)
        slot = domid * MOST_PAGES
        for mfn in self._fifo.pages.mfn[slot:slot + self._fifo.domains.pages[domid]]:
            found[mfn << PAGE_SHIFT] = PAGE_SIZE
        first = self._domains.vcpu_base[domid]
        end = first + self._domains.vcpu_count[domid]
        for addresses, size in ((self._vcpus.info[first:end], _INFO),
                                (self._fifo.vcpus.control[first:end], CONTROL_SIZE)):
            for address in addresses:
                if address and address & -PAGE_SIZE not in found:
                    found[address] = size
        return found

    def _host_ports(self, domid: Domid) -> Iterator[Range]:
        """Domain 0's ends of its channels."""
        ends = slice(0, self._spaces.valid[HOST])
        mine = ((numpy.frombuffer(self._channels.remote_dom.cast("B"), numpy.uint16)[ends] == domid)
                & (numpy.frombuffer(self._channels.state, numpy.uint8)[ends] == ChannelState.INTERDOMAIN))
        for port in numpy.flatnonzero(mine).tolist():
            yield from self._columns(EventChannelTable, port, 1)

    # -- the cold part

    def cold_size(self, domid: Domid) -> tuple[int, ...]:
        """Changes when `cold` does."""
        if domid == HOST:
            return tuple(self._store[1:3])
        return (self._heap.pool_unused[domid], self._grants.nr_frames[domid], self._grants.maptrack_limit[domid])

    def cold(self, domid: Domid) -> list[Range]:
        """What is fetched when it is needed; of domain 0 the store's state."""
        if domid == HOST:
            return list(self._store_ranges())
        runs = self._frames(domid)
        shared_info = self._shared_info[domid] >> PAGE_SHIFT
        ranges = [*self._rows(domid, _COLD_BY_DOMAIN, _COLD_BY_VCPU),
                  *self._columns(ActiveTable, domid * self._share(self._active),
                                 self._grants.nr_frames[domid] * ENTRIES_PER_FRAME),
                  *self._columns(MaptrackTable, domid * self._share(self._track),
                                 self._grants.maptrack_limit[domid], ("address",))]
        for kind in BY_FRAME:
            for first, count in runs:
                ranges += self._columns(kind, first, count)
        for first, count in runs:
            if first < self._heap.pool_end[HOST]:  # what the hypervisor keeps for it: tables, grant frames
                end = min(first + count, self._heap.pool_unused[domid])
                cuts = [first, shared_info, shared_info + 1, end] if first <= shared_info < end else [first, end]
                ranges += [(start << PAGE_SHIFT, stop - start << PAGE_SHIFT)
                           for start, stop in zip(cuts[::2], cuts[1::2], strict=True) if start < stop]
        return ranges

    # -- what only a domain that moves takes along

    def memory(self, domid: Domid) -> list[Range]:
        """The frames that may be the guest's.  Some bytes of them may be hot."""
        mine = self._heap.pool_end[HOST]
        return [(first << PAGE_SHIFT, count << PAGE_SHIFT) for first, count in self._frames(domid) if first >= mine]

    def _frames(self, domid: Domid) -> list[Range]:
        runs = self._runs.get(domid)
        if runs is None:
            runs = self._runs[domid] = frame_runs(self._state, domid)
        return runs

    def _store_ranges(self) -> Iterator[Range]:
        yield self._state.address(StoreTable), _STORE_HEADER
        half = (len(self._store) * 8 - _STORE_HEADER) // 2
        for index in range(2):
            used = self._store[1 + index]
            used += -used % _STORE_STEP
            if used:
                yield self._state.address(StoreTable) + _STORE_HEADER + index * half, min(used, half)

    # -- rows

    def _share(self, table: Table) -> int:
        return table.rows // self._domains.rows

    def _rows(self, domid: Domid, by_domain: frozenset[type[Table]],
              by_vcpu: frozenset[type[Table]]) -> Iterator[Range]:
        shape = self._state.shape
        first, count = self._domains.vcpu_base[domid], self._domains.vcpu_count[domid]
        for kind, rows in shape.tables():
            if kind in by_domain:
                share = rows // shape.domains
                yield from self._columns(kind, domid * share, share)
            elif kind in by_vcpu:
                share = rows // shape.vcpus
                yield from self._columns(kind, first * share, count * share)

    def _columns(self, kind: type[Table], first: int, count: int, names: tuple[str, ...] = ()) -> Iterator[Range]:
        if not count:
            return
        at = self._state.address(kind)
        for name, (offset, width) in zip(kind.COLUMNS, kind.places(self._state.table(kind).rows), strict=True):
            if not names or name in names:
                yield at + offset + first * width, count * width
