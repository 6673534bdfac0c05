"""Watches a run of many domains: their marks, their first lines, and how far each has come meanwhile."""

import re
import threading
import time
from collections.abc import Callable, Sequence

from toolstack.jobs import RunOverError
from toolstack.outside import Running

_MARK = re.compile(r"\(d([0-9]+)\) BENCH (?:(start) [\w-]+|stop [\w-]+ ops=([0-9]+))")
_PERIOD = 1.0
"""Seconds between two looks at how far domains have come.  All stand still for a look: some of them wait for 10 ms."""
_LOOKS = 40


class Watch:
    """A `toolstack.runtime.Sink` for a host of `domains` domains.  Times are `clock`'s, in seconds."""

    def __init__(self, domains: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._domains, self._clock = domains, clock
        self._heard: set[str] = set()
        self.started: dict[int, float] = {}
        self.stopped: dict[int, float] = {}
        """By domid, when it marked the start and the end of what is measured.  Not every domain does."""
        self.operations: dict[int, int] = {}
        self.all_up: float | None = None
        """When the last domain said its first line."""
        self.latest = ""
        self.going = threading.Event()
        """Somebody has marked a start: all that takes part is there."""

    def console_line(self, name: str, text: str) -> None:
        """One line of a domain's console."""
        self.latest = f"{name} | {text}"
        if self.all_up is None:
            self._heard.add(name)
            if len(self._heard) == self._domains:
                self.all_up = self._clock()

    def hypervisor_line(self, text: str) -> None:
        """One or several lines of the hypervisor's log."""
        now = self._clock()
        for line in text.split("\n"):
            mark = _MARK.fullmatch(line)
            if mark is None:
                self.latest = f"(XEN) {line}"
            elif mark[2]:
                self.started[int(mark[1])] = now
                self.going.set()
            elif int(mark[1]) in self.started:
                self.stopped[int(mark[1])] = now
                self.operations[int(mark[1])] = int(mark[3])

    @property
    def complete(self) -> bool:
        """Whoever began has ended."""
        return bool(self.started) and self.started.keys() == self.stopped.keys()

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        return max(self.stopped.values()) - min(self.started.values())

    @property
    def spread(self) -> float | None:
        """What passed between the first end and the last, as a part of all; None where only one marks."""
        if len(self.stopped) < 2:
            return None
        return (max(self.stopped.values()) - min(self.stopped.values())) / self.seconds


class Progress:
    """Looks, from a thread of its own, at the virtual time that domains have run, from the first mark on."""

    def __init__(self, watch: Watch, peers: Sequence[int]) -> None:
        self._watch, self._peers = watch, set(peers)
        self._first, self._most = min(peers), max(peers) - min(peers) + 1
        self.spreads: list[float] = []
        """Seconds of virtual time between the one that has run most and the one that has run least, at each look."""

    def begin(self, running: Running) -> None:
        """The host is up."""
        threading.Thread(target=self._look, args=(running,), daemon=True).start()

    def _look(self, running: Running) -> None:
        self._watch.going.wait()
        for _ in range(_LOOKS):
            try:
                infos = running.domain_getinfo(self._first, self._most)
            except RunOverError:
                return
            times = [info.cpu_time for info in infos if info.domid in self._peers and not info.shutdown]
            if len(times) < len(self._peers) or self._watch.stopped:
                return  # some have ended: what is left is no comparison
            self.spreads.append((max(times) - min(times)) / 1e9)
            time.sleep(_PERIOD)
