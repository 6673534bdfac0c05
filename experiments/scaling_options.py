"""The command line of `experiments.scaling`."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.scaling_point import Wanted
from experiments.scaling_shapes import SHAPES
from experiments.startup import ROOT
from toolstack.config import HostConfig, MachineConfig

FULL: Mapping[str, Any] = {
    "shapes": list(SHAPES), "domains": [1, 2, 4, 8, 16, 32], "runtime": ["local", "ray"], "nodes": [1],
    "per_actor": [1], "pcpus": [0], "repeats": 5, "work": 1.0, "timeout": 120.0,
}
QUICK: Mapping[str, Any] = {**FULL, "domains": [1, 2, 4, 8, 16], "runtime": ["local"], "repeats": 3, "work": 0.2}
_EPILOG = """\
A list has commas; "4...64" in it goes on by doubling.  Ctrl-C ends it; --resume goes on.  Exit status: 0 everything was
measured; 1 something could not be; 2 a mistake on the command line; 130 it was interrupted.
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; those that were not given are None.  Ends the program with status 2 where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scaling", allow_abbrev=False, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure how hosts of many domains scale; draw figures, fit models, write a page.")
    add = parser.add_argument
    add("--shapes", type=_list(_one_of(tuple(SHAPES))), metavar="LIST", help=f"of {', '.join(SHAPES)}; default: all")
    add("--domains", type=_list(_whole(1)), metavar="LIST", help="how many domains; default 1...32, quick 1...16")
    add("--repeats", type=_whole(1), metavar="N", help="runs of each; default 5, quick 3")
    add("--runtime", type=_list(_one_of(("local", "ray"))), metavar="LIST", help="default local,ray; quick local")
    add("--per-actor", type=_list(_whole(1)), metavar="LIST", help="domains a Ray actor; default 1")
    add("--pcpus", type=_list(_whole(1)), metavar="LIST", help="domains that a node runs at once; default: its cores")
    add("--nodes", type=_list(_whole(1)), metavar="LIST",
        help="Ray nodes, all on this machine unless --address says otherwise; default 1")
    add("--address", metavar="A", help="a Ray cluster that runs; auto finds this machine's")
    add("--work", type=_positive, metavar="X", help="times the work that is done in a run; default 1, quick 0.2")
    add("--timeout", type=_positive, metavar="S", help="seconds of a run's domains; default 120")
    add("--quick", action="store_true", help="fewer, smaller and shorter runs: some two minutes")
    add("--out", type=Path, default=ROOT / "build" / "scaling", metavar="DIR", help="default: build/scaling")
    add("--resume", action="store_true", help="go on: what has finished is not measured again")
    add("--report", action="store_true", help="measure nothing; make table, figures and page of what is there")
    arguments = parser.parse_args(argv)
    if any(pcpus for pcpus in arguments.pcpus or ()) and "pcpus" not in MachineConfig.model_fields:
        parser.error("--pcpus: configurations of this version have no machine.pcpus")
    if any(count > 1 for count in arguments.per_actor or ()) and "placement" not in HostConfig.model_fields:
        parser.error("--per-actor: configurations of this version have no placement")
    return arguments


def configuration(arguments: argparse.Namespace, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is to be measured, as plain data: what was given, else what the experiment `before` had, else defaults."""
    defaults = before or (QUICK if arguments.quick else FULL)
    found = {key: defaults[key] if getattr(arguments, key) is None else getattr(arguments, key) for key in FULL}
    return {**found, "quick": bool((before or {}).get("quick", False) or arguments.quick)}


def wanted(configuration: Mapping[str, Any]) -> Wanted:
    """The runs of a configuration."""
    return Wanted(configuration["shapes"], configuration["domains"], configuration["runtime"], configuration["nodes"],
                  configuration["per_actor"], configuration["pcpus"], configuration["repeats"], configuration["work"])


def _list(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Items with commas between; each once, numbers in order."""

    def read(text: str) -> list[Any]:
        found: list[Any] = []
        for part in text.split(","):
            first, dots, last = part.strip().partition("...")
            found.append(item(first))
            if dots:
                end = item(last)
                if not isinstance(end, int):
                    raise argparse.ArgumentTypeError(f"expected numbers around '...', got {part!r}")
                while found[-1] * 2 <= end:
                    found.append(found[-1] * 2)
        unique = list(dict.fromkeys(found))
        return sorted(unique) if isinstance(unique[0], int) else unique

    return read


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(names)}, got {text!r}")
        return text

    return read


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return int(text)

    return read


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value
