"""A runtime and guest programs that do what a test says, for tests of what is around them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from toolstack.plan import HostPlan
from toolstack.report import DomainReport, Outcome, RunReport
from toolstack.runtime import RunOptions, Sink

Act = Callable[[HostPlan, RunOptions, Sink], None]


class FakePrograms:
    """Programs `reader` and `writer`, whose images are this very file."""

    def __init__(self) -> None:
        self.built: list[tuple[str, str]] = []

    def available(self) -> Sequence[str]:
        return ["writer", "reader"]

    def build(self, program: str, target: str = "pvh64") -> Path:
        self.built.append((program, target))
        return Path(__file__)


class FakeRuntime:
    """Runs nothing: prints what it is told to, and reports it.

    `exits` and `consoles` are by domain name; a domain without an exit powers off.  `act` is called in the middle.
    """

    def __init__(
        self,
        *,
        outcome: Outcome = "finished",
        exits: dict[str, str] | None = None,
        consoles: dict[str, list[str]] | None = None,
        waiting: dict[str, str] | None = None,
        details: dict[str, str] | None = None,
        act: Act | None = None,
        error: str | None = None,
    ) -> None:
        self.outcome: Outcome = outcome
        self.exits = exits or {}
        self.consoles = consoles or {}
        self.waiting = waiting or {}
        self.details = details or {}
        self.act = act
        self.error = error
        self.plans: list[HostPlan] = []
        self.options: list[RunOptions] = []

    def run(self, plan: HostPlan, options: RunOptions, sink: Sink) -> RunReport:
        self.plans.append(plan)
        self.options.append(options)
        sink.hypervisor_line("Xen version 4.17")
        for name, lines in self.consoles.items():
            for line in lines:
                sink.console_line(name, line)
        if self.act is not None:
            self.act(plan, options, sink)
        domains = {domain.name: self._report(domain.name, domain.domid) for domain in plan.domains}
        outcome: Outcome = "interrupted" if options.stop.requested else self.outcome
        return RunReport(
            plan.name, outcome, domains, digest="ab" * 32, host_seconds=1.5, runtime="fake", clock=plan.clock.mode,
            seed=plan.seed, error=self.error,
        )  # fmt: skip

    def _report(self, name: str, domid: int) -> DomainReport:
        return DomainReport(
            name, domid, self.exits.get(name, "poweroff"), self.details.get(name, ""), self.waiting.get(name),
            virtual_time_ns=1_500_000_000, work=12_345_678, hypercalls=42, events_sent=3, events_received=4,
            grants_mapped=5, host_seconds=0.25, console=self.consoles.get(name, []), digest="cd" * 32,
        )  # fmt: skip
