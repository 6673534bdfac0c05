"""Host time between the lines that a guest marks: `BENCH start <test>` and `BENCH stop <test> ops=<n>`.

The guest writes them by console_io, so they come as lines of the hypervisor's log; the time that counts is when they
get here.  In the local runtime that is a few microseconds after the hypercall.  With Ray a line takes some milliseconds
more, the last as the first, so what is measured has to last far longer than that.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from toolstack.load import from_data
from toolstack.plan import ClockMode
from toolstack.runtime import RunOptions, RuntimeName, load_runtime

_MARK = re.compile(r"\(d[0-9]+\) BENCH (start|stop) ([\w-]+)(?: ops=([0-9]+))?")
_LIMIT = 300.0
"""Seconds after which a run is given up."""

Domains = Mapping[str, Mapping[str, Any]]
"""The `domains` of a configuration."""


class MeasurementError(Exception):
    """There is no figure.  One line says why."""


class Absent(MeasurementError):  # noqa: N818
    """What would be measured is not on this machine."""


class Stopwatch:
    """A `toolstack.runtime.Sink` that takes the time of the marks, in seconds that `clock` says."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started: float | None = None
        self.seconds: float | None = None
        """Host time between the marks; None until both have come."""
        self.operations = 0
        self.latest = ""
        """The latest line that was no mark, to say what happened where a mark is missing."""

    def console_line(self, name: str, text: str) -> None:
        """One line of a domain's console."""
        self.latest = f"{name} | {text}"

    def hypervisor_line(self, text: str) -> None:
        """One or several lines of the hypervisor's log."""
        now = self._clock()
        for line in text.split("\n"):
            mark = _MARK.fullmatch(line)
            if mark is None:
                self.latest = f"(XEN) {line}"
            elif mark[1] == "start":
                self._started = now
            elif self._started is not None and mark[3]:
                self.seconds, self.operations = now - self._started, int(mark[3])


@contextmanager
def through_python() -> Iterator[None]:
    """Runs that begin in here have no native front: every exit can be seen, and all are paid for alike."""
    with patch.dict(os.environ, DOMUS_FAST_PATH="0"):
        yield


def seconds_per_operation(domains: Domains, *, runtime: RuntimeName = "local", clock: ClockMode = "virtual",
                          host_clock: Callable[[], float] = time.perf_counter) -> float:
    """Run `domains`, one of which marks what it does, and give the host seconds of one operation.

    With `host_clock=time.thread_time` it is what the local runtime itself took, however busy the machine is.

    Raises MeasurementError, and what a runtime raises.
    """
    watch = Stopwatch(host_clock)
    plan = from_data({"clock": {"mode": clock}, "domains": domains}, Path(), name="microbench").plan()
    report = load_runtime(runtime).run(plan, RunOptions(timeout=_LIMIT), watch)
    exits = {domain.exit for domain in report.domains.values()}
    if report.outcome != "finished" or exits != {"poweroff"} or watch.seconds is None:
        raise MeasurementError(f"{report.outcome}, {', '.join(sorted(exits))}; the last line was: {watch.latest}")
    return watch.seconds / watch.operations
