"""The hypervisor of one host, as one process sees it: every state machine over the host's shared bytes.

Each process that runs domains of the host has one; whoever holds the baton may use his.
"""

from collections.abc import Callable, Iterable

from abi.types import NEVER, Domid, Mfn, Port, VcpuRow
from abi.xen import Virq
from clock.source import Clock
from clock.wallclock import Wallclock, write_wallclock
from grants.grant_table import GrantTables
from grants.host_mapping import NoHostMapping
from grants.tables import ActiveTable, GrantDomainTable, GrantFrameTable, GrantStatusTable, MaptrackTable
from hypervisor.call import Call
from hypervisor.console_io import ConsoleLines
from hypervisor.consoles import Consoles
from hypervisor.dispatch import Dispatcher
from hypervisor.domain_end import DomainEnds
from hypervisor.event_channel import EventChannels
from hypervisor.event_channel_fifo import FifoTables
from hypervisor.event_channel_tables import EventChannelTable, PortSpaceTable, VirqTable
from hypervisor.frames import Frames, FrameTable
from hypervisor.groups import Groups, GroupTable
from hypervisor.heap import Heap, HeapTable
from hypervisor.host_io import HostIo, Keeper
from hypervisor.host_state import FIRST_FRAME, HostState, HostTable
from hypervisor.hvm_params import HvmParams, ParamTable, UpcallVectorTable
from hypervisor.hypercalls import ROWS, Row
from hypervisor.memory import Memory, MemoryTable
from hypervisor.p2m import P2m, P2mTable
from hypervisor.page_transfer import PageTransfers
from hypervisor.pv import PvMemory
from hypervisor.pv_grants import PvMapping, TypedPhysmapMapping
from hypervisor.pv_tables import PvVcpuTable, TrapTable
from hypervisor.rounds import Rounds
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.trace import Trace
from hypervisor.unimplemented import Unimplemented
from hypervisor.vm_assist import AssistTable
from hypervisor.watchdog import WatchdogTable
from hypervisor.xen_version import XenVersion

QUANTUM = 1_000_000
"""Nanoseconds that a vCPU may get ahead of the others."""
CONSOLE, STORE = 1, 2
"""Numbers of the back ends that consume events of the console's and the store's port."""


