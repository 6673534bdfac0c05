"""The actors of the Ray runtime, as plain classes: the hypervisor, and some domains.  `ray_runtime` makes them actors.

The hypervisor actor owns the host's shared memory: a file without a name, which the others open through /proc, so that
nothing is left behind whoever dies.  A domain actor attaches to it, loads its domains, and takes part in handing the
baton round.  Ray carries none of that: it places, starts and supervises the actors, and carries what they print.
"""

import ctypes
import mmap
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from abi.types import PAGE_SIZE, Domid, VcpuRow
from domains.baton import Baton
from domains.lanes import Lanes
from domains.native import BlockMeter
from domains.node import AskTable, Node
from domains.runner import Outcome, Runner, vcpus_of
from domains.seat import HYPERVISOR, BatonTable, Task
from domains.selfcheck import proven_meter
from domains.teams import GroupRows
from domains.vcpu import Vcpu
from hypervisor import local_state
from hypervisor.hypervisor import Hypervisor
from hypervisor.place import PlaceTable
from hypervisor.tables import DomainState
from toolstack.actor_io import ActorIo, Output
from toolstack.checkpoint import Checkpoint
from toolstack.checkpoint_parts import DomainPart, complete_parts, restore_domain, save_domain
from toolstack.checkpointer import Checkpointer, forget_absent, restore_host
from toolstack.console import Console
from toolstack.errors import CheckpointError, HostError, MigrationError
from toolstack.jobs import LOOK, Jobs, RunOverError
from toolstack.link import Address
from toolstack.link_events import LinkError
from toolstack.mover import Mover
from toolstack.node_agent import Agent, PairTraffic, make_bell
from toolstack.node_setup import (
    free_process,
    join_node,
    join_nodes,
    make_agent,
    process_rows,
    publish_ring,
    seat_processes,
)
from toolstack.orders import Order, OrderError, Orders, Work
from toolstack.outside import DomainInfo, Outside, Reply
from toolstack.plan import DomainPlan, HostPlan
from toolstack.report import DomainReport, MigrationReport
from toolstack.session import (
    build_domain,
    create_domains,
    domain_report,
    make_hypervisor,
    shape_of,
    start_domains,
)
from toolstack.timeline import Timeline
from toolstack.wire import LinkWire

Ask = Callable[[], Sequence[Mapping[int, DomainPart]]]


_PATIENCE = 120.0
"""Seconds that the other nodes may take to load their domains."""


@dataclass(frozen=True)
class Attachment:
    """How another process of this machine gets at the host's memory."""

    path: str
    boot: int
    node: int = 0
    """Which node of the host's it is."""
    bell: str = ""
    """The pipe of the node's agent; empty on a host of one node."""


def attachment(file: int, boot: int, number: int, bell: int) -> Attachment:
    """How others get at the memory that this process has as `file`."""
    folder = f"/proc/{os.getpid()}/fd"
    return Attachment(f"{folder}/{file}", boot, number, "" if bell < 0 else f"{folder}/{bell}")


@dataclass(frozen=True)
class Keep:
    """What an actor does with what it sees, beside giving it back."""

    trace: bool = False
    """Keep the trace."""
    logs: bool = False
    """Print consoles, and the hypervisor's log, to standard output, which is the log of the actor's Ray worker."""
    metrics: bool = False
    """Tell Ray's metrics how much the domains do (`toolstack.ray_metrics`)."""


class Result(NamedTuple):
    """What a domain actor gives back for each domain: its report, and its part of the trace where that is kept."""

    report: DomainReport
    pieces: list[bytes]


def buffer_size(plan: HostPlan) -> int:
    """Bytes of a host's shared memory with the baton's table behind the rest."""
    processes = process_rows(plan)
    size = shape_of(plan).size + BatonTable.size(processes) + AskTable.size(processes)
    return size + -size % PAGE_SIZE


_SMALL = 32 << 20
"""Bytes of a guest that has little code."""
_PR_SET_THP_DISABLE = 41


def without_huge_pages() -> None:
    """Have this process's memory in plain pages from now on.

    An engine asks for huge ones for the code that it makes, 2 MiB at a time, of which a small guest's fills a tenth.
    It makes guests with much code faster.
    """
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)  # where the system refuses, it only costs memory


