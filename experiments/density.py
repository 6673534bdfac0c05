"""Measures how many domains a machine takes: what an actor costs, and how fast a thousand domains start.

    python -m experiments.density                       both, some minutes on a machine with nothing else to do
    python -m experiments.density actors                200 domains with an actor each (configs/density/actors.yaml)
    python -m experiments.density packed                1,000 domains, 50 to an actor (configs/density/packed.yaml)
    python -m experiments.density --domains 20 packed   fewer
    python -m experiments.density --json FILE           the figures for programs, too

Exit status: 0 where all domains ran to their end, whatever the figures are; 1 where not; 2 for a mistake on the command
line.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.figures import Figure
from experiments.footprint import actors_of, own_memory
from experiments.results import Result, load, table, write_json
from experiments.startup import ROOT, build
from experiments.stopwatch import MeasurementError
from toolstack import expect
from toolstack.errors import ConfigError, HostError
from toolstack.load import from_data
from toolstack.outside import Running
from toolstack.plan import HostPlan
from toolstack.runtime import RunOptions, load_runtime
from toolstack.terminal import Progress
from toolstack.yaml_lines import read

FOLDER = ROOT / "configs" / "density"
BUSY = 0.5
_PAUSE = 3.0
"""Seconds between two looks at the actors' memory."""
_LIMIT = 1200.0
_TARGETS = {"actors_own": 55.0, "packed_start": 60.0}


@dataclass
class Sample:
    """One run: seconds, and MB (10^6 bytes) of own memory of an actor, the mean of all at the worst moment."""

    start: float
    """Until every domain was loaded, with the start of Ray."""
    run: float
    """From then to the end of all of them."""
    own: float


@dataclass
class _Watch:
    """Looks at the actors of this process's Ray now and then."""

    own: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        """Until it is `over`."""
        while True:
            found = []
            for pid in actors_of(os.getpid()):
                with suppress(OSError):
                    found.append(own_memory(pid))
            if found:
                self.own = max(self.own, sum(found) / len(found) / 1e6)
            if self.over.wait(_PAUSE):
                return


class _Quiet:
    """A sink that shows nothing."""

    def console_line(self, name: str, text: str) -> None: ...

    def hypervisor_line(self, text: str) -> None: ...


def plan_of(name: str, domains: int | None = None) -> HostPlan:
    """The host of `configs/density/NAME.yaml`, with another number of domains where it is said.

    Raises MeasurementError where that cannot be made of equal groups.
    """
    file = FOLDER / f"{name}.yaml"
    data: Any = read(str(file), file.read_bytes()).data
    groups = data["domains"].values()
    if domains is not None:
        if domains % len(groups):
            raise MeasurementError(f"expected a multiple of {len(groups)} domains, got {domains}")
        for group in groups:
            group["count"] = domains // len(groups)
    return from_data(data, FOLDER, str(file), name).plan()


def measure(plan: HostPlan) -> Sample:
    """Run `plan` on a Ray of its own.  Raises MeasurementError where a domain does not end as it should."""
    watch = _Watch()
    looking = threading.Thread(target=watch.follow, daemon=True)
    moments: list[float] = []

    def started(running: Running) -> None:
        moments.append(time.perf_counter())
        looking.start()

    began = time.perf_counter()
    options = RunOptions(timeout=_LIMIT, starting=Progress(sys.stderr, time.monotonic), started=started)
    try:
        report = load_runtime("ray").run(plan, options, _Quiet())
    finally:
        watch.over.set()
    ended = time.perf_counter()
    looking.join()
    failures = expect.failures(plan.expect, report)
    if report.outcome != "finished" or failures:
        raise MeasurementError(f"the run ended with {report.outcome}" + "".join(f"; {text}" for text in failures[:1]))
    return Sample(moments[0] - began, ended - moments[0], watch.own)


def results(name: str, plan: HostPlan, sample: Sample, whole: bool) -> list[Result]:
    """The figures of a run; targets count for the `whole` number of domains."""
    what = f"{len(plan.domains):,} domains in {len(plan.actors):,} actors"
    rows = (("start", f"{what}: start", "s", sample.start), ("run", f"{what}: run to the end", "s", sample.run),
            ("own", f"{what}: memory of an actor's own", "MB", sample.own))
    return [Result(Figure(f"{name}_{key}", text, unit, _TARGETS.get(f"{name}_{key}") if whole else None), (value,))
            for key, text, unit, value in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.density", allow_abbrev=False,
                                     description="Measure what domains cost when there are many.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="actors, packed; default: both")
    parser.add_argument("--domains", type=int, metavar="N", help="another number of domains")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args(argv)
    known = ("actors", "packed")
    for name in arguments.names:
        if name not in known:
            parser.error(f"unknown name {name!r}: expected {' or '.join(known)}")
    if arguments.domains is not None and arguments.domains < 1:
        parser.error(f"--domains: expected at least 1, got {arguments.domains}")
    busy, found, failed = load() >= BUSY, list[Result](), False
    if busy:
        print("density: other programs are running, so all figures will be worse than they are", file=sys.stderr)
    for name in arguments.names or known:
        print(f"density: {name}", file=sys.stderr)
        try:
            build("pingpong")
            plan = plan_of(name, arguments.domains)
            found += results(name, plan, measure(plan), arguments.domains is None)
        except (MeasurementError, ConfigError, HostError, OSError) as error:
            print(f"density: {name}: {error}", file=sys.stderr)
            failed = True
    for line in table(found) if found else ():
        print(line)
    if arguments.json is not None:
        try:
            write_json(Path(arguments.json), found, quick=arguments.domains is not None, busy=busy)
        except OSError as error:
            print(f"density: cannot write {arguments.json!r}: {error.strerror}", file=sys.stderr)
            return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
