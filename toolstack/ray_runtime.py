"""The Ray runtime: the hypervisor is an actor, every domain is one, or some domains are one together.

Ray places and starts the actors, brings their output here and says when one is lost.  The domains' own traffic goes
through shared memory: see `toolstack.actor` and `domains.baton`.
"""

import os
import time
from pathlib import Path
from typing import Any

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

# isort: split
import ray
from ray.exceptions import RayActorError, RayTaskError

from abi.types import Domid
from domains.runner import Outcome
from hypervisor.trace import run_digest
from toolstack.actor import Attachment, Keep
from toolstack.checkpoint_parts import console_lines
from toolstack.domain_actor import DomainActor, Result
from toolstack.errors import ConfigError, HostError
from toolstack.hypervisor_actor import HypervisorActor
from toolstack.orders import Order
from toolstack.plan import ActorPlan, DomainPlan, HostPlan
from toolstack.ray_cluster import cluster
from toolstack.ray_names import NAMESPACE, domain_name, hypervisor_name
from toolstack.ray_nodes import RayNodes
from toolstack.ray_orders import RayOrders, saved_parts
from toolstack.ray_outside import RemoteHost
from toolstack.report import DomainReport, RunReport
from toolstack.report import Outcome as RunOutcome
from toolstack.runtime import RunOptions, Sink
from toolstack.session import OUTCOMES
from toolstack.trace import Stream, write_trace

_CONCURRENCY = 8
"""Calls that an actor serves at once: two that last as long as the run, the rest for who asks it for something."""
_AT_ONCE = 4
"""Actors that start at the same time on each processor: hundreds at once would only be in each other's way."""
_TICK = 0.1
_GRACE = 5.0
"""Seconds that the actors may take to see that the run is over, before they are killed."""


def run(plan: HostPlan, options: RunOptions, sink: Sink) -> RunReport:
    """Boot and run `plan` with its actors; see `toolstack.runtime.Runtime`."""
    with cluster(plan.ray.address, len(plan.actors) + 1) as shared:
        session = _Session(plan, options, sink, shared)
        try:
            return session.run()
        finally:
            session.close()


