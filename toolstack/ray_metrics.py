"""What the domains do, for Ray's metrics, which Prometheus scrapes: counted in the host's tables, read now and then.

The hypervisor's actor publishes for all, so a hypercall or a hand-over costs nothing more, whoever looks.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ray.util.metrics import Counter, Gauge

from abi.types import Domid
from domains.runner import vcpus_of
from domains.seat import BatonTable
from hypervisor.hypervisor import Hypervisor
from toolstack.plan import HostPlan

PERIOD = 2.0
"""Seconds between two looks; Ray itself reports every ten."""
_SHARE = 50
"""A look that took long is followed by a pause of so many times its length: no more than 2% of a processor."""
INSTRUCTION = 4
"""Bytes of an average instruction of x86-64 code, by which work is divided for `domus_mips`."""
COUNTERS = {
    "hypercalls": ("domus_hypercalls", "Hypercalls that a domain made"),
    "events_sent": ("domus_events_sent", "Events that a domain sent"),
    "events_received": ("domus_events_received", "Upcalls that a domain got"),
    "work": ("domus_work_bytes", "Bytes of code that a domain executed"),
}


class Publisher:
    """Tells Ray what changed in the tables of `hv` since the last time.  `clock` gives seconds."""

    def __init__(self, plan: HostPlan, hv: Hypervisor, batons: BatonTable,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._hv, self._batons, self._clock = plan, hv, batons, clock
        keys = ("host", "domain")
        self._counters = {column: Counter(name, text, keys) for column, (name, text) in COUNTERS.items()}
        self._mips = Gauge("domus_mips", "Million instructions a second of host time, estimated from domus_work_bytes",
                           keys)
        self._given = Counter("domus_hand_overs", "Times that a domain's process gave the baton to another",
                              ("host", "domain", "actor"))
        self._tags = {domain.domid: {"host": plan.name, "domain": domain.name} for domain in plan.domains}
        names = {domain.domid: domain.name for domain in plan.domains}
        self._processes = [self._process("hypervisor", []), *(
            self._process(actor.name, [names[domid] for domid in actor.domids if domid in names])
            for actor in plan.actors)]
        """The tags of each process's hand-overs."""
        self._rows = {domain.domid: vcpus_of(hv, Domid(domain.domid)) for domain in plan.domains}
        self._seen: dict[tuple[str, int], int] = {}
        self._running: set[int] = set()
        self._at = clock()

    def publish(self) -> None:
        """One look at the tables."""
        now, table = self._clock(), self._hv.vcpus
        seconds, self._at = max(now - self._at, 1e-6), now
        for domid, rows in self._rows.items():
            worked = 0
            for column, counter in self._counters.items():
                values = getattr(table, column)
                delta = self._grown(column, domid, sum(values[row] for row in rows))
                if delta:
                    counter.inc(delta, self._tags[domid])
                if column == "work":
                    worked = delta
            if worked or domid in self._running:  # once more for who has stopped: nothing
                self._mips.set(worked / INSTRUCTION / seconds / 1e6, self._tags[domid])
            (self._running.add if worked else self._running.discard)(domid)
        for process, tags in enumerate(self._processes):
            delta = self._grown("hand_overs", process, self._batons.given[process])
            if delta:
                self._given.inc(delta, tags)

    def _process(self, name: str, domains: Sequence[str]) -> dict[str, str]:
        """A process has one baton for all of its domains: where they are several, no single one hands it over."""
        return {"host": self._plan.name, "domain": domains[0] if len(domains) == 1 else "", "actor": name}

    def _grown(self, column: str, row: int, value: int) -> int:
        key = column, row
        delta, self._seen[key] = value - self._seen.get(key, 0), value
        return delta


@contextmanager
def published(plan: HostPlan, hv: Hypervisor, batons: BatonTable) -> Iterator[None]:
    """Publish now and then while inside, and once more at the end."""
    publisher, over = Publisher(plan, hv, batons), threading.Event()

    def follow() -> None:
        pause = PERIOD
        while not over.wait(pause):
            started = time.monotonic()
            publisher.publish()
            pause = max(PERIOD, _SHARE * (time.monotonic() - started))

    thread = threading.Thread(target=follow, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        publisher.publish()
