"""Hosts for tests: describe domains in Python, run them, look at what they did.  The fixture `host` is one of these."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolstack import expect
from toolstack.images import Programs
from toolstack.load import Configuration, from_data, load
from toolstack.outside import Running
from toolstack.plan import ClockMode
from toolstack.report import DomainReport, RunReport
from toolstack.runtime import RunOptions, Runtime
from toolstack.summary import summary


class Domain:
    """A domain of a Host: before the run a name, afterwards what it did in the latest one."""

    def __init__(self, host: "Host", name: str) -> None:
        self._host = host
        self.name = name

    def __repr__(self) -> str:
        return f"<domain {self.name}>"

    @property
    def report(self) -> DomainReport:
        """Everything that is known of it.  Raises LookupError before `host.run()`."""
        if self._host.report is None:
            raise LookupError(f"{self.name} has not run yet: call host.run() first")
        return self._host.report.domains[self.name]

    @property
    def domid(self) -> int:
        """Its domid."""
        return self.report.domid

    @property
    def console(self) -> list[str]:
        """The lines that it printed."""
        return self.report.console

    @property
    def exit(self) -> str:
        """`poweroff`, `reboot`, `suspend`, `crash`; `running` where it did not end."""
        return self.report.exit

    @property
    def digest(self) -> str:
        """SHA-256 of its part of the trace."""
        return self.report.digest


class Host:
    """A simulated Xen host.

    `base` is the folder that file names are relative to.  `clock`, if given, goes before a configuration's own.
    """

    def __init__(
        self, runtime: Runtime, base: Path, *, clock: ClockMode | None = None, programs: Programs | None = None
    ) -> None:
        self._runtime = runtime
        self._base = base
        self._clock = clock
        self._programs = programs
        self._settings: dict[str, Any] = {}
        self._domains: dict[str, dict[str, Any]] = {}
        self._loaded: Configuration | None = None
        self._sink = _Kept()
        self.report: RunReport | None = None
        """What the latest run did; None before the first."""
        self.running: Running | None = None
        """While another thread is in `run`: what `xenctrl.interface_open` wants of this host."""
        self.failures: list[str] = []
        """What `expect` asks for and the latest run did not do.  Without it, every domain must power off."""

    def domain(self, kernel: str | Path, *, name: str | None = None, **settings: Any) -> Domain:
        """Add a domain.  Domids count from 1 in the order of these calls.

        `kernel`: a program of `guests/`, or an ELF file.  `name`: by default the kernel's, numbered where it is taken.
        `settings`: as in a configuration: type, cmdline (with `${other.domid}`), memory, ramdisk, vcpus.
        """
        if self._loaded is not None:
            raise ValueError("this host was loaded from a file; add the domain there")
        if "count" in settings:
            raise ValueError("expected no count: call host.domain() for each replica")
        name = name or self._free_name(Path(kernel).stem)
        if name in self._domains:
            raise ValueError(f"this host has a domain {name!r} already")
        given = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
        self._domains[name] = {"kernel": str(kernel), **given}
        return Domain(self, name)

    def configure(self, **settings: Any) -> None:
        """Set what a configuration has at its top: seed, clock, machine, hypercalls, expect."""
        self._settings.update(settings)

    def load(self, file: str | Path) -> Mapping[str, Domain]:
        """Take a configuration file instead; returns its domains by name.  Raises ConfigError."""
        if self._domains or self._settings:
            raise ValueError("this host has domains or settings of its own; load the file into a new one")
        self._loaded = load(str(self._base / file), self._programs)
        return {name: Domain(self, name) for name in self._loaded.names()}

    def run(self, timeout: float | None = 60.0, *, seed: int | None = None, trace: Path | None = None) -> RunReport:
        """Boot everything and run until all domains have ended, `timeout` seconds of host time are over, or all wait.

        Each call is a run of its own, from the start.  Raises ConfigError, or HostError where the host cannot work.
        """
        configuration = self._loaded or self._configuration()
        plan = configuration.plan(clock=self._clock, seed=seed)
        self.report, self.failures, self._sink = None, [], _Kept()
        options = RunOptions(timeout=timeout, trace_path=trace, started=self._started)
        try:
            self.report = self._runtime.run(plan, options, self._sink)
        finally:
            self.running = None
        self.failures = expect.failures(plan.expect, self.report)
        return self.report

    def restore(self, checkpoint: Path, timeout: float | None = 60.0, *, trace: Path | None = None) -> RunReport:
        """Go on from a checkpoint, or from the newest in a folder of them, until what `run` waits for.

        The host's domains are the checkpoint's.  Raises CheckpointError, HostError.
        """
        from toolstack.checkpoint import read

        saved = read(checkpoint)
        self.report, self.failures, self._sink = None, [], _Kept()
        options = RunOptions(timeout=timeout, trace_path=trace, restore=saved, started=self._started)
        try:
            self.report = self._runtime.run(saved.plan, options, self._sink)
        finally:
            self.running = None
        self.failures = expect.failures(saved.plan.expect, self.report)
        return self.report

    def _started(self, running: Running) -> None:
        self.running = running

    @property
    def hypervisor_log(self) -> list[str]:
        """The hypervisor's log in the latest run, without `(XEN)`."""
        return self._sink.hypervisor

    def sections(self) -> list[tuple[str, str]]:
        """Titles and texts for a test's report: each console, the hypervisor's log, the table."""
        if self.report is None:
            consoles = [(f"console of {name}", "\n".join(lines)) for name, lines in self._sink.consoles.items()]
            return [*consoles, ("hypervisor", "\n".join(self._sink.hypervisor))]
        consoles = [(f"console of {name}", "\n".join(domain.console)) for name, domain in self.report.domains.items()]
        end = "\n".join(summary(self.report, self.failures, quiet=True)).strip("\n")
        return [*consoles, ("hypervisor", "\n".join(self._sink.hypervisor)), ("run", end)]

    def _configuration(self) -> Configuration:
        return from_data({**self._settings, "domains": self._domains}, self._base, programs=self._programs)

    def _free_name(self, stem: str) -> str:
        numbers: Sequence[str] = [stem, *(f"{stem}-{number}" for number in range(2, len(self._domains) + 3))]
        return next(name for name in numbers if name not in self._domains)


class _Kept:
    """A sink that keeps everything, so that it can be shown even where the run raises."""

    def __init__(self) -> None:
        self.consoles: dict[str, list[str]] = {}
        self.hypervisor: list[str] = []

    def console_line(self, name: str, text: str) -> None:
        self.consoles.setdefault(name, []).append(text)

    def hypervisor_line(self, text: str) -> None:
        self.hypervisor.extend(text.split("\n"))