class Hypervisor:
    """`state` holds the shared bytes; `rows` is the hypercall table, `io` takes what is to be shown."""

    def __init__(self, state: HostState, clock: Clock, version: XenVersion, wallclock: Wallclock, io: HostIo, *,
                 rows: Iterable[Row] = ROWS,
                 scrub: Callable[[int, int], None] | None = None,
                 trace_sink: Callable[[Domid, bytes], object] | None = None) -> None:
        self.state, self.arena, self.clock, self.version, self.io = state, state.arena, clock, version, io
        self.wallclock = wallclock
        table = state.table
        self.consoles, ends = Consoles(self), DomainEnds(self)
        # What engines and handlers ask for, without a step in between.
        self.poll_console, self.drain_console = self.consoles.poll, self.consoles.drain
        self.crash, self.internal_error, self.triple_fault = ends.crash, ends.internal_error, ends.triple_fault
        self.reap, self.lose, self.lose_node = ends.reap, ends.lose, ends.lose_node
        self.destroy, self.release = ends.destroy, ends.release
        self.to_destroy, self.destroyed = ends.to_destroy, ends.destroyed
        self.host = table(HostTable)
        self.domains, self.vcpus = table(DomainTable), table(VcpuTable)
        self.trace = Trace(trace_sink)
        self.sched = Scheduler(self.domains, self.vcpus, QUANTUM, table(WatchdogTable))
        heap = Heap(self.arena, table(FrameTable), table(HeapTable), scrub)
        self.frames = Frames(table(FrameTable), heap, self.domains)
        self.memory = Memory(self.arena, self.domains, table(MemoryTable), self.frames,
                             P2m(self.arena, table(P2mTable), self.frames, self._flush), self.crash)
        self.memory.pv = self.pv = PvMemory(state, self.frames, self._flush)
        self.pv_vcpus, self.traps = table(PvVcpuTable), table(TrapTable)
        self.events = EventChannels(table(EventChannelTable), table(VirqTable), table(PortSpaceTable), self.domains,
                                    self.vcpus, self.arena, self.sched.wake, self._trace_event,
                                    FifoTables(state, self.memory.put_writable_page))
        self._transfers = PageTransfers(self, self.arena)
        self.grants = GrantTables(table(GrantDomainTable), table(GrantFrameTable), table(GrantStatusTable),
                                  table(ActiveTable), table(MaptrackTable), self.arena, self.memory, self._transfers,
                                  (TypedPhysmapMapping(self.memory, self.domains, self.pv),
                                   PvMapping(self.arena.u64, self.domains, self.pv, self.vcpu_of), NoHostMapping()))
        self.grants.copies.may_write = self.pv.types.may_write
        self.grants.versions.crash = self._status_frames_in_use
        self.groups = Groups(table(GroupTable), self.domains, self.vcpus, table(EventChannelTable),
                             table(PortSpaceTable), table(GrantDomainTable), table(MaptrackTable))
        self.grants.set_require(self.groups.require)
        self.events.require = self.groups.require
        self.grants.mappings.loosened = self.events.ports.loosened = self._loosened
        self.serve_store: Callable[[Domid], None] = lambda domid: None
        """Has the store look at a domain's ring; nobody serves it until a toolstack puts its store here."""
        self.recover_store: Callable[[], None] = lambda: None
        """Has the store put right what somebody left who died while he served it; for who holds still all."""
        self.rounds = Rounds(self.host, self.vcpus, self.groups, ends.bury, self)
        self.params = HvmParams(table(ParamTable), table(UpcallVectorTable))
        self.assists = table(AssistTable)
        self.unimplemented = Unimplemented(self.log)
        self.console_lines = ConsoleLines(self.log)
        self.dispatcher = Dispatcher(self, rows)
        self.sched.timer_event = lambda row: self.events.send_virq(row, Virq.TIMER)
        self.sched.shut_down = ends.shut_down
        self.sched.watchdog_fired = lambda domid: self.log(domid, "Watchdog timer fired")
        self.sched.time_to_type = self.poll_console
        self.sched.apic_timer = lambda row, now: self.local_apic[row](now)
        self.events.consumers |= {CONSOLE: self._console_event, STORE: self._store_event}
        self.local_flush: dict[Domid, Callable[[int], None]] = {}
        """By domain that runs in this process: forget the translations of a page, or of all (p2m.EVERY_PAGE)."""
        self.local_apic: dict[VcpuRow, Callable[[int], bool]] = {}
        """By vCPU that runs in this process and has an APIC: `Vlapic.timer_fired`."""
        self.initialise_vcpu: dict[Domid, Callable[[Call, VcpuRow, int], None]] = {}
        """By domain that runs in this process: see `hypervisor.vcpu_op`."""
        self.send_nmi: Callable[[VcpuRow], None] | None = None
        """Set by an engine whose guests can have it: see `hypervisor.vcpu_op`."""
        self.keepers: dict[str, Keeper] = {}
        """Who else keeps something in this process: see `hypervisor.local_state`."""

    def format(self) -> None:
        """Make a new host of zeroed bytes."""
        self.frames.format(FIRST_FRAME, self.state.shape.pool)
        self.sched.format()
        self.host.mark[0] = self.host.horizon[0] = NEVER

    # -- what handlers ask for (hypervisor.host.Host and the others' protocols)

    def log(self, domid: Domid, text: str) -> None:
        """A line of the hypervisor's own log, about or for `domid`."""
        self.io.log(text if text.startswith("(d") else f"d{domid}: {text}")

    def latch_width(self, domid: Domid, width: int) -> None:
        """The domain's shared_info is laid out for `width` bits from now on."""
        if self.domains.width[domid] != width:
            self.domains.width[domid] = width
            self.write_wallclock(domid)

    def join(self, row: VcpuRow, other: Domid) -> None:
        """The current vCPU's call goes on in the next round, in one group with domain `other`."""
        self.groups.wish(row, other)
        self.sched.defer(row, self.later())

    def local_events_need_delivery(self, call: Call) -> bool:
        """Would the calling vCPU take an upcall at once, if it went on now?"""
        return call.event_deliverable()

    def write_wallclock(self, domid: Domid) -> None:
        """Publish the wall clock in the domain's shared_info."""
        write_wallclock(self.arena, self.domains.shared_info[domid], self.domains.width[domid], self.wallclock)

    # -- what is served later

    def _console_event(self, domid: Domid, port: Port) -> None:
        self.consoles.drain(domid)

    def _store_event(self, domid: Domid, port: Port) -> None:
        """A domain has notified the store, which concerns all: it is served a while later (`hypervisor.rounds`)."""
        if not self.groups.table.store[domid]:
            self.groups.table.store[domid] = self.later()

    def _loosened(self, domid: Domid) -> None:
        """A link of the domain may have gone."""
        if not self.groups.table.loosened[domid]:
            self.groups.loosen(domid, self.later())

    def later(self) -> int:
        """When what is asked for now is done: at the end of a round."""
        return self.rounds.later(self.sched.current)

    # -- wiring

    def set_node(self, reach: Callable[[int], None], fetch: Callable[[Domid, Mfn], None]) -> None:
        """The host is on several nodes: see `Groups.reach` and `GrantTables.set_fetch`."""
        self.groups.reach = self.pv.entries.reach = reach
        self.grants.set_fetch(fetch)
        self._transfers.fetch = fetch

    def vcpu_of(self, domid: Domid) -> VcpuRow:
        """The vCPU of a domain that makes the call which is being done: the current one."""
        current = self.sched.current
        if current is None or self.vcpus.domid[current] != domid:
            return VcpuRow(self.domains.vcpu_base[domid])
        return current

    def _status_frames_in_use(self, domid: Domid) -> None:
        if self.memory.root(domid):
            self.crash(domid, "status frames of its grant table are in use, and it wants version 1 back")

    def _flush(self, domid: Domid, gfn: int) -> None:
        local = self.local_flush.get(domid)
        if local is not None:
            local(gfn)
        else:
            self.domains.flush[domid] = 1

    def _trace_event(self, receiver: Domid, port: Port) -> None:
        current = self.sched.current
        if current is not None:
            vcpus = self.vcpus
            self.trace.event(vcpus.domid[current], vcpus.local_time[current], vcpus.vcpu_id[current],  # type: ignore[arg-type]
                             receiver, port)
