"""What of a host's shared bytes is one domain's: its heap's frames, and its rows of every table.

Ranges are (offset, length) in the host's buffer, in ascending order.  No byte is in two domains' ranges, and what is in
none is padding, always zero.  Domain 0 stands for the host itself: its heap, its seat, and the tables that are for all.
So a domain can be moved to another host of the same shape, whose domain 0 is the same, by copying its ranges: frame
numbers, and therefore page tables, hold there as they do here.  Where it shares pages or ports with others, theirs
have to go with it.
"""

from collections.abc import Iterable, Iterator

import numpy

from abi.types import PAGE_SIZE, Domid
from grants.tables import ActiveTable, GrantDomainTable, GrantFrameTable, GrantStatusTable, MaptrackTable
from hypervisor.event_channel_fifo import (
    FifoDomainTable,
    FifoPageTable,
    FifoPortTable,
    FifoQueueTable,
    FifoVcpuTable,
)
from hypervisor.event_channel_tables import EventChannelTable, PortSpaceTable, VirqTable
from hypervisor.frames import FrameTable
from hypervisor.groups import GroupTable
from hypervisor.heap import HeapTable
from hypervisor.host_state import HostState, HostTable, StoreTable
from hypervisor.hvm_params import ParamTable, UpcallVectorTable
from hypervisor.memory import MemoryTable
from hypervisor.p2m import P2mTable
from hypervisor.place import PlaceTable
from hypervisor.pv_tables import (
    GdtFrameTable,
    LdtFrameTable,
    M2p32Table,
    PageTypeTable,
    PvDomainTable,
    PvHostTable,
    PvNestedTable,
    PvVcpuTable,
    TrapTable,
)
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.vm_assist import AssistTable
from hypervisor.watchdog import WatchdogTable
from state.sparse import data_pages
from state.table import Table

Range = tuple[int, int]
HOST = Domid(0)
BY_FRAME: frozenset[type[Table]] = frozenset((FrameTable, PageTypeTable, M2p32Table))
BY_VCPU: frozenset[type[Table]] = frozenset((
    VcpuTable, UpcallVectorTable, VirqTable, PvVcpuTable, TrapTable, GdtFrameTable, LdtFrameTable, FifoVcpuTable,
    FifoQueueTable))
"""Each vCPU has an equal share of the rows, in order."""
BY_DOMAIN: frozenset[type[Table]] = frozenset((
    DomainTable, HeapTable, GroupTable, MemoryTable, P2mTable, ParamTable, AssistTable, WatchdogTable, PortSpaceTable,
    EventChannelTable, FifoDomainTable, FifoPageTable, FifoPortTable, GrantDomainTable, GrantFrameTable,
    GrantStatusTable, ActiveTable, MaptrackTable, PvDomainTable, PvNestedTable, PlaceTable))
"""Each domain has an equal share of the rows, in order of domid."""
FOR_ALL: frozenset[type[Table]] = frozenset((HostTable, PvHostTable, StoreTable))


def domain_ranges(state: HostState, domid: Domid) -> list[Range]:
    """The bytes of a domain, or for domain 0 those of the host itself.

    Raises LookupError for a table of which nobody has said whose its rows are.
    """
    frames = frame_runs(state, domid)
    return _joined(sorted((
        *((first * PAGE_SIZE, count * PAGE_SIZE) for first, count in frames), *_rows(state, domid, frames))))


def frame_runs(state: HostState, domid: Domid) -> list[Range]:
    """The frames of a domain's heap, free or not: (first, count)."""
    mine = numpy.flatnonzero(numpy.frombuffer(state.table(FrameTable).heap, numpy.uint16) == domid)
    if not len(mine):
        return []
    starts = numpy.flatnonzero(numpy.diff(mine, prepend=mine[0] - 2) != 1)
    counts = numpy.diff(starts, append=len(mine))
    return list(zip(mine[starts].tolist(), counts.tolist(), strict=True))


def _rows(state: HostState, domid: Domid, frames: list[Range]) -> Iterator[Range]:
    """The rows of all tables, column by column."""
    domains, shape = state.table(DomainTable), state.shape
    vcpus = domains.vcpu_base[domid], domains.vcpu_count[domid]
    for kind, rows in shape.tables():
        if kind in BY_FRAME:
            runs = frames
        elif kind in BY_VCPU:
            share = rows // shape.vcpus
            runs = [(vcpus[0] * share, vcpus[1] * share)]
        elif kind in BY_DOMAIN:
            share = rows // shape.domains
            runs = [(domid * share, share)]
        elif kind in FOR_ALL:
            runs = [(0, rows)] if domid == HOST else []
        else:
            raise LookupError(f"{__name__} does not say whose the rows of {kind.__name__} are")
        at = state.address(kind)
        for offset, width in kind.places(rows):
            for first, count in runs:
                if count:
                    yield at + offset + first * width, count * width


def _joined(ranges: Iterable[Range]) -> list[Range]:
    joined: list[Range] = []
    for offset, length in ranges:
        if joined and sum(joined[-1]) == offset:
            joined[-1] = joined[-1][0], joined[-1][1] + length
        else:
            joined.append((offset, length))
    return joined


def held(ranges: Iterable[Range], descriptor: int, size: int) -> list[Range]:
    """The parts of ascending `ranges` in which the first `size` bytes of an open file have no holes."""
    data = [(start * PAGE_SIZE, end * PAGE_SIZE) for start, end in data_pages(descriptor, size)]
    found, at = [], 0
    for offset, length in ranges:
        while at < len(data) and data[at][1] <= offset:
            at += 1
        for start, end in data[at:]:
            if start >= offset + length:
                break
            first = max(start, offset)
            found.append((first, min(end, offset + length) - first))
    return found


def copy_ranges(source: memoryview, target: memoryview, ranges: Iterable[Range]) -> int:
    """Copy them from one host's buffer to another's, and give how many bytes that was.

    To a new host, whose buffer is zero, it is enough to copy what is `held`; the rest would only be filled with zeros.
    """
    total = 0
    for offset, length in ranges:
        target[offset:offset + length] = source[offset:offset + length]
        total += length
    return total
