"""The host's shared bytes: where machine memory and each flat table lie in one buffer.

    0          1 MiB                                frames * 4 KiB
    | nobody's | the hypervisor's pool | extents ... | tables ... |

The lowest MiB belongs to each engine alone (`domains.engine.LOW`).  The tables lie behind the frames, in the same
buffer, so that a snapshot of the host is a copy of the buffer, and that PV guests can be shown the M2P, which is the
first column of the frame table.  Everything is sparse: a table costs what is used of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

from abi.event_channel import EVTCHN_FIFO_MAX_QUEUES
from abi.types import PAGE_SIZE
from abi.xen import NR_VIRQS
from grants.tables import (
    DEFAULT_MAX_GRANT_FRAMES,
    DEFAULT_MAX_MAPTRACK_FRAMES,
    DEFAULT_MAX_STATUS_FRAMES,
    ENTRIES_PER_FRAME,
    HANDLES_PER_FRAME,
    ActiveTable,
    GrantDomainTable,
    GrantFrameTable,
    GrantStatusTable,
    MaptrackTable,
)
from hypervisor.event_channel_fifo import (
    MOST_PAGES,
    FifoDomainTable,
    FifoPageTable,
    FifoPortTable,
    FifoQueueTable,
    FifoVcpuTable,
)
from hypervisor.event_channel_tables import PORTS, EventChannelTable, PortSpaceTable, VirqTable
from hypervisor.frames import FrameTable
from hypervisor.groups import GroupTable
from hypervisor.heap import LARGE, HeapTable
from hypervisor.hvm_params import ROWS_A_DOMAIN, ParamTable, UpcallVectorTable
from hypervisor.memory import MemoryTable, pool_share
from hypervisor.p2m import P2mTable
from hypervisor.place import PlaceTable
from hypervisor.pv_tables import (
    DESCRIPTOR_FRAMES,
    TRAPS,
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
from hypervisor.pvh_layout import SLACK
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.vm_assist import AssistTable
from hypervisor.watchdog import WatchdogTable
from state.arena import Arena
from state.table import Table

FIRST_FRAME = 256
"""Frames below this one are each engine's own."""
_POOL_BASE = 256
T = TypeVar("T", bound=Table)


class HostTable(Table):
    """One row: what concerns the whole host."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"stop": "B", "request": "B", "outcome": "B", "alive": "I", "alone": "B",
                                             "horizon": "Q", "round": "Q", "topology": "I", "mark": "Q"}
    stop: "memoryview[int]"
    """Set from outside: whoever runs stops at the end of its slice."""
    request: "memoryview[int]"
    """Set by the hypervisor's process: it has something to do, and wants the baton at the end of the slice."""
    outcome: "memoryview[int]"
    """How the run ended (`domains.runner.Outcome`); 0 while it goes on."""
    alive: "memoryview[int]"
    """Domains that the run waits for and that have not ended."""
    alone: "memoryview[int]"
    """There is one sharing group."""
    horizon: "memoryview[int]"
    """Nanoseconds of system time at which the round ends (`hypervisor.rounds`)."""
    round: "memoryview[int]"
    """How many rounds there were."""
    topology: "memoryview[int]"
    """How often the sharing groups changed."""
    mark: "memoryview[int]"
    """When the hypervisor's process wants to end the round (for a checkpoint), or NEVER."""


class StoreTable(Table):
    """Bytes in which the store keeps its state (`xenstore.shared`); STORE_BYTES for each domain."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"data": "Q"}
    data: "memoryview[int]"


STORE_BYTES = 4 << 20
"""What a domain may make the store hold, twice: its quotas allow less."""


@dataclass(frozen=True)
class HostShape:
    """How large a host is: `domains` counts domids from 0, `vcpus` all their vCPUs, `memory` is RAM in bytes."""

    domains: int
    vcpus: int
    memory: int

    @property
    def pool(self) -> int:
        """Frames of the hypervisor's own, including those that round the extents' start up to 2 MiB."""
        pages = -(-self.memory // PAGE_SIZE)
        m2p = pages // LARGE ** 2 * 3  # the tables of the M2P's own tables
        pool = _POOL_BASE + m2p + self.domains * pool_share(SLACK + LARGE) + 2 * pages // LARGE
        return pool + -(FIRST_FRAME + pool) % LARGE

    @property
    def frames(self) -> int:
        """All frames; each domain may waste up to two large pages by the size and the alignment of its heap."""
        return FIRST_FRAME + self.pool + -(-self.memory // PAGE_SIZE) + self.domains * (2 * LARGE + SLACK)

    def tables(self) -> list[tuple[type[Table], int]]:
        """Every table with its rows, in the order in which they lie."""
        domains, vcpus = self.domains, self.vcpus
        return [
            (FrameTable, self.frames), (HostTable, 1), (DomainTable, domains), (VcpuTable, vcpus), (HeapTable, domains),
            (GroupTable, domains), (PlaceTable, domains), (MemoryTable, domains), (P2mTable, domains),
            (ParamTable, domains * ROWS_A_DOMAIN),
            (UpcallVectorTable, vcpus), (AssistTable, domains), (WatchdogTable, domains),
            (PortSpaceTable, domains), (VirqTable, vcpus * NR_VIRQS), (EventChannelTable, domains * PORTS),
            (GrantDomainTable, domains), (GrantFrameTable, domains * DEFAULT_MAX_GRANT_FRAMES),
            (GrantStatusTable, domains * DEFAULT_MAX_STATUS_FRAMES),
            (ActiveTable, domains * DEFAULT_MAX_GRANT_FRAMES * ENTRIES_PER_FRAME),
            (MaptrackTable, domains * DEFAULT_MAX_MAPTRACK_FRAMES * HANDLES_PER_FRAME),
            (PageTypeTable, self.frames), (M2p32Table, self.frames), (PvHostTable, 1), (PvDomainTable, domains),
            (PvNestedTable, domains), (PvVcpuTable, vcpus), (TrapTable, vcpus * TRAPS),
            (GdtFrameTable, vcpus * DESCRIPTOR_FRAMES), (LdtFrameTable, vcpus * DESCRIPTOR_FRAMES),
            (FifoDomainTable, domains), (FifoPageTable, domains * MOST_PAGES), (FifoVcpuTable, vcpus),
            (FifoQueueTable, vcpus * EVTCHN_FIFO_MAX_QUEUES), (FifoPortTable, domains * PORTS),
            (StoreTable, domains * STORE_BYTES // 8),
        ]

    @property
    def size(self) -> int:
        """Bytes of the whole buffer."""
        return self.frames * PAGE_SIZE + sum(_pages(table.size(rows)) for table, rows in self.tables())


class HostState:
    """The tables of a host of `shape` over `buffer`, which has `shape.size` bytes.  A new host's buffer is all zero."""

    def __init__(self, buffer: memoryview, shape: HostShape) -> None:
        self.shape = shape
        self.arena = Arena(buffer)
        self._tables: dict[type[Table], Table] = {}
        self._offsets: dict[type[Table], int] = {}
        offset = shape.frames * PAGE_SIZE
        for table, rows in shape.tables():
            size = _pages(table.size(rows))
            self._tables[table], self._offsets[table] = table(buffer[offset:offset + size], rows), offset
            offset += size

    def table(self, kind: type[T]) -> T:
        """The host's table of this kind."""
        return cast(T, self._tables[kind])

    def address(self, kind: type[Table]) -> int:
        """The machine address of the host's table of this kind, the first byte of a page."""
        return self._offsets[kind]


def _pages(size: int) -> int:
    return size + -size % PAGE_SIZE
