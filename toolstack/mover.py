"""Moves running domains from node to node, in the hypervisor's process: what is done in which order.

Copying, and what goes over the links, is the agents' (`toolstack.node_moves`); the domain's vCPUs go from one actor to
a new one.  All stand still between the two, so no guest sees anything of it but, where time is the host's, a pause.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from abi.types import Domid
from hypervisor.hypervisor import Hypervisor
from hypervisor.place import PlaceTable
from hypervisor.tables import DomainState
from toolstack.errors import MigrationError
from toolstack.jobs import LOOK, Jobs, RunOverError
from toolstack.node_agent import Agent
from toolstack.node_moves import Wait
from toolstack.orders import OrderError, Orders, Work
from toolstack.plan import HostPlan
from toolstack.report import MigrationReport

_ENDED = (DomainState.FREE, DomainState.SHUTDOWN, DomainState.DEAD)
_MIB = 1 << 20
_PATIENCE = 2.0
"""Seconds that what a lost node had sent before may still be on its way from another one."""

_LONGEST = 30.0
"""Seconds for what is left to be done when a node is lost; if that is over, others are lost, too."""


@dataclass
class _Switch:
    """What came of the attempt, which must not raise in the run's own thread."""

    down_ns: int = 0
    error: str = ""


class Mover:
    """The moves of a host, one after the other.

    `process_of(domid)` is the process that runs a domain, `free()` one that nobody is yet.  `bury(process, node)` ends
    the domains of a process whose node is lost.
    """

    def __init__(self, hv: Hypervisor, plan: HostPlan, jobs: Jobs, agent: Agent, orders: Orders,
                 process_of: Callable[[Domid], int], free: Callable[[], int],
                 bury: Callable[[int, int], None]) -> None:
        self._hv, self._plan, self._jobs, self._agent, self._orders = hv, plan, jobs, agent, orders
        self._process_of, self._free, self._bury = process_of, free, bury
        self._place, self._lock = hv.state.table(PlaceTable), threading.Lock()
        self.done: list[MigrationReport] = []

    def migrate(self, domid: int, node: int) -> MigrationReport:
        """Move a running domain, and wait until it has moved.  Raises MigrationError, RunOverError.

        To be called by any thread but the run's own.
        """
        with self._lock:
            name = self._check(domid, node)
            source = self._place.home[domid]
            process, old = self._free(), self._process_of(Domid(domid))
            try:
                self._orders.give(Work.MAKE, process, node=node, domid=domid)
            except OrderError as error:
                raise MigrationError(f"{name} cannot move to node {node}: {error}") from None
            report = self._move(Domid(domid), name, Wait(domid, source, node), old, process)
            self.done.append(report)
        self._hv.io.log(f"{name} has moved from node {source} to node {node}: {report.copied_bytes / _MIB:.1f} MiB "
                        f"copied in {report.passes} pass{'es'[:2 * (report.passes != 1)]}, "
                        f"{report.rest_bytes / _MIB:.1f} MiB while it stood still for {report.down_ns / 1e6:.0f} ms")
        return report

    def _check(self, domid: int, node: int) -> str:
        """The domain's name."""
        names = {domain.domid: domain.name for domain in self._plan.domains}
        name = names.get(domid)
        if name is None:
            raise MigrationError(f"there is no domain {domid}")
        if not 0 <= node < self._plan.nodes:
            raise MigrationError(f"{name} cannot move to node {node}: the host has {self._plan.nodes} nodes, from 0")
        if node and node not in self._agent.peers():
            raise MigrationError(f"{name} cannot move to node {node}, which is lost")
        if self._hv.domains.state[domid] in _ENDED:
            raise MigrationError(f"{name} has ended")
        if self._place.home[domid] == node:
            raise MigrationError(f"{name} is on node {node} already")
        return name

    def _move(self, domid: Domid, name: str, wait: Wait, old: int, new: int) -> MigrationReport:
        moves = self._agent.moves
        started = time.perf_counter_ns()
        moves.begin(wait)
        try:
            while not wait.ready.wait(LOOK):
                if self._hv.host.outcome[0]:
                    raise RunOverError("the run is over")
            copying = time.perf_counter_ns() - started
            switch = self._jobs.do(lambda: self._switch(domid, name, wait, old, new))
        except RunOverError:
            moves.give_up(wait)
            raise
        if switch.error:
            with suppress(OrderError, RunOverError):  # it may be gone itself, with its node
                self._orders.give(Work.END, new)
            raise MigrationError(switch.error)
        if old not in set(self._hv.vcpus.process[1:]):  # it had no other
            with suppress(OrderError, RunOverError):
                self._orders.give(Work.END, old)
        return MigrationReport(name, wait.source, wait.target, self._now, switch.down_ns, wait.copied.passes,
                               wait.copied.bytes, wait.rest, copying)

    def _switch(self, domid: Domid, name: str, wait: Wait, old: int, new: int) -> _Switch:
        """In the run's thread, when all stand still."""
        moves, hv = self._agent.moves, self._hv
        started = time.perf_counter_ns()
        self._now = max(hv.vcpus.local_time)
        if wait.lost is not None or hv.domains.state[domid] in _ENDED or self._process_of(domid) != old:
            moves.give_up(wait)
            return _Switch(error=f"{name} has ended before it had moved" if wait.lost is None else
                           f"{name} cannot move to node {wait.target}: node {wait.lost} is lost")
        try:
            self._orders.give(Work.RELEASE, old, domid=domid)
        except (OrderError, RunOverError) as error:
            moves.give_up(wait)
            return _Switch(error=f"{name} cannot move: {error}")
        leader = hv.groups.table.leader
        moves.go(wait, [each.domid for each in self._plan.domains if leader[each.domid] == leader[domid]])
        if not self._agent.wait_for(wait.arrived):
            return _Switch(error=f"{name} has not moved: the run is over")
        if wait.lost is not None and (error := self._without(domid, name, wait, old)):
            return _Switch(error=error)
        try:
            self._orders.give(Work.ADOPT, new, domid=domid)
        except (OrderError, RunOverError) as error:  # its memory is there, and nobody to run it
            return self._stranded(domid, name, wait, new, str(error))
        moves.settle(wait, new)
        if wait.lost == wait.target:  # before it was said that the new process is there
            self._bury(new, wait.target)
        hv.rounds.look_round()
        return _Switch(time.perf_counter_ns() - started)

    def _stranded(self, domid: Domid, name: str, wait: Wait, new: int, why: str) -> _Switch:
        """It has arrived, and its actor has not taken it: that has died, or all of the node has."""
        deadline = time.monotonic() + _PATIENCE
        while wait.lost is None and time.monotonic() < deadline:
            time.sleep(LOOK)
        self._agent.moves.settle(wait, new)
        if wait.lost == wait.target:
            self._bury(new, wait.target)
        else:
            self._hv.crash(domid, f"it could not go on on node {wait.target}: {why}")
        self._hv.rounds.look_round()
        return _Switch(error=f"{name} could not go on on node {wait.target}: {why}")

    def _without(self, domid: Domid, name: str, wait: Wait, old: int) -> str:
        """One of the two nodes is lost.  Empty where the domain has arrived nevertheless."""
        moves = self._agent.moves
        deadline = time.monotonic() + _PATIENCE
        while not wait.there and time.monotonic() < deadline:
            time.sleep(LOOK)
        if wait.there:
            return ""
        if wait.lost == wait.source:
            moves.without_source(wait)
            self._agent.wait_for(wait.arrived, _LONGEST)
            return f"{name} was lost with node {wait.source}, which it was about to leave"
        moves.back(wait)
        self._agent.wait_for(wait.arrived, _LONGEST)
        moves.give_up(wait)
        try:
            self._orders.give(Work.ADOPT, old, domid=domid)
        except (OrderError, RunOverError) as error:
            return f"{name} is lost: {error}"
        return f"{name} stays on node {wait.source}: node {wait.target} is lost"
