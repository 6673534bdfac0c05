"""What a hypercall costs, and why one makes as few as possible.

    python -m experiments.hypercall_cost                  a table, and build/hypercall-cost.svg and .png
    python -m experiments.hypercall_cost --count 100      quicker, less exactly
    python -m experiments.hypercall_cost --bits 32        the same by a 32-bit guest, in ring 1

A paravirtual guest does the same work in several ways: it lets Xen trap and emulate, makes a hypercall for each step,
fills batches, or puts the hypercalls into a multicall.  docs/hypercall-cost.md explains what comes out.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import cost_plot
from experiments.exit_count import Cost, cost_of
from experiments.pv_figures import bench_domain
from experiments.results import number
from experiments.startup import ROOT
from experiments.stopwatch import MeasurementError, seconds_per_operation, through_python
from toolstack.errors import ConfigError, HostError

COUNT, RUNS, BATCH = 1000, 3, 512
_HEADINGS = ("how", "time", "exits", "guest code", "exits for")


@dataclass(frozen=True)
class Work:
    """Something that a guest does over and over: tests `<name>-<way>` of `guests/bench/pv`."""

    name: str
    title: str
    one: str
    ways: tuple[tuple[str, str], ...]
    """Each the end of a test's name, and what it does in a few words."""
    bits: tuple[int, ...] = (64, 32)


WORKS = (
    Work("update", "page-table updates", "update", (
        ("trap", "trap and emulate"), ("each", "update_va_mapping each"), ("batch", "mmu_update, batches of {batch}"),
        ("multicall", "multicalls of {batch}"))),
    Work("switch", "context switches", "switch", (
        ("trap", "trap and emulate"), ("each", "one hypercall each"), ("batch", "page tables in one mmuext_op"),
        ("multicall", "one multicall")), (64,)),
)


@dataclass(frozen=True)
class Row:
    """One way to do some work.  Seconds, exits and bytes of guest code are those of one operation."""

    label: str
    seconds: float
    cost: Cost


def measure(work: Work, *, count: int, runs: int, batch: int, bits: int) -> list[Row]:
    """Each way of `work`: `runs` runs for the time, of which the fastest counts, and one that counts exits.

    Raises MeasurementError, and what a runtime raises.
    """
    rows = []
    for way, label in work.ways:
        domains = {"bench": bench_domain(f"{work.name}-{way}", count, bits=bits, words=f"batch={batch}")}
        cost = cost_of(domains)
        with through_python():
            seconds = min(seconds_per_operation(domains, host_clock=time.thread_time) for _ in range(runs))
        rows.append(Row(label.format(batch=batch), seconds, cost))
    return rows


def table(work: Work, rows: Sequence[Row], bits: int) -> list[str]:
    """Aligned lines with a title and headings."""
    cells = [_HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = (1, 2, 3)
    lines = ["  ".join(cell.rjust(width) if index in right else cell.ljust(width)
                       for index, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in cells]
    operations = rows[0].cost.operations
    title = f"{operations:,} {work.title} of a {bits}-bit paravirtual guest, each {work.one}:"
    return [title, "", lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def _cells(row: Row) -> tuple[str, ...]:
    kinds = ", ".join(f"{name} {_amount(count / row.cost.operations)}" for name, count in row.cost.exits.most_common())
    return (row.label, f"{number(row.seconds * 1e6)} us", _amount(row.cost.exits_per_operation),
            f"{row.cost.work_per_operation:.0f} B", kinds)


def _amount(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if value < 1 else f"{value:.2f}".rstrip("0").rstrip(".")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, plot; the exit status: 1 where something could not be measured or written."""
    arguments = _arguments(argv)
    found = []
    try:
        for work in WORKS:
            if arguments.bits in work.bits:
                rows = measure(work, count=arguments.count, runs=arguments.runs, batch=arguments.batch,
                               bits=arguments.bits)
                found.append((work, rows))
                print("\n".join([*table(work, rows, arguments.bits), ""]), flush=True)
        panels = [cost_plot.Panel(work.title, [row.label for row in rows], [
            cost_plot.Bars(f"time of one {work.one} (us)", [row.seconds * 1e6 for row in rows]),
            cost_plot.Bars("exits", [row.cost.exits_per_operation for row in rows]),
            cost_plot.Bars("guest code (bytes)", [row.cost.work_per_operation for row in rows])])
            for work, rows in found]
        files = cost_plot.plot(panels, arguments.output)
    except (MeasurementError, ConfigError, HostError, OSError) as error:
        print(f"hypercall_cost: {error}", file=sys.stderr)
        return 1
    except cost_plot.NoPlotsError as error:
        print(error)
        return 0
    print("plots: " + ", ".join(str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file) for file in files))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.hypercall_cost", allow_abbrev=False,
                                     description="Measure what the ways to ask Xen for something cost.")
    parser.add_argument("--count", type=_positive, default=COUNT, metavar="N",
                        help="how often the guest does each (default %(default)s)")
    parser.add_argument("--runs", type=_positive, default=RUNS, metavar="N",
                        help="how often to take the time; the shortest counts (default %(default)s)")
    parser.add_argument("--batch", type=_positive, default=BATCH, metavar="N",
                        help=f"updates in one hypercall, at most {BATCH} (default %(default)s)")
    parser.add_argument("--bits", type=int, choices=(64, 32), default=64,
                        help="the guest's width (default %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "hypercall-cost", metavar="FILE",
                        help="where the plots go: FILE.svg and FILE.png (default: build/hypercall-cost)")
    arguments = parser.parse_args(argv)
    if arguments.batch > BATCH:
        parser.error(f"--batch: expected at most {BATCH}")
    return arguments


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