class Member:
    """What every actor has: the shared memory, a hypervisor over it, and its end of the baton."""

    def __init__(self, plan: HostPlan, file: int, me: int, boot: int, keep: Keep, *,
                 number: int = 0, bell: int = -1) -> None:
        """`number` and `bell` are the node's and the writing end of its agent's pipe, on a host of several nodes."""
        memory = mmap.mmap(file, buffer_size(plan))
        self.plan, self._me, self.file, self.memory = plan, me, file, memory
        self.retired = False
        """It takes no part in the run any more, which goes on."""
        self.output = Output()
        labels = {domain.domid: f"{domain.name} |" for domain in plan.domains} | {ActorIo.LOG: "(XEN)"}
        self.io = ActorIo(self.output, labels if keep.logs else None)
        self.pieces: dict[int, list[bytes]] = {}
        sink = (lambda domid, data: self.pieces.setdefault(domid, []).append(data)) if keep.trace else None
        view, size = memoryview(memory), shape_of(plan).size
        self.hv: Hypervisor = make_hypervisor(plan, memory, self.io, boot=boot, trace_sink=sink)
        table = BatonTable(view[size:], process_rows(plan))
        hv = self.hv
        groups = GroupRows(hv.groups, hv.domains, hv.vcpus)
        self.node = None
        if plan.nodes > 1:
            asks = AskTable(view[size + BatonTable.size(table.rows):], table.rows)
            self.node = Node(number, me, asks, hv.state.table(PlaceTable), bell,
                             lambda: bool(hv.host.outcome[0]))
            if me != HYPERVISOR:  # who owns the memory has to create the domains first
                join_node(hv, self.node)
        self.baton = Baton(table, me, file, lambda: self.retired or bool(hv.host.outcome[0]), hv.vcpus.process,
                           groups.processes, lambda: hv.host.topology[0], plan.pcpus, self.node)
        self.batons = table

    def _seat_domains(self) -> None:
        """Say of each domain which process runs it, and where."""
        for index, actor in enumerate(self.plan.actors):
            for domid in actor.domids:
                self.hv.state.table(PlaceTable).home[domid] = actor.node
                for row in vcpus_of(self.hv, Domid(domid)):
                    self.hv.vcpus.process[row] = index + 1
        if self.node is not None:
            seat_processes(self.plan, self.node.number, self.batons)
            join_node(self.hv, self.node)

    def domids_of(self, process: int) -> list[Domid]:
        """The domains that a process runs, or ran when they ended."""
        rows = ((Domid(domain.domid), self.hv.domains.vcpu_base[domain.domid]) for domain in self.plan.domains)
        return [domid for domid, row in rows if self.hv.vcpus.process[row] == process]

    def _leave(self) -> None:
        """The run has ended: let everybody see that, and close the output."""
        if not self.retired:
            self.baton.wake_all()
        if self.node is not None and not self.retired:
            self.node.ring()
        for domid in self.io.consoles:
            self.io.flush(domid)
        self.output.close()

    def lines(self) -> list[tuple[int, str]] | None:
        """The next lines of output (domid or -1, text), waiting for them; None when there are no more."""
        return self.output.take()


