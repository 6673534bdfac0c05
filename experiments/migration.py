"""Measures what it costs to move a running domain to another node: how long all stand still, and what goes over.

    python -m experiments.migration [--moves 6] [--memory 64MiB] [--ray]

The busy guest writes all of its memory all the time; the idle one has written it once and sleeps, while a domain that
never gives its processor away runs beside it.  The nodes are processes of this machine that share no memory; with
`--ray` they are nodes of a Ray cluster, on this machine too.  To compare with, what one would do else: write a
checkpoint of the same host to a file, and read it, while all stand still.  It packs what this guest writes to nearly
nothing; so there is also a checkpoint of as much memory with what is usually in it.
"""

import argparse
import mmap
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import xenctrl
from abi.sched import SCHED_REMOTE_SHUTDOWN, SchedOp, ShutdownReason
from abi.xen import Hypercall
from experiments import checkpoint_cost, node_processes
from experiments.nodes import cluster
from experiments.results import load
from experiments.stopwatch import MeasurementError
from toolstack import checkpoint
from toolstack.load import from_data
from toolstack.outside import Running
from toolstack.plan import HostPlan
from toolstack.report import MigrationReport
from toolstack.runtime import RunOptions, Runtime, load_runtime
from toolstack.session import memory_file, shape_of

_LIMIT = 300.0
_FILLED_NS = 3_500_000
"""Nanoseconds of a guest's time that writing a MiB takes, or a little less."""
_MIB = 1 << 20
GUESTS = {"busy": "laps=1000000", "idle": "laps=1000000 rest=100000000"}


class Moves(NamedTuple):
    """The moves of one guest: times in seconds, amounts in bytes."""

    guest: str
    reports: Sequence[MigrationReport]

    @property
    def down(self) -> list[float]:
        """Seconds for which all stood still, of each move."""
        return [report.down_ns / 1e9 for report in self.reports]

    def line(self) -> str:
        """Of the table."""
        reports = self.reports
        copied = sum(report.copied_bytes for report in reports)
        seconds = sum(report.copy_ns for report in reports) / 1e9
        return (f"{self.guest:5}  {len(reports):5}  {median(self.down) * 1e3:6.0f} ms  {max(self.down) * 1e3:7.0f} ms  "
                f"{median(report.passes for report in reports):6.0f}  {copied / len(reports) / _MIB:6.1f} MiB  "
                f"{sum(report.rest_bytes for report in reports) / len(reports) / _MIB:6.1f} MiB  "
                f"{copied / seconds / _MIB:5.0f} MiB/s")


HEADINGS = "guest  moves  down time    largest  passes  while it ran  while it stood  copied at"


class Silence:
    """A sink for what nobody wants to see, but the latest line."""

    latest = ""

    def console_line(self, name: str, text: str) -> None:
        """One line of a domain's console."""

    def hypervisor_line(self, text: str) -> None:
        """One line of the hypervisor's log."""
        self.latest = text


def plan(guest: str, memory: str) -> HostPlan:
    """A host whose first domain is to be moved."""
    domains: dict[str, dict[str, Any]] = {"traveller": {
        "kernel": "traveller", "cmdline": GUESTS[guest], "memory": memory, "placement": {"node": 0}}}
    if guest == "idle":
        domains["spin"] = {"kernel": "abuse/spin", "memory": "8MiB", "placement": {"node": 0}}
    return from_data({"domains": domains, "placement": {"nodes": 2}}, Path(), name=f"migration-{guest}").plan()


def filled_ns(host: HostPlan) -> int:
    """When the first domain has written nearly all of its memory once, in nanoseconds of its time."""
    return host.domains[0].memory // _MIB * _FILLED_NS