class _Session:
    """One run: its actors, and what has come from them.

    `shared`: on a cluster that others look at, too.
    """

    def __init__(self, plan: HostPlan, options: RunOptions, sink: Sink, shared: bool) -> None:
        self._plan, self._options, self._sink = plan, options, sink
        self._names = {domain.domid: domain.name for domain in plan.domains}
        asked = plan.ray
        self._keep = Keep(trace=options.trace_path is not None,
                          logs=shared if asked.logs is None else asked.logs,
                          metrics=shared if asked.metrics is None else asked.metrics)
        self._saved = options.restore
        self._consoles: dict[int, list[str]] = {
            domain.domid: [] if self._saved is None else console_lines(self._saved.domain(domain.domid))
            for domain in plan.domains}
        self._results: dict[int, Result] = {}
        self._actor: Any = None
        self._hypervisor: Any = None
        self._nodes: Any = None
        self._actors: list[Any] = []
        """In the order of the plan's; the hypervisor knows each by its index and 1 more."""
        self._moved: dict[int, Any] = {}
        """Actors that were made for domains that move, by process."""
        self._node_of = {process: planned.node for process, planned in enumerate(plan.actors, 1)}
        self._runs: dict[Any, int] = {}
        """By reference to its run, the process."""
        self._retired: set[Any] = set()
        self._silent: set[Any] = set()
        """Actors that take part no more, and that print nothing more."""
        self._attachments: list[Attachment] = []
        self._outputs: dict[Any, Any] = {}
        self._timed_out = False

    def run(self) -> RunReport:
        """Start the actors, run to the end, and report."""
        started = time.perf_counter()
        self._start()
        outcome = self._follow()
        reports = {domain.name: self._report(domain) for domain in self._plan.domains}
        digest = run_digest((Domid(report.domid), report.name, bytes.fromhex(report.digest))
                            for report in reports.values())
        error = None if self._options.trace_path is None else self._write_trace(self._options.trace_path, digest)
        return RunReport(self._plan.name, outcome, reports, digest, time.perf_counter() - started,
                         max((report.virtual_time_ns for report in reports.values()), default=0), "ray",
                         self._plan.clock.mode, self._plan.seed, error, links=self._nodes.traffic(),
                         migrations=self._get(self._hypervisor.migrations.remote()) if self._plan.nodes > 1 else [])

    def _start(self) -> None:
        plan = self._plan
        # They share memory, so all of a node are on one machine.
        self._actor = ray.remote(num_cpus=0, max_concurrency=_CONCURRENCY, namespace=NAMESPACE)
        self._nodes = RayNodes(plan, self._actor, self._keep, self._saved, lambda: self._options.stop.requested)
        # Processes start side by side; what one needs of another comes later.
        self._hypervisor = self._actor(HypervisorActor).options(
            name=hypervisor_name(plan.name), **self._nodes.options(0)).remote(plan, self._keep, self._saved)
        window = _AT_ONCE * (os.cpu_count() or 1)
        for planned in plan.actors[:window]:
            self._begin(planned)
        attachments = self._attachments = self._nodes.join(self._hypervisor, self._get)
        attaching: dict[Any, int] = {}
        begun = loaded = 0
        while loaded < len(plan.domains):
            while begun < len(plan.actors) and len(attaching) < window:
                planned = plan.actors[begun]
                attaching[self._attach(begun, attachments[planned.node])] = len(planned.domids)
                begun += 1
            ready, _ = ray.wait(list(attaching), num_returns=1, timeout=_TICK)
            if ready:
                ready, _ = ray.wait(list(attaching), num_returns=len(attaching), timeout=0)
            for reference in ready:
                self._get(reference)
                loaded += attaching.pop(reference)
            self._options.starting(loaded, len(plan.domains))
            if self._options.stop.requested:
                raise KeyboardInterrupt

    def _begin(self, planned: ActorPlan) -> None:
        name = domain_name(self._plan.name, planned.name)
        self._actors.append(self._actor(DomainActor).options(
            name=name, **self._nodes.options(planned.node)).remote())

    def _attach(self, index: int, attachment: Attachment) -> Any:
        """Have actor number `index` load its domains; starts it where that has not been done."""
        planned, saved = self._plan.actors[index], self._saved
        if index == len(self._actors):
            self._begin(planned)
        parts = None if saved is None else {domid: saved.domain(domid) for domid in planned.domids}
        return self._actors[index].attach.remote(self._plan, index + 1, attachment, self._keep, parts)

    def _get(self, references: Any) -> Any:
        try:
            return ray.get(references)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ConfigError | HostError):
                raise cause from None
            raise HostError(f"an actor failed: {type(cause).__name__}: {cause}") from error
        except RayActorError as error:
            raise HostError(f"an actor died while it was being started: {_one_line(error)}") from error

    def _follow(self) -> RunOutcome:
        """Let the domains run; show what they print until all have ended."""
        runs = self._runs
        self._nodes.run()
        for actor in (self._hypervisor, *self._nodes.outputs()):
            self._outputs[actor.lines.remote()] = actor
        for process, actor in enumerate(self._actors, 1):
            self._take_part(process, actor)
        orders = RayOrders(self._hypervisor, self._make, self._begin_moved, self._actor_of,
                           lambda: saved_parts([*self._actors, *self._moved.values()]))
        hypervisor = self._hypervisor.run.remote()
        self._options.started(RemoteHost(self._hypervisor))
        ended: Outcome | None = None
        options, deadline, stopping = self._options, None, None
        if options.timeout is not None:
            deadline = time.monotonic() + options.timeout
        while runs or self._outputs or ended is None:
            pending = [*runs, *self._outputs] + ([hypervisor, *orders.pending()] if ended is None else [])
            ready, _ = ray.wait(pending, num_returns=1, timeout=_TICK)
            if ready:  # with many actors, one at a time would look at all of them for each
                ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
            for reference in ready:
                if reference in self._outputs:
                    self._show(reference)
                elif reference in runs:
                    self._finished(reference, runs.pop(reference))
                elif not orders.ready(reference):
                    ended = self._ended(reference)
            for actor in (self._retired & self._silent) - orders.busy():
                self._retired.discard(actor)
                ray.kill(actor)
            for number in self._nodes.look():
                for process, node in self._node_of.items():
                    if node == number:
                        ray.kill(self._actor_of(process))
            now = time.monotonic()
            if deadline is not None and now > deadline:
                self._timed_out, deadline = True, None
                self._hypervisor.stop.remote()
                stopping = now
            if options.stop.requested and stopping is None:
                self._hypervisor.stop.remote()
                stopping = now
            if stopping is not None and now > stopping + _GRACE:
                break
        outcome = OUTCOMES[ended] if ended is not None else "interrupted"
        return "timeout" if self._timed_out and outcome == "interrupted" else outcome

    def _show(self, reference: Any) -> None:
        actor = self._outputs.pop(reference)
        try:
            lines = ray.get(reference)
        except RayActorError:
            return  # its run says so, too
        if lines is None:
            self._silent.add(actor)
            return
        self._outputs[actor.lines.remote()] = actor
        for domid, text in lines:
            if domid < 0:
                self._sink.hypervisor_line(text)
            else:
                self._consoles[domid].append(text)
                self._sink.console_line(self._names[domid], text)

    def _actor_of(self, process: int) -> Any:
        """Raises KeyError."""
        return self._moved[process] if process > len(self._actors) else self._actors[process - 1]

    def _take_part(self, process: int, actor: Any) -> None:
        self._runs[actor.run.remote()] = process
        self._outputs[actor.lines.remote()] = actor

    def _make(self, order: Order) -> tuple[Any, Any]:
        """An actor for a domain that moves; what to wait for until it is there."""
        name = domain_name(self._plan.name, f"{self._names[order.domid]}@node-{order.node}")
        actor = self._actor(DomainActor)
        try:
            made = actor.options(name=name, **self._nodes.options(order.node)).remote()
        except ValueError:  # it was there before, and that actor is still ending
            made = actor.options(name=f"{name}.{order.number}", **self._nodes.options(order.node)).remote()
        self._node_of[order.process] = order.node
        return made, made.attach.remote(self._plan, order.process, self._attachments[order.node], self._keep, None)

    def _begin_moved(self, process: int, actor: Any) -> None:
        self._moved[process] = actor
        self._take_part(process, actor)

    def _finished(self, reference: Any, process: int) -> None:
        try:
            results: list[Result] = self._get(reference)
        except HostError as error:
            if not isinstance(error.__cause__, RayActorError):
                raise
            self._hypervisor.lost.remote(process)
            self._nodes.lost(process, self._node_of[process])
            return
        if not results:
            self._retired.add(self._actor_of(process))
        self._results |= {result.report.domid: result for result in results}

    def _ended(self, reference: Any) -> Outcome:
        try:
            return Outcome(ray.get(reference))
        except RayActorError as error:
            raise HostError(f"the hypervisor's actor died: {_one_line(error)}") from error
        except RayTaskError as error:
            if isinstance(error.cause, HostError):
                raise error.cause from None
            raise

    def _report(self, domain: DomainPlan) -> DomainReport:
        result = self._results.get(domain.domid)
        if result is not None:
            return result.report
        report: DomainReport = self._get(self._hypervisor.report.remote(domain.domid))
        report.console = self._consoles[domain.domid]
        return report

    def _write_trace(self, path: Path, digest: str) -> str | None:
        streams = [Stream(Domid(domid), self._names[domid], result.pieces)
                   for domid, result in sorted(self._results.items())]
        return write_trace(path, streams, clock=self._plan.clock.mode, digest=digest,
                           hypercalls=self._get(self._hypervisor.user_hypercalls.remote()))

    def close(self) -> None:
        """Leave no actor behind."""
        for actor in (*self._actors, *self._moved.values(), self._hypervisor):
            if actor is not None:
                ray.kill(actor)
        if self._nodes is not None:
            self._nodes.close()


def _one_line(error: Exception) -> str:
    """What Ray's many lines say last: the exception itself, without the traceback that leads to it, and without all the
    causes that a process may die of."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" Worker exit type:")[0].rstrip(".") if lines else type(error).__name__
