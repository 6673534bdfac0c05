"""The hypervisor of one host, as one process sees it: every state machine over the host's shared bytes.

Each process that runs domains of the host has one; whoever holds the baton may use his.
"""

from collections.abc import Callable, Iterable, Mapping

from abi.grant_table import GNTMAP_readonly
from abi.hvm import HvmParam
from abi.sched import ShutdownReason
from abi.types import NEVER, Domid, Mfn, Port, VcpuId, VcpuRow
from abi.xen import Virq
from clock.source import Clock
from clock.wallclock import Wallclock, write_wallclock
from grants.grant_table import GrantTables
from grants.host_mapping import NoHostMapping
from grants.tables import ActiveTable, GrantDomainTable, GrantFrameTable, MaptrackTable
from hypervisor.call import Call
from hypervisor.console import ConsoleRing
from hypervisor.console_io import ConsoleLines
from hypervisor.dispatch import Dispatcher
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
from hypervisor.pv import PvMemory
from hypervisor.pv_grants import PvMapping, TypedPhysmapMapping
from hypervisor.pv_tables import PvVcpuTable, TrapTable
from hypervisor.repair import Repair, Wrong
from hypervisor.rounds import Rounds
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainState, DomainTable, GuestKind, VcpuTable
from hypervisor.trace import Trace
from hypervisor.typed_input import TypedInput
from hypervisor.unimplemented import Unimplemented
from hypervisor.vcpu_info import release_vcpu_infos
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
        self.host = table(HostTable)
        self.domains, self.vcpus = table(DomainTable), table(VcpuTable)
        self.trace = Trace(trace_sink)
        self.sched = Scheduler(self.domains, self.vcpus, QUANTUM, table(WatchdogTable))
        heap = Heap(self.arena, table(FrameTable), table(HeapTable), scrub)
        self.frames = Frames(table(FrameTable), heap, self.domains)
        self.memory = Memory(self.arena, self.domains, table(MemoryTable), self.frames,
                             P2m(self.arena, table(P2mTable), self.frames, self._flush), self._memory_crash)
        self.memory.pv = self.pv = PvMemory(state, self.frames, self._flush)
        self.pv_vcpus, self.traps = table(PvVcpuTable), table(TrapTable)
        self.events = EventChannels(table(EventChannelTable), table(VirqTable), table(PortSpaceTable), self.domains,
                                    self.vcpus, self.arena, self.sched.wake, self._trace_event,
                                    FifoTables(state, self.memory.put_writable_page))
        self.grants = GrantTables(table(GrantDomainTable), table(GrantFrameTable), table(ActiveTable),
                                  table(MaptrackTable), self.arena, self.memory,
                                  (TypedPhysmapMapping(self.memory, self.domains, self.pv),
                                   PvMapping(self.arena.u64, self.domains, self.pv, self._vcpu_of), NoHostMapping()))
        self.grants.copies.may_write = self.pv.types.may_write
        self.groups = Groups(table(GroupTable), self.domains, self.vcpus, table(EventChannelTable),
                             table(PortSpaceTable), table(GrantDomainTable), table(MaptrackTable))
        self.grants.set_require(self.groups.require)
        self.events.require = self.groups.require
        self.grants.mappings.loosened = self.events.ports.loosened = self._loosened
        self.serve_store: Callable[[Domid], None] = lambda domid: None
        """Has the store look at a domain's ring; nobody serves it until a toolstack puts its store here."""
        self.recover_store: Callable[[], None] = lambda: None
        """Has the store put right what somebody left who died while he served it; for who holds still all."""
        self.rounds = Rounds(self.host, self.vcpus, self.groups, self._bury, self)
        self.params = HvmParams(table(ParamTable), table(UpcallVectorTable))
        self.assists = table(AssistTable)
        self.unimplemented = Unimplemented(self.log)
        self.console_lines = ConsoleLines(self.log)
        self.dispatcher = Dispatcher(self, rows)
        self.sched.timer_event = lambda row: self.events.send_virq(row, Virq.TIMER)
        self.sched.shut_down = self._shut_down
        self.sched.watchdog_fired = lambda domid: self.log(domid, "Watchdog timer fired")
        self.sched.time_to_type = self.poll_console
        self.events.consumers |= {CONSOLE: self._console_event, STORE: self._store_event}
        self.rings: dict[Domid, ConsoleRing] = {}
        """The consoles' rings, once they have been looked at."""
        self.typed: dict[Domid, TypedInput] = {}
        """What is typed on consoles; each is used by the process that runs the domain, and by no other."""
        self.details: dict[Domid, str] = {}
        """Why domains crash that have not been destroyed yet."""
        self.local_flush: dict[Domid, Callable[[int], None]] = {}
        """By domain that runs in this process: forget the translations of a page, or of all (p2m.EVERY_PAGE)."""
        self.initialise_vcpu: Callable[[Call, VcpuRow, int], None] | None = None
        self.send_nmi: Callable[[VcpuRow], None] | None = None
        """These two are set by an engine whose guests can have them: see `hypervisor.vcpu_op`."""
        self.to_destroy: list[Domid] = []
        """Domains that shut down since the runner last looked."""
        self.lost: set[Domid] = set()
        """Domains whose memory is gone, and with it what only they themselves needed: their node is lost."""
        self.destroyed: list[Callable[[Domid], None]] = []
        """Told of every domain whose resources go."""
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
        self.sched.defer(row, self._later())

    def local_events_need_delivery(self, call: Call) -> bool:
        """Would the calling vCPU take an upcall at once, if it went on now?"""
        return call.event_deliverable()

    def write_wallclock(self, domid: Domid) -> None:
        """Publish the wall clock in the domain's shared_info."""
        write_wallclock(self.arena, self.domains.shared_info[domid], self.domains.width[domid], self.wallclock)

    # -- consoles

    def _console_event(self, domid: Domid, port: Port) -> None:
        self.drain_console(domid)

    def _store_event(self, domid: Domid, port: Port) -> None:
        """A domain has notified the store, which concerns all: it is served a while later (`hypervisor.rounds`)."""
        if not self.groups.table.store[domid]:
            self.groups.table.store[domid] = self._later()

    def _loosened(self, domid: Domid) -> None:
        """A link of the domain may have gone."""
        if not self.groups.table.loosened[domid]:
            self.groups.loosen(domid, self._later())

    def _later(self) -> int:
        return self.rounds.later(self.sched.current)

    def poll_console(self, domid: Domid) -> None:
        """Drain the console of a domain that may have written without saying so (PV GRUB yields until it is empty)."""
        ring = self.rings.get(domid)
        if ring is None or ring.has_output or domid in self.typed:
            self.drain_console(domid)

    def drain_console(self, domid: Domid) -> None:
        """Take what a domain wrote to its console ring and show it, give it what is typed, and tell it of both."""
        page = self.params.get(domid, HvmParam.CONSOLE_PFN)
        ring = self.rings.get(domid)
        if ring is None:
            found = self.memory.find(domid, page)
            if found is None:
                return
            ring = self.open_ring(domid, found[0] << 12)
        data = ring.drain()
        if data:
            self.io.console(domid, data)
        if (domid in self.typed and self._type(domid, ring, data)) or data:
            self.events.notify_guest(domid, Port(self.params.get(domid, HvmParam.CONSOLE_EVTCHN)))

    def open_ring(self, domid: Domid, page: int) -> ConsoleRing:
        """The ring of a domain's console, which is at machine address `page`."""
        ring = self.rings[domid] = ConsoleRing(self.arena, page, lambda text: self.log(domid, text))
        return ring

    def _type(self, domid: Domid, ring: ConsoleRing, data: bytes) -> bool:
        """Go on with the domain's input after it printed `data`.  Was anything typed?"""
        typed = self.typed[domid]
        typed.see(data)
        runs = self.domains.state[domid] == DomainState.RUNNING
        fed = typed.advance(self.vcpus.local_time[self._vcpu_of(domid)], ring.feed if runs else lambda data: 0)
        if runs:
            self.arm_typing(domid)
        return fed

    def arm_typing(self, domid: Domid) -> None:
        """See to it that the domain gets its turn when it is time to type."""
        if domid in self.typed and self.typed[domid].due != (self.sched.watchdogs.typing[domid] or NEVER):
            self.sched.set_typing(domid, self.typed[domid].due)

    # -- the end of domains

    def crash(self, domid: Domid, reason: str, details: Iterable[str] = ()) -> None:
        """Crash a domain, as Xen's domain_crash, with a report."""
        self.details.setdefault(domid, "\n".join((reason, *details)))
        self.io.log(f"domain {domid} crashed: {reason}")
        for line in details:
            self.io.log("    " + line)
        self.sched.shutdown(domid, ShutdownReason.crash)

    def internal_error(self, domid: Domid, text: str) -> None:
        """A fault of this program that a domain pays for: its traceback, for the log."""
        for line in text.rstrip().splitlines():
            self.io.log(f"internal error while d{domid} ran: {line}")

    def triple_fault(self, domid: Domid, detail: str) -> None:
        """The processor shut down: the domain ends as HVM_PARAM_TRIPLE_FAULT_REASON says."""
        reason = self.params.get(domid, HvmParam.TRIPLE_FAULT_REASON)
        self.details.setdefault(domid, detail)
        self.io.log(f"d{domid}: {detail}: shutdown with reason {reason}")
        self.sched.shutdown(domid, reason)

    def _memory_crash(self, domid: Domid, reason: str) -> None:
        self.crash(domid, reason)

    def _shut_down(self, domid: Domid, reason: int) -> None:
        if self.domains.kind[domid] == GuestKind.HOST:  # what outsiders do with domain 0, they do to the machine
            self.io.log(f"domain {domid} shut down: the host stops")
            self.host.stop[0] = 1
        else:
            self.to_destroy.append(domid)

    def reap(self) -> None:
        """Release what the domains have that have shut down: their ports close, their grants go, their memory is free.

        The runner calls it between slices, when no engine is inside a guest.  The rest is done at the end of the round.
        """
        while self.to_destroy:
            domid = self.to_destroy.pop()
            if self.groups.reach is not None:
                self.groups.reach(domid)
            self._last_words(domid)
            self.release(domid)
            self._tell_end(domid)

    def lose(self, lost: Mapping[Domid, str]) -> Wrong:
        """The processes that ran these domains died, in the middle of anything: they crash, for the reasons given.

        For who holds still all others.  Gives how much had to be put right for those.
        """
        dead = [domid for domid in lost if self.domains.state[domid] != DomainState.FREE]
        for domid in dead:
            if self.domains.state[domid] in (DomainState.BUILDING, DomainState.RUNNING):
                self.crash(domid, lost[domid])
        ending = [domid for domid in dead if not self.domains.released[domid]]
        for domid in ending:  # or it had shut down, and died before its things were taken from it
            self._last_words(domid)
            self.domains.released[domid] = 1
        self.to_destroy = [domid for domid in self.to_destroy if domid not in dead]
        wrong = Repair(self.state, self.frames, self.memory.p2m, self.groups, self.sched.timers,
                       self.sched.wake).run(dead)
        for domid in ending:
            self._tell_end(domid)
        for domid in dead:  # others hear of it as of any end
            if self.domains.state[domid] != DomainState.DEAD and not self.groups.table.ended[domid]:
                self.groups.table.ended[domid] = self._later()
        self.recover_store()
        self.rounds.look_round()
        return wrong

    def _last_words(self, domid: Domid) -> None:
        """Show what a domain that has shut down still had to say."""
        self.drain_console(domid)
        self.console_lines.flush(domid)
        row = VcpuRow(self.domains.vcpu_base[domid])
        self.trace.stop(domid, self.vcpus.local_time[row], VcpuId(0), self.domains.shutdown_code[domid])

    def _tell_end(self, domid: Domid) -> None:
        self.io.ended(domid, self.domains.shutdown_code[domid], self.details.pop(domid, ""))

    def destroy(self, domid: Domid) -> None:
        """Take everything from a domain that does not run any more, at once; for who holds still all others."""
        self.release(domid)
        self.groups.table.ended[domid] = 0
        self._bury(domid)

    def release(self, domid: Domid) -> None:
        """Take from a domain that has shut down what is its own, or its group's."""
        self.domains.state[domid] = DomainState.SHUTDOWN
        self.domains.released[domid] = 1
        self.groups.table.ended[domid] = self._later()
        self.events.close_all(domid)
        self.grants.destroy(domid)
        if domid in self.lost:
            self.domains.tot_pages[domid] = 0
            return
        release_vcpu_infos(self, domid)
        self.pv.destroy(domid)
        self.memory.free_domain(domid)

    def _bury(self, domid: Domid) -> None:
        """The end of a released domain, which everybody may know.  Who dies while he does it is followed by another."""
        for tell in self.destroyed:
            tell(domid)
        self.domains.state[domid] = DomainState.DEAD
        self.host.alive[0] -= self.domains.awaited[domid]

    def lose_node(self, domid: Domid) -> None:
        """A domain's node is lost: from now on its books say what those of the others say."""
        self.lost.add(domid)
        mappings = self.grants.mappings
        mappings.recount(domid)
        if self.domains.kind[domid] == GuestKind.PV:  # its page tables held what they mapped, once more
            for mfn, flags in mappings.held(domid):
                if not flags & GNTMAP_readonly:
                    self.pv.types.put_type(mfn)
                self.frames.put_page(mfn)

    # -- wiring

    def set_node(self, reach: Callable[[int], None], fetch: Callable[[Domid, Mfn], None]) -> None:
        """The host is on several nodes: see `Groups.reach` and `GrantTables.set_fetch`."""
        self.groups.reach = self.pv.entries.reach = reach
        self.grants.set_fetch(fetch)

    def _vcpu_of(self, domid: Domid) -> VcpuRow:
        """The vCPU of a domain that makes the call which is being done: the current one."""
        current = self.sched.current
        if current is None or self.vcpus.domid[current] != domid:
            return VcpuRow(self.domains.vcpu_base[domid])
        return current

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
