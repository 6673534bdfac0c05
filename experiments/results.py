"""Results of `experiments.microbench`: as a table for people, in Markdown for the README, and as JSON."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from experiments.figures import Figure

_HEADINGS = ("figure", "measured", "unit", "target", "", "Xen in QEMU", "what")
_PACKAGES = ("unicorn", "ray", "numpy")


@dataclass(frozen=True)
class Result:
    """The values of a figure, one a run; the median counts."""

    figure: Figure
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing where there is no target."""
        return {True: "met", False: "missed", None: ""}[self.figure.met(self.value)]


def number(value: float) -> str:
    """Three significant digits: `0.42`, `17.0`, `20,400`."""
    if value >= 1000:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def table(results: Sequence[Result]) -> list[str]:
    """Aligned lines with headings."""
    rows = [_cells(result) for result in results]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    right = (1, 3, 5)

    def line(cells: Sequence[str]) -> str:
        padded = (cell.rjust(width) if index in right else cell.ljust(width)
                  for index, (cell, width) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(padded).rstrip()

    return [line(_HEADINGS), "-" * (sum(widths[:-1]) + 2 * (len(widths) - 1) + len(_HEADINGS[-1])), *map(line, rows)]


def markdown(facts: Mapping[str, Any]) -> list[str]:
    """The lines of a Markdown table of what `to_json` gave."""
    lines = ["| figure | measured | target | Xen in QEMU |", "|---|---:|---:|---:|"]
    for figure in facts["figures"]:
        unit = figure["unit"] if figure["unit"].startswith("/") else f" {figure['unit']}"
        cells = [f"{number(figure['value'])}{unit}"]
        cells += ["" if figure[key] in (None, "") else f"{_plain(figure[key])}{unit}" for key in ("target", "baseline")]
        lines.append(f"| {figure['what']} | {' | '.join(cells)} |")
    return lines


def load() -> float:
    """How many programs wanted each processor in the last minute: with 0.5 and more, figures mean little."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def machine() -> dict[str, Any]:
    """What figures depend on: the processors, and versions of what does the work."""
    return {
        "processors": os.cpu_count(), "architecture": platform.machine(), "system": platform.system(),
        "python": platform.python_version(), **{name: _version(name) for name in _PACKAGES},
    }  # fmt: skip


def to_json(results: Iterable[Result], *, quick: bool, busy: bool) -> dict[str, Any]:
    """Plain data: the figures, and the machine and versions that they are of.  `busy`: other programs ran."""
    return {
        "machine": machine(),
        "quick": quick, "busy": busy,
        "figures": [
            {
                "name": result.figure.name, "what": result.figure.what, "unit": result.figure.unit,
                "value": result.value, "runs": list(result.values), "target": result.figure.target,
                "baseline": result.figure.baseline or result.figure.baseline_text or None,
                "met": result.figure.met(result.value),
            }
            for result in results
        ],
    }  # fmt: skip


def write_json(file: Path, results: Iterable[Result], *, quick: bool, busy: bool) -> None:
    """Write what `to_json` gives.  Raises OSError."""
    file.write_text(json.dumps(to_json(results, quick=quick, busy=busy), indent=2) + "\n")


def _cells(result: Result) -> tuple[str, ...]:
    figure = result.figure
    target = "" if figure.target is None else _plain(figure.target)
    baseline = figure.baseline_text if figure.baseline is None else _plain(figure.baseline)
    return (figure.name, number(result.value), figure.unit, target, result.verdict, baseline, figure.what)


def _plain(value: float | str) -> str:
    """A number that somebody set, as it was set."""
    return value if isinstance(value, str) else f"{value:,g}" if value < 1000 else f"{value:,.0f}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