class HypervisorActor(Member):
    """Owns the host's memory and its tables, creates the domains, and acts for those whose actor died."""

    def __init__(self, plan: HostPlan, keep: Keep = Keep(), saved: Checkpoint | None = None) -> None:
        size = buffer_size(plan)
        self.file = os.memfd_create(f"domus-{plan.name}")
        os.ftruncate(self.file, size)
        self._saved, self._keep = saved, keep
        self._failure: CheckpointError | None = None
        try:
            self._boot = time.monotonic_ns() if saved is None else restore_host(saved, self.file, traced=keep.trace)
        except CheckpointError as error:  # who raised it here would be one of Ray's that died
            self._failure = error
            return
        self._bell = make_bell() if plan.nodes > 1 else (-1, -1)
        super().__init__(plan, self.file, HYPERVISOR, self._boot, keep, bell=self._bell[1])
        self._jobs = Jobs(self.hv.host)
        self.orders = Orders(lambda: bool(self.hv.host.outcome[0]))
        self._mover: Mover | None = None
        self._outside = Outside(self.hv, self._jobs, self._reach_all)
        if saved is None:
            create_domains(self.hv, plan)
        forget_absent(self.hv, plan)
        self._seat_domains()
        self.agent: Agent | None = None
        self.batons.word[HYPERVISOR] = Task.ROUND

    def attachment(self) -> Attachment:
        """What domain actors attach with.  Raises CheckpointError where this one could not be restored."""
        if self._failure is not None:
            raise self._failure
        return attachment(self.file, self._boot, 0, self._bell[1])

    def listen(self, host: str, secret: bytes) -> Address:
        """On a host of several nodes: where this one listens to the others.  Raises HostError."""
        self.agent = make_agent(self, 0, self._bell[0], host, secret, self._node_lost)
        self._mover = Mover(
            self.hv, self.plan, self._jobs, self.agent, self.orders,
            lambda domid: self.hv.vcpus.process[self.hv.domains.vcpu_base[domid]],
            lambda: free_process(self.hv, self.plan, self.batons))
        return self.agent.address

    def join(self, addresses: Mapping[int, Address]) -> None:
        """Make the links to the other nodes.  Raises HostError."""
        assert self.agent is not None
        join_nodes(self.agent, addresses)

    def _reach_all(self) -> None:
        """Before somebody from outside asks for anything: have all of it here."""
        if self.hv.groups.reach is not None:
            for domain in self.plan.domains:
                self.hv.groups.reach(domain.domid)

    def _node_lost(self, node: int) -> None:
        """In the agent's thread: all processes of a node are gone."""
        for process in range(1, self.batons.rows):
            if self.batons.node[process] == node:
                self._jobs.add(partial(self._bury_lost, process, node))

    def _bury_lost(self, process: int, node: int) -> None:
        for domid in self.domids_of(process):
            if self.hv.domains.state[domid] not in (DomainState.SHUTDOWN, DomainState.DEAD):
                self.hv.lose_node(domid)
        for domid, why in self._reasons(process, f"its node is lost (number {node})").items():
            if self.hv.domains.state[domid] not in (DomainState.SHUTDOWN, DomainState.DEAD):
                self.hv.crash(domid, why)

    def traffic(self) -> dict[int, PairTraffic]:
        """What this node sent to others."""
        return {} if self.agent is None else self.agent.traffic()

    def run(self, ask: Ask) -> Outcome:
        """All domains are loaded: let them run, and serve until the run has ended.  Raises HostError.

        `ask()` gives what `DomainActor.save` of each actor that lives does.
        """
        hv = self.hv
        try:
            if self.agent is not None:
                if self._saved is not None:
                    self.agent.images.restored()
                self.agent.wait_for_all(_PATIENCE)
            if self._saved is None:
                start_domains(self.hv, self.plan)
            keeper = Checkpointer(hv, self.plan, self.file, lambda: self._parts(ask), traced=self._keep.trace,
                                  done=self._let_go)
            keeper.begin(self._saved)
            timeline = Timeline(hv.host, self.plan.timeline, keeper.now, keeper.take, self.migrate, hv.io.log)
            self._jobs.begin()
            with self._published():
                outcome = Runner(self.hv, {}, self.baton, self._jobs.serve, lambda time_ns: None, timeline.take).run()
            if self.agent is not None and self.agent.failure:
                raise HostError(self.agent.failure)
            return outcome
        except LinkError as error:
            raise HostError(str(error)) from error
        finally:
            self._leave()
            if self.agent is not None:
                self.agent.close()

    def _parts(self, ask: Ask) -> Mapping[int, DomainPart] | None:
        """What all processes keep, for a checkpoint, with the memory of all nodes here; None where it cannot be had."""
        if self.agent is None:
            return complete_parts(self.hv, self.plan, self.io, ask())
        try:
            found: list[Mapping[int, DomainPart]] = self.orders.give(Work.SAVE)
        except (OrderError, RunOverError):
            return None
        parts = complete_parts(self.hv, self.plan, self.io, found)
        self._reach_all()
        return parts if parts is not None and self.agent.images.gather() else None

    def _let_go(self) -> None:
        if self.agent is not None:
            self.agent.images.let_go()

    def _published(self) -> AbstractContextManager[object]:
        """Ray's metrics follow the tables meanwhile, where they are wanted."""
        if not self._keep.metrics:
            return nullcontext()
        from toolstack.ray_metrics import published  # only here: the other actors need none of it

        return published(self.plan, self.hv, self.batons)

    def stop(self) -> None:
        """End the run after the current slice."""
        self.hv.host.stop[0] = 1

    def close(self) -> None:
        """Give the memory's file up, where the process goes on without it."""
        os.close(self.file)

    def lost(self, process: int) -> None:
        """A domain actor died.  Its domains' ports close and their grants go, as when they crash; the others go on."""
        with suppress(RunOverError):
            self._jobs.do(lambda: self._bury(process), self._take_from_the_dead)

    def _take_from_the_dead(self) -> None:
        self.baton.take_from_the_dead()
        if self.agent is not None:
            self.agent.search()

    def _bury(self, process: int) -> None:
        """End the domains of process `process`, and of all whose death nobody has told yet: they may have left the
        tables half changed, too, and nobody may run before that is put right.
        """
        dead = {process, *self.baton.dead()}
        if self.agent is not None:  # what other nodes have of the tables is to be looked at, too
            self._reach_all()
            self.agent.images.gather()
            dead.update(self.agent.images.dead)
        lost: dict[Domid, str] = {}
        for each in sorted(dead):
            lost |= self._reasons(each)
        self.hv.lose(lost)
        self._let_go()

    def _reasons(self, process: int, reason: str = "") -> dict[Domid, str]:
        """Why each domain of a process that died crashes."""
        domids = self.domids_of(process)
        others = len(domids) - 1
        reason = reason or ("the domain's actor died" if others < 1 else f"the domain's actor died "
                            f"({self.plan.actors[process - 1].name}, with {others} other{'s'[:others > 1]})")
        return dict.fromkeys(domids, reason)

    def migrate(self, domid: int, node: int) -> MigrationReport:
        """See `toolstack.outside.Running`."""
        if self._mover is None:
            raise MigrationError("the host lies on one node: nothing can move to another")
        return self._mover.migrate(domid, node)

    def migrations(self) -> list[MigrationReport]:
        """The domains that have moved."""
        return [] if self._mover is None else self._mover.done

    def next_order(self) -> Order | None:
        """What the runtime is to do; None when the run is over."""
        return self.orders.next()

    def answer(self, number: int, error: str = "", result: Any = None) -> None:
        """An order has been carried out, or `error` says why not."""
        self.orders.answer(number, error, result)

    def hypercall(self, number: int, arguments: Sequence[int | tuple[bytes, bool]]) -> Reply:
        """See `toolstack.outside.Running`; a buffer comes with whether it may be written to."""
        return self._outside.hypercall(number, [
            given if isinstance(given, int) else bytearray(given[0]) if given[1] else given[0] for given in arguments])

    def domain_getinfo(self, first: int, most: int) -> list[DomainInfo]:
        """See `toolstack.outside.Running`."""
        return self._outside.domain_getinfo(first, most)

    def user_hypercalls(self) -> dict[int, str]:
        """Numbers and names of the hypercalls that the user added."""
        return {row.number: row.name for row in self.hv.dispatcher.rows.values() if row.source}

    def report(self, domid: int) -> DomainReport:
        """What the tables say of a domain whose actor died."""
        return domain_report(self.hv, self.plan.domain(domid), [], self.io.details.get(domid, ""), ())


