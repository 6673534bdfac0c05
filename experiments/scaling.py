"""Measures how hosts of many domains scale, fits a model to that, and reports.

    python -m experiments.scaling --quick              some two minutes; results in build/scaling
    python -m experiments.scaling                      everything, for a long while
    python -m experiments.scaling --resume             goes on after Ctrl-C, or whatever ended it
    python -m experiments.scaling --shapes ring,star --domains 2...64 --runtime ray --out FOLDER

docs/scaling.md explains what comes out.
"""

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import scaling_figures, scaling_page
from experiments.drawing import NoPlotsError
from experiments.results import load, number
from experiments.scaling_analysis import Analysis
from experiments.scaling_facts import facts
from experiments.scaling_options import configuration, parse, wanted
from experiments.scaling_point import Measured, Point
from experiments.scaling_runner import run_point
from experiments.scaling_shapes import SHAPES
from experiments.scaling_store import Store, StoreError
from experiments.startup import ROOT, build
from experiments.stopwatch import MeasurementError

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
_BUSY = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    try:
        arguments = parse(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else MISTAKE
    store = Store(arguments.out)
    try:
        return _run(arguments, store)
    except StoreError as error:
        _say(f"scaling: {error}")
        return MISTAKE
    except OSError as error:
        _say(f"scaling: cannot write to {store.folder}: {error.strerror or error}")
        return FAILED


def _run(arguments: argparse.Namespace, store: Store) -> int:
    before = store.facts()["configuration"] if arguments.report or (
        arguments.resume and (store.folder / "run.json").exists()) else None
    asked = configuration(arguments, before)
    points = wanted(asked).points()
    if not points:
        _say("scaling: no shape can be made of so many domains")
        return MISTAKE
    status, failed = DONE, []
    if not arguments.report:
        store.begin(facts(asked), resume=arguments.resume)
        try:
            failed = _measure(store, points, arguments.address, asked["timeout"])
        except KeyboardInterrupt:
            _say("interrupted: --resume goes on")
            status = INTERRUPTED
    _report(store, points, failed)
    return status or (FAILED if failed else DONE)


def _measure(store: Store, points: Sequence[Point], address: str | None, timeout: float) -> list[str]:
    """Run what has not finished; what could not be measured, each with the reason."""
    finished = store.finished()
    left = [point for point in points if point.key not in finished]
    if len(left) < len(points):
        _say(f"{len(points) - len(left)} of {len(points)} runs have finished already")
    if load() >= _BUSY:
        _say("other programs are running, so that figures will be worse than they are")
    failed: list[str] = []
    try:
        for program in sorted({program for point in left for program in SHAPES[point.shape].programs}):
            build(program)
    except MeasurementError as error:
        return [str(error)]
    clock = _TimeLeft(left)
    for place, point in enumerate(left, len(points) - len(left) + 1):
        print(f"[{place}/{len(points)}] {point}: ", end="", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            measured = run_point(point, address=address, timeout=timeout)
        except MeasurementError as error:
            failed.append(f"{point}: {error}")
            _say(f"failed: {error}")
        except KeyboardInterrupt:
            _say("")
            raise
        else:
            store.add(point, measured)
            _say(f"{_short(measured)}{clock.after(point, time.monotonic() - began)}")
    return failed


class _TimeLeft:
    """How long the rest will take, by what runs like them took: those on Ray take far longer."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._left = list(points)
        self._took: dict[str, list[float]] = {}

    def after(self, point: Point, seconds: float) -> str:
        """A run has finished; words about the rest."""
        self._left = self._left[self._left.index(point) + 1:]
        self._took.setdefault(point.runtime, []).append(seconds)
        means = {runtime: sum(took) / len(took) for runtime, took in self._took.items()}
        if not self._left or any(other.runtime not in means for other in self._left):
            return ""
        rest = sum(means[other.runtime] for other in self._left)
        return f"  ({rest:.0f} s left)" if rest < 100 else f"  ({rest / 60:.0f} min left)"


def _short(measured: Sequence[Measured]) -> str:
    values = {each.metric: each for each in measured}
    if "throughput" in values:
        return f"{number(values['throughput'].value)} {values['throughput'].unit}"
    return f"{values['total_pss'].value / (1 << 20):.0f} MiB"


def _report(store: Store, points: Sequence[Point], failed: Sequence[str]) -> None:
    rows = store.write_table()
    if not rows:
        _say("nothing has been measured yet")
        return
    known: Mapping[str, Any] = store.facts()
    analysis = Analysis(rows, known["machine"]["usable_processors"])
    note = ""
    try:
        drawn = scaling_figures.draw(analysis, store.folder)
    except NoPlotsError as error:
        drawn, note = [], str(error)
        _say(note)
    page = store.folder / "scaling.html"
    finished = {row.point.key for row in rows}
    scaling_page.write(page, analysis, drawn, known, done=sum(point.key in finished for point in points),
                       wanted=len(points), failed=failed, note=note)
    for line in summary(analysis):
        print(line)
    files = [store.table, page, *(file for each in drawn for file in each.files)]
    print("files: " + ", ".join(_name(file) for file in files))


def summary(analysis: Analysis) -> list[str]:
    """A line for each curve: how the throughput went from the smallest size to the largest."""
    lines = []
    for curve in analysis.curves("throughput"):
        found = curve.summaries()
        first, last = curve.sizes[0], curve.sizes[-1]
        share = found[last].mean / analysis.ideal(curve, analysis.place(curve.kind, last))
        lines.append(f"{curve.shape}, {curve.kind}: {number(found[first].mean)} {curve.unit} with {first} "
                     f"domain{'s' * (first > 1)}, {number(found[last].mean)} with {last}, {share:.0%} of the ideal")
    return lines


def _name(file: Path) -> str:
    file = file.absolute()
    return str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    for polite in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(polite, signal.default_int_handler)  # as Ctrl-C
    sys.exit(main())
