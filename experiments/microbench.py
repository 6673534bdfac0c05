"""Measures what hypercalls, events, grants and whole starts cost in host time.

    python -m experiments.microbench                      everything, some minutes on a machine with nothing else to do
    python -m experiments.microbench --quick null 'gnt*'  some of it, less exactly
    python -m experiments.microbench --json FILE          the figures for programs, too

Exit status: 0 where everything was measured that is on this machine, whatever the figures are; 1 where something could
not be; 2 for a mistake on the command line.
"""

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from experiments.boots import BOOTS
from experiments.figures import EXPERIMENTS as HOST_EXPERIMENTS
from experiments.figures import Amount, Experiment
from experiments.pv_figures import PV_EXPERIMENTS
from experiments.results import Result, load, number, table, write_json
from experiments.stopwatch import Absent, MeasurementError
from toolstack.errors import ConfigError, HostError

EXPERIMENTS = (*HOST_EXPERIMENTS, *PV_EXPERIMENTS, *BOOTS)
QUICK = 0.1
"""The part of a measurement that is done for `--quick`."""
BUSY = 0.5
RUNS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and give the exit status."""
    arguments = _arguments(argv)
    runs = 1 if arguments.quick else arguments.runs
    scale = QUICK if arguments.quick else 1.0
    busy = load() >= BUSY
    if busy:
        print("microbench: other programs are running, so all figures will be worse than they are", file=sys.stderr)
    chosen = [experiment for experiment in EXPERIMENTS if _wanted(experiment, arguments.names)]
    results, failed = run(chosen, runs, lambda count: max(10, int(count * scale)))
    for line in table(results) if results else ():
        print(line)
    if arguments.json is not None:
        try:
            write_json(Path(arguments.json), results, quick=arguments.quick, busy=busy)
        except OSError as error:
            print(f"microbench: cannot write {arguments.json!r}: {error.strerror}", file=sys.stderr)
            return 1
    return 1 if failed else 0


def run(experiments: Sequence[Experiment], runs: int, amount: Amount) -> tuple[list[Result], list[str]]:
    """Measure each of `experiments` that many times: the results, and the names of those that failed.

    What is not on this machine is skipped.
    """
    results, failed = [], []
    for place, experiment in enumerate(experiments, 1):
        print(f"[{place}/{len(experiments)}] {experiment.name}", end="", file=sys.stderr, flush=True)
        values: list[Sequence[float]] = []
        try:
            for _ in range(runs):
                values.append(experiment.measure(amount))
                print(f"  {number(values[-1][0])}", end="", file=sys.stderr, flush=True)
        except Absent as error:
            print(f"  skipped: {error}", file=sys.stderr)
            continue
        except (MeasurementError, ConfigError, HostError, OSError) as error:
            print(f"  failed: {error}", file=sys.stderr)
            failed.append(experiment.name)
            continue
        print(f" {experiment.figures[0].unit}", file=sys.stderr)
        results += [Result(figure, tuple(column))
                    for figure, column in zip(experiment.figures, zip(*values, strict=True), strict=True)]
    return results, failed


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(experiment.name for experiment in EXPERIMENTS)
    parser = argparse.ArgumentParser(prog="python -m experiments.microbench", allow_abbrev=False,
                                     description="Measure what things cost in host time.",
                                     epilog=f"names: {names}")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure, * for any text; default: everything")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--quick", action="store_true", help="one run each, and a tenth of the work")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N",
                        help="how often to measure each; the median counts (default %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        parser.error("--runs: expected at least 1")
    for name in arguments.names:
        if not any(_wanted(experiment, [name]) for experiment in EXPERIMENTS):
            parser.error(f"nothing is called {name!r}; there are {names}")
    return arguments


def _wanted(experiment: Experiment, names: Sequence[str]) -> bool:
    return not names or any(fnmatchcase(experiment.name, name) for name in names)


if __name__ == "__main__":
    sys.exit(main())
