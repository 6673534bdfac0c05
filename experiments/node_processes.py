"""A runtime of several nodes without Ray: the same actors, each a forked process of this machine.

It starts in a fraction of the time that Ray takes, so tests and measurements of what nodes do use it.  Each node has
its own memory, as on machines that share none, and all that passes between them goes through the link.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from abi.types import Domid
from domains.runner import Outcome
from hypervisor.trace import run_digest
from toolstack.actor import Keep
from toolstack.checkpoint import Checkpoint
from toolstack.domain_actor import DomainActor
from toolstack.hypervisor_actor import HypervisorActor
from toolstack.jobs import RunOverError
from toolstack.link_handshake import new_secret
from toolstack.node_actor import NodeActor
from toolstack.orders import Order, Work
from toolstack.outside import FromAfar
from toolstack.plan import HostPlan
from toolstack.report import LinkReport, MigrationReport, RunReport
from toolstack.runtime import RunOptions, Sink
from toolstack.session import OUTCOMES

_HOST = "127.0.0.1"


class ProcessActor:
    """An object in a process of its own; `call` gives a Future of what its method gives."""

    def __init__(self, make: Callable[[], Any]) -> None:
        context = multiprocessing.get_context("fork")
        self._mine, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self._mine, make), daemon=True)
        self.process.start()
        theirs.close()
        self._calls: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._next = 0
        threading.Thread(target=self._receive, daemon=True).start()

    def call(self, method: str, *arguments: Any) -> "Future[Any]":
        """Call a method there."""
        future: Future[Any] = Future()
        with self._lock:
            self._next += 1
            self._calls[self._next] = future
            try:
                self._mine.send((self._next, method, arguments))
            except OSError:
                future.set_exception(ProcessLookupError(method))
        return future

    def _receive(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                number, error, result = self._mine.recv()
                future = self._calls.pop(number)
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        with self._lock:
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(ProcessLookupError("the process is gone"))

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, other: Connection, make: Callable[[], Any]) -> None:
    other.close()
    target, lock = make(), threading.Lock()

    def call(number: int, method: str, arguments: Any) -> None:
        error, result = None, None
        try:
            result = getattr(target, method)(*arguments)
        except Exception as raised:
            error = raised
        with lock, suppress(OSError):
            pipe.send((number, error, result))

    with suppress(EOFError):
        while True:
            threading.Thread(target=call, args=pipe.recv(), daemon=True).start()
    os._exit(0)


class Session:
    """A host whose actors are processes; `nodes` are by number, the first is the hypervisor's, `actors` the plan's."""

    def __init__(self, plan: HostPlan, saved: Checkpoint | None = None) -> None:
        self.plan, secret = plan, new_secret()
        self.nodes = [ProcessActor(partial(HypervisorActor, plan, Keep(), saved)), *(
            ProcessActor(partial(NodeActor, plan, number, Keep(), saved)) for number in range(1, plan.nodes))]
        self.actors = [ProcessActor(DomainActor) for _ in plan.actors]
        self.moved: dict[int, ProcessActor] = {}
        """Actors that were made for domains that move, by process."""
        self._moved_to: dict[int, int] = {}
        """On which node each of them is."""
        self.moved_results: dict[int, Future[Any]] = {}
        attachments = self._attachments = [node.call("attachment").result(60) for node in self.nodes]
        if plan.nodes > 1:
            listening = [node.call("listen", _HOST, secret) for node in self.nodes]
            addresses = {number: address.result(10) for number, address in enumerate(listening)}
            for joined in [node.call("join", addresses) for node in self.nodes]:
                joined.result(30)
        for attached in [actor.call("attach", plan, index + 1, attachments[plan.actors[index].node], Keep(),
                                    None if saved is None else {domid: saved.domain(domid)
                                                                for domid in plan.actors[index].domids})
                         for index, actor in enumerate(self.actors)]:
            attached.result(60)

    def start(self) -> None:
        """Let the domains run."""
        self.served = [node.call("run") for node in self.nodes[1:]]
        self.results = [actor.call("run") for actor in self.actors]
        self.outcome = self.nodes[0].call("run")
        if self.plan.nodes > 1:
            threading.Thread(target=self._serve_orders, daemon=True).start()

    def _serve_orders(self) -> None:
        """As `toolstack.ray_orders` does."""
        parts: dict[int, Any] = {}
        hypervisor = self.nodes[0]
        with suppress(ProcessLookupError):
            while (order := hypervisor.call("next_order").result()) is not None:
                error, result = "", None
                try:
                    result = self._carry_out(order, parts)
                except Exception as raised:
                    error = f"{type(raised).__name__}: {raised}"
                hypervisor.call("answer", order.number, error, result).result()

    def _carry_out(self, order: Order, parts: dict[int, Any]) -> Any:
        if order.work == Work.SAVE:
            return self._save()
        if order.work == Work.MAKE:
            actor = self.moved[order.process] = ProcessActor(DomainActor)
            self._moved_to[order.process] = order.node
            actor.call("attach", self.plan, order.process, self._attachments[order.node]).result(60)
            self.moved_results[order.process] = actor.call("run")
            return None
        actor = self.actor_of(order.process)
        if order.work == Work.RELEASE:
            parts[order.domid] = actor.call("release", order.domid).result(60)
        elif order.work == Work.ADOPT:
            actor.call("adopt", order.domid, parts.pop(order.domid)).result(60)
        else:
            actor.call("retire").result(60)
        return None

    def _save(self) -> list[Any]:
        found = []
        for saving in [actor.call("save") for actor in (*self.actors, *self.moved.values())]:
            with suppress(ProcessLookupError):
                found.append(saving.result(60))
        return found

    def actor_of(self, process: int) -> ProcessActor:
        """Raises KeyError."""
        return self.moved[process] if process > len(self.actors) else self.actors[process - 1]

    def kill_node(self, number: int) -> None:
        """End all that is on a node, as when its machine is gone."""
        self.nodes[number].process.kill()  # first: nobody can attach to its memory any more
        for index, actor in enumerate(self.actors):
            if self.plan.actors[index].node == number:
                actor.kill()
        for process, node in list(self._moved_to.items()):
            if node == number:
                self.moved[process].kill()
        self.nodes[number].kill()

    def finish(self, seconds: float) -> Outcome:
        """Wait for the end; TimeoutError where it does not come."""
        return Outcome(self.outcome.result(seconds))

    def traffic(self) -> list[LinkReport]:
        """What went over the links."""
        if self.plan.nodes == 1:
            return []
        return [LinkReport(number, peer, each.hand_overs, each.messages, each.bytes, each.direct)
                for number, node in enumerate(self.nodes)
                for peer, each in sorted(node.call("traffic").result(5).items())]

    def close(self) -> None:
        """Leave no process behind."""
        for actor in (*self.actors, *self.moved.values(), *self.nodes):
            actor.kill()


class ProcessHost(FromAfar):
    """A running host, by calls to the hypervisor's process."""

    def __init__(self, hypervisor: ProcessActor) -> None:
        self._hypervisor = hypervisor

    def call(self, method: str, *arguments: object) -> Any:
        """See `FromAfar`."""
        try:
            return self._hypervisor.call(method, *arguments).result()
        except ProcessLookupError:
            raise RunOverError("the host's process is gone") from None


