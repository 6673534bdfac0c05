"""The hypervisor's actor: owns the memory of a host, or of its first node, and ends the rounds."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from abi.types import Domid
from domains.runner import Outcome, Runner
from domains.seat import HYPERVISOR, Task
from hypervisor.tables import DomainState
from toolstack.actor import NOTHING, Keep
from toolstack.checkpoint import Checkpoint
from toolstack.checkpoint_parts import DomainPart, complete_parts
from toolstack.checkpointer import Checkpointer
from toolstack.errors import HostError, MigrationError
from toolstack.jobs import Jobs, RunOverError
from toolstack.link import Address
from toolstack.link_events import LinkError
from toolstack.memory_owner import MemoryOwner
from toolstack.mover import Mover
from toolstack.node_setup import free_process
from toolstack.orders import Order, OrderError, Orders, Work
from toolstack.outside import DomainInfo, Outside, Reply
from toolstack.plan import HostPlan
from toolstack.report import DomainReport, MigrationReport
from toolstack.session import domain_report, start_domains
from toolstack.timeline import Timeline

_PATIENCE = 120.0
"""Seconds that the other nodes may take to load their domains."""


class HypervisorActor(MemoryOwner):
    """Owns the host's memory and its tables, creates the domains, and acts for those whose actor died."""

    def __init__(self, plan: HostPlan, keep: Keep = NOTHING, saved: Checkpoint | None = None) -> None:
        super().__init__(plan, 0, keep, saved)
        if self.failure is not None:
            return
        self._keep = keep
        self._jobs = Jobs(self.hv.host)
        self.orders = Orders(lambda: bool(self.hv.host.outcome[0]))
        self._mover: Mover | None = None
        self._outside = Outside(self.hv, self._jobs, self._reach_all)
        self.batons.word[HYPERVISOR] = Task.ROUND

    def listen(self, host: str, secret: bytes) -> Address:
        """See `MemoryOwner`."""
        address = super().listen(host, secret)
        assert self.agent is not None
        self._mover = Mover(
            self.hv, self.plan, self._jobs, self.agent, self.orders,
            lambda domid: self.hv.vcpus.process[self.hv.domains.vcpu_base[domid]],
            lambda: free_process(self.hv, self.plan, self.batons), self._bury_lost)
        return address

    def _reach_all(self) -> None:
        """Before somebody from outside asks for anything: have all of it here."""
        if self.hv.groups.reach is not None:
            for domain in self.plan.domains:
                self.hv.groups.reach(domain.domid)

    def _node_lost(self, node: int) -> None:
        # In the agent's thread: the run's is told.
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

    def run(self) -> Outcome:
        """All domains are loaded: let them run, and serve until the run has ended.  Raises HostError."""
        hv = self.hv
        try:
            if self.agent is not None:
                self.agent.wait_for_all(_PATIENCE)
            if self._saved is None:
                start_domains(self.hv, self.plan)
            keeper = Checkpointer(hv, self.plan, self.file, self._parts, traced=self._keep.trace,
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

    def _parts(self) -> Mapping[int, DomainPart] | None:
        """What all processes keep, for a checkpoint, with the memory of all nodes here; None where it cannot be had."""
        try:
            found: list[Mapping[int, DomainPart]] = self.orders.give(Work.SAVE)
        except (OrderError, RunOverError):
            return None
        parts = complete_parts(self.hv, self.plan, self.io, found)
        if self.agent is not None:
            self._reach_all()
            return parts if parts is not None and self.agent.images.gather() else None
        return parts

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
