"""Bars side by side, as SVG and PNG.  Needs matplotlib, which the extra `experiments` installs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.drawing import NoPlotsError as NoPlotsError
from experiments.drawing import drawing, save
from experiments.results import number

_COLOURS = ("#c44e52", "#dd8452", "#4c72b0", "#55a868")
_WIDTH, _HEIGHT = 11.0, 2.4
"""Inches, of the figure and of each of its panels."""
_ROOM = 1.25
"""Of the longest bar, for the number behind it."""


@dataclass(frozen=True)
class Bars:
    """One number for each label."""

    title: str
    values: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """A row of bar charts that have their labels in common."""

    title: str
    labels: Sequence[str]
    charts: Sequence[Bars]


def plot(panels: Sequence[Panel], file: Path) -> list[Path]:
    """Draw `panels` below each other into `file` with .svg and .png behind it: the files.

    Raises NoPlotsError, and OSError where they cannot be written.
    """
    columns = max(len(panel.charts) for panel in panels)
    with drawing(_WIDTH, _HEIGHT * len(panels)) as figure:
        grid = figure.subplots(len(panels), columns, squeeze=False)
        for axes, panel in zip(grid, panels, strict=True):
            places = range(len(panel.labels))
            for column, (axis, bars) in enumerate(zip(axes, panel.charts, strict=True)):
                drawn = axis.barh(places, bars.values, color=_COLOURS[: len(panel.labels)])
                axis.bar_label(drawn, labels=[_short(value) for value in bars.values], padding=3)
                axis.set_xlim(0, _ROOM * max(bars.values) or 1)
                axis.set_yticks(places, panel.labels if column == 0 else [""] * len(panel.labels))
                axis.invert_yaxis()
                axis.set_title(f"{panel.title}: {bars.title}" if column == 0 else bars.title, fontsize=9)
        return save(figure, file)


def _short(value: float) -> str:
    return number(value) if value >= 0.01 else f"{value:.3f}"