def run(plan: HostPlan, options: RunOptions, sink: Sink) -> RunReport:
    """See `toolstack.runtime.Runtime`; consoles are shown at the end."""
    started = time.perf_counter()
    session = Session(plan, options.restore)
    links: list[LinkReport] = []
    migrations: list[MigrationReport] = []
    try:
        session.start()
        options.started(ProcessHost(session.nodes[0]))
        outcome = session.finish(options.timeout or 300)
        reports = {}
        for found in (*session.results, *session.moved_results.values()):
            with suppress(ProcessLookupError):
                for result in found.result(30):
                    reports[result.report.name] = result.report
        for domain in plan.domains:
            if domain.name not in reports:
                reports[domain.name] = session.nodes[0].call("report", domain.domid).result(5)
        links = session.traffic()
        migrations = session.nodes[0].call("migrations").result(5)
    finally:
        session.close()
    reports = {name: reports[name] for name in plan.names()}
    for name, report in reports.items():
        for line in report.console:
            sink.console_line(name, line)
    digest = run_digest((Domid(report.domid), report.name, bytes.fromhex(report.digest)) for report in reports.values())
    return RunReport(plan.name, OUTCOMES[outcome], reports, digest, time.perf_counter() - started,
                     max(report.virtual_time_ns for report in reports.values()), "ray", plan.clock.mode, plan.seed,
                     links=links, migrations=migrations)
