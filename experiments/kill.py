"""Kill processes of a running host, hundreds of times, and look whether anybody else is harmed.

    python -m experiments.kill --count 300
    python -m experiments.kill --seconds 120 --seed 7

In each run four domains in three or four processes, of one sharing group or two, ask each other questions over granted
pages and event channels made for each question (`guests/abuse/mourner.c`).  Some of the processes are killed: at any
instant, several at once, before a random write of the native front, of a hypercall in Python, of the end of a round.
After each death, and at the end, everything in the host's tables is counted anew by other code than that which repairs
(`experiments.kill_invariants`), and the survivors' own checks must pass: no event lost, no answer wrong, no grant held
by the dead.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domains.host_code import HostCodeError
from domains.native import BlockMeter
from experiments.kill_front import load_deadly_front
from experiments.kill_trial import Kind, Trial, run
from toolstack.domain_actor import DomainActor
from toolstack.errors import ConfigError, HostError
from toolstack.load import from_data
from toolstack.plan import HostPlan

DOMAINS, QUESTIONS = 4, 100
_WRITES = 5000
"""Of the native front in a run, about."""


def plans() -> list[HostPlan]:
    """Hosts: a crowd with a process for each domain, or with one that has two; two crowds, which run at the same time,
    with and without a process that has a domain of each.  Raises ConfigError.
    """
    return [_plan(crowd, together) for crowd in (DOMAINS, DOMAINS // 2) for together in ((), (0, DOMAINS // 2))]


def _plan(crowd: int, together: Sequence[int]) -> HostPlan:
    domains: dict[str, Any] = {}
    for index in range(DOMAINS):
        first = index - index % crowd
        domains[f"d{index}"] = {
            "kernel": "abuse/mourner", "memory": "8MiB",
            "cmdline": f"first={first + 1} count={crowd} index={index - first} questions={QUESTIONS} pause=300"}
        if index in together:
            domains[f"d{index}"]["placement"] = {"actor": "first"}
    return from_data({"machine": {"pcpus": 2}, "domains": domains}, Path.cwd(), name="kill").plan()


class Killer:
    """Makes trials, each from a number of its own: the same number, the same victims and moments."""

    def __init__(self, folder: Path) -> None:
        self._plans = plans()
        self._front = load_deadly_front(folder)
        self._length = 0.0

    def trial(self, number: int) -> Trial:
        """Trial `number`; kinds take turns."""
        dice = random.Random(number)
        kind = list(Kind)[number % len(Kind)]
        actor = DomainActor(BlockMeter(None if kind == Kind.PYTHON else self._front))
        if not self._length:  # how long a run takes in which everybody is killed too late
            self._length = run(self._plans[0], actor, Kind.INSTANT, dice, 1e9, 1).seconds * 0.8
        return run(dice.choice(self._plans), actor, kind, dice, self._length, _WRITES)


def main() -> int:
    """Run trials until there were `--count`, or `--seconds` are over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="runs (100)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so many (no limit)")
    parser.add_argument("--seed", type=int, default=0, help="the first run's number (0)")
    options = parser.parse_args()
    started = time.perf_counter()
    totals: Counter[str] = Counter()
    kinds: Counter[Kind] = Counter()
    failed: list[tuple[int, Trial]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            killer = Killer(Path(folder))
            for number in range(options.seed, options.seed + options.count):
                if time.perf_counter() - started > options.seconds:
                    break
                trial = killer.trial(number)
                kinds[trial.kind] += trial.killed
                for name in ("killed", "crashed", "repaired", "survivors"):
                    totals[name] += getattr(trial, name)
                totals["runs"] += 1
                if trial.problems:
                    failed.append((number, trial))
                    for text in trial.problems:
                        print(f"run {number} ({trial.kind.value}): {text}", flush=True)
                elif totals["runs"] % 25 == 0:
                    print(f"{totals['runs']} runs, {totals['killed']} processes killed", flush=True)
        except (ConfigError, HostError, HostCodeError) as error:
            print(f"experiments.kill: {error}", file=sys.stderr)
            return 2
    print(f"{totals['runs']} runs in {time.perf_counter() - started:.0f} s: {totals['killed']} processes killed, "
          f"{totals['crashed']} domains crashed with them, {totals['survivors']} domains survived")
    for kind, count in sorted(kinds.items(), key=lambda item: item[0].value):
        print(f"  {count:5d} {kind.value}")
    print(f"{totals['repaired']} deaths left something half done that others depend on; it was put right")
    print("after each death and at the end: every reference, pin, port, heap, due time and group counted anew")
    print(f"{len(failed)} runs with anything wrong" + (f": --seed {failed[0][0]} --count 1" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
