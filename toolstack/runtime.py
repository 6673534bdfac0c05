"""What a runtime is, and where to find it.  A runtime boots a plan's domains, runs them to the end and reports."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from toolstack.errors import HostError
from toolstack.log import Format, Level
from toolstack.plan import HostPlan
from toolstack.report import RunReport
from toolstack.stop import Stop

if TYPE_CHECKING:
    from toolstack.checkpoint import Checkpoint
    from toolstack.outside import Running

RuntimeName = Literal["ray", "local"]
_MODULES: dict[str, str] = {"ray": "toolstack.ray_runtime", "local": "toolstack.local"}


class Sink(Protocol):
    """Where a run's text goes while it runs.  Called from the process and thread that called `run`."""

    def console_line(self, name: str, text: str) -> None:
        """One line of domain `name`, safe to print, without its end (`toolstack.console.Console` makes them)."""

    def hypervisor_line(self, text: str) -> None:
        """One or several lines of the hypervisor's log, without `(XEN)`."""


@dataclass
class RunOptions:
    timeout: float | None = None
    """Seconds of host time from the first domain's start; None: no limit."""
    trace_path: Path | None = None
    """Where to write the canonical trace in msgpack; None: nowhere."""
    restore: "Checkpoint | None" = None
    """Go on from here; the plan is the checkpoint's."""
    log_level: Level = "warning"
    log_format: Format = "text"
    """For the actors' own logs (`toolstack.log`)."""
    stop: Stop = field(default_factory=Stop)
    """Looked at between slices: where `stop.requested`, end with the outcome `interrupted`."""
    starting: Callable[[int, int], None] = lambda ready, domains: None
    """Told how many of the domains are loaded, again and again until all are."""
    started: Callable[["Running"], None] = lambda running: None
    """Told when the host is up, with a way in for other threads: see `xenctrl`."""


class Runtime(Protocol):
    """A module `toolstack.local` or `toolstack.ray_runtime`."""

    def run(self, plan: HostPlan, options: RunOptions, sink: Sink) -> RunReport:
        """Boot and run `plan`.

        Returns a report whatever the guests do.  Raises HostError where the host cannot work, ConfigError for a
        mistake that only shows now (a kernel without a PVH entry, a hypercall file that does not load).  Leaves no
        process and no shared memory behind, whether it returns or raises.
        """


def load_runtime(name: RuntimeName) -> Runtime:
    """The runtime `name`; imports it, and only it.  Raises HostError where a package that it needs is missing."""
    try:
        return cast(Runtime, importlib.import_module(_MODULES[name]))
    except ModuleNotFoundError as error:
        package = re.split(r"\.", error.name or "?")[0]
        raise HostError(f"the runtime {name!r} needs the Python package {package}, which is not installed") from error