class DomainActor(Member):
    """Runs some domains, often one: loads their images, and takes its turns with the baton."""

    def __init__(self, meter: BlockMeter | None = None) -> None:
        self.meter = proven_meter() if meter is None else meter
        self._ended = threading.Event()

    def attach(self, plan: HostPlan, me: int, attachment: Attachment, keep: Keep = Keep(),
               parts: Mapping[int, DomainPart] | None = None) -> None:
        """Map the host's memory, and load the domains of actor number `me` - 1 of the plan, or restore them.

        There is no such actor in the plan where domains move here.  Raises ConfigError, HostError.
        """
        try:
            self.file = os.open(attachment.path, os.O_RDWR | os.O_CLOEXEC)
            bell = os.open(attachment.bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC) if attachment.bell else -1
            super().__init__(plan, self.file, me, attachment.boot, keep, number=attachment.node, bell=bell)
        except OSError as error:
            raise HostError(f"a domain actor cannot map the host's memory: {error}") from error
        self._lanes: Lanes | None = None
        if self.node is not None:
            for column in (self.batons.port, self.batons.bell, self.batons.lane, self.batons.asleep):
                column[me] = 0  # somebody else may have been this process before
            self._lanes = Lanes(self.batons, me, self.hv.host, self.hv.state.arena.u8, self.node, LinkWire)
            self.baton.use(self._lanes)
        self._domains = [plan.domain(domid) for domid in plan.actors[me - 1].domids] if me <= len(plan.actors) else []
        if self._domains and max(domain.memory for domain in self._domains) <= _SMALL:
            without_huge_pages()
        self._vcpus: dict[VcpuRow, Vcpu] = {}
        for domain in self._domains:
            if parts is None:
                self._vcpus |= build_domain(self.hv, plan.name, domain, self.meter)
                if self.node is not None:
                    publish_ring(self.hv, Domid(domain.domid))
            else:
                pieces = self.pieces.setdefault(domain.domid, [])
                self._vcpus |= restore_domain(self.hv, domain, parts[domain.domid], self.io, pieces, self.meter)

    def save(self) -> dict[int, DomainPart]:
        """What this process keeps of its domains.  To be asked for by who holds still all others."""
        return {domain.domid: save_domain(self.hv, Domid(domain.domid), self._vcpus, self.io,
                                          self.pieces.get(domain.domid, [])) for domain in self._domains}

    def release(self, domid: int) -> DomainPart:
        """Give a domain away, which goes on in another process: what this one keeps of it.  All hold still.

        A process that has no other ends, as after `retire`.
        """
        part = save_domain(self.hv, Domid(domid), self._vcpus, self.io, self.pieces.get(domid, []))
        for row in vcpus_of(self.hv, Domid(domid)):
            del self._vcpus[row]
        local_state.forget_domain(self.hv, Domid(domid))
        for kept in (self.io.consoles, self.io.details, self.pieces):
            kept.pop(domid, None)
        self._domains = [domain for domain in self._domains if domain.domid != domid]
        if not self._domains:
            self.retire()
        return part

    def adopt(self, domid: int, part: DomainPart) -> None:
        """Go on with a domain that another process released, over the host's bytes of the same moment.

        Raises HostError.
        """
        domain = self.plan.domain(domid)
        pieces = self.pieces.setdefault(domid, [])
        self._vcpus |= restore_domain(self.hv, domain, part, self.io, pieces, self.meter)
        self._domains.append(domain)

    def retire(self) -> None:
        """Take no part in the run any more."""
        self.retired = True
        self.baton.wake(self._me)
        self._ended.wait(_PATIENCE)
        self.batons.pid[self._me] = 0

    def run(self) -> list[Result]:
        """Take turns until the run has ended."""
        try:
            Runner(self.hv, self._vcpus, self.baton, None, self._wait_until).run()
        finally:
            if self.retired and self._lanes is not None:  # else links stay: an end that is seen means that it died
                self._lanes.close()
            self._ended.set()
            self._leave()
        self.hv.trace.finish()
        return [Result(self._report(domain), self.pieces.get(domain.domid, [])) for domain in self._domains]

    def _report(self, domain: DomainPlan) -> DomainReport:
        domid = Domid(domain.domid)
        vcpus = [self._vcpus[row] for row in vcpus_of(self.hv, domid) if row in self._vcpus]
        return domain_report(self.hv, domain, self.io.consoles.setdefault(domid, Console()).lines,
                             self.io.details.get(domid, ""), vcpus)

    def _wait_until(self, time_ns: int) -> None:
        time.sleep(min(max(time_ns - self.hv.clock.now(), 0) / 1e9, LOOK))