def measure(runtime: Runtime, guest: str, memory: str, moves: int) -> Moves:
    """Move it to and fro.  Raises MeasurementError, HostError."""
    wanted = plan(guest, memory)
    errors: list[Exception] = []
    threads: list[threading.Thread] = []

    def work(handle: xenctrl.Handle) -> None:
        try:
            while xenctrl.domain_getinfo(handle, 1, 1)[0].cpu_time < filled_ns(wanted):
                time.sleep(0.02)
            for number in range(moves):
                xenctrl.domain_migrate(handle, 1, 1 - number % 2)
        except (ValueError, xenctrl.InterfaceError) as error:
            errors.append(error)
        finally:
            for domain in wanted.domains:
                end = SCHED_REMOTE_SHUTDOWN.at(64).pack(domain.domid, ShutdownReason.poweroff)
                xenctrl.hypercall(handle, Hypercall.sched_op, SchedOp.remote_shutdown, end)

    def started(running: Running) -> None:
        threads.append(threading.Thread(target=work, args=(xenctrl.Handle(running),), daemon=True))
        threads[0].start()

    sink = Silence()
    report = runtime.run(wanted, RunOptions(timeout=_LIMIT, started=started), sink)
    for thread in threads:
        thread.join(_LIMIT)
    if errors or report.outcome != "finished" or len(report.migrations) != moves:
        raise MeasurementError(f"the {guest} guest: {errors[0] if errors else report.outcome}; "
                               f"the last line was: {sink.latest}")
    return Moves(guest, report.migrations)


class Stop(NamedTuple):
    """A checkpoint of a host, in seconds, and bytes on disk."""

    write: float
    read: float
    size: int

    def line(self, what: str) -> str:
        """For people."""
        return (f"a checkpoint {what}: {(self.write + self.read) * 1e3:,.0f} ms ({self.write * 1e3:,.0f} ms to write "
                f"{self.size / _MIB:.1f} MiB, {self.read * 1e3:,.0f} ms to read them)")


def measure_checkpoint(memory: str) -> Stop:
    """The busy guest's host, written to a file and read again.  Raises MeasurementError, HostError."""
    with TemporaryDirectory() as folder:
        settings = {"domains": {"traveller": {"kernel": "traveller", "cmdline": "laps=6", "memory": memory}},
                    "checkpoint": {"every": f"{2 * filled_ns(plan('busy', memory))}ns", "directory": folder, "keep": 1}}
        wanted = from_data(settings, Path(), name="migration-stop").plan()
        sink = Silence()
        load_runtime("local").run(wanted, RunOptions(timeout=_LIMIT), sink)
        if not checkpoint.written(Path(folder)):
            raise MeasurementError(f"no checkpoint was written; the last line was: {sink.latest}")
        saved = checkpoint.read(Path(folder))
        shape = shape_of(wanted)
        with memory_file("stop", shape.size) as descriptor:
            view = memoryview(mmap.mmap(descriptor, shape.size))
            started = time.perf_counter()
            saved.load(view, shape)
            read = time.perf_counter() - started
            started = time.perf_counter()
            _, facts = checkpoint.write(Path(folder), "again", dict(saved.body), descriptor, view)
            return Stop(time.perf_counter() - started, read, facts.size)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.migration", description="A domain that moves to "
                                     "another node and back while it runs.")
    parser.add_argument("--moves", type=int, default=6, help="moves of each guest (6)")
    parser.add_argument("--memory", default="64MiB", help="of the guest that moves (64MiB)")
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster of two nodes")
    options = parser.parse_args(argv)
    if options.moves < 1:
        parser.error(f"--moves: expected 1 or more, got {options.moves}")
    try:
        runtime: Runtime = load_runtime("ray") if options.ray else node_processes
        print(f"{HEADINGS}\n{'-' * len(HEADINGS)}")
        with cluster(2) if options.ray else nullcontext():
            for guest in GUESTS:
                print(measure(runtime, guest, options.memory, options.moves).line(), flush=True)
        stop = measure_checkpoint(options.memory)
        usual = checkpoint_cost.measure(plan("busy", options.memory).domains[0].memory // _MIB)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    print(stop.line("of the busy guest's host"))
    print(Stop(usual.write, usual.read, usual.size).line(f"of {usual.mebibytes} MiB as others have them"))
    print(f"programs that wanted each processor in the last minute: {load():.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
