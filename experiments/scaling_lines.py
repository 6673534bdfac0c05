"""What is drawn into a panel of `experiments.scaling_figures`."""

import math
from collections.abc import Sequence
from typing import Any

from experiments.scaling_analysis import Analysis, Curve
from experiments.scaling_shapes import SHAPES

COLOURS = ("#4c72b0", "#c44e52", "#55a868", "#dd8452", "#8172b3", "#64b5cd")
BEYOND = 4
"""So many times the largest size that was measured, curves go on."""
NOT_RUN = "extrapolated: not run"


def measured(axis: Any, curve: Curve, scale: float, colour: str, label: str = "", mark: str = "o",
             aside: float = 0) -> None:
    """Means, with their confidence; no interval for what was run once.  `aside` moves them, by a part of x."""
    found = curve.summaries()
    means = [each.mean / scale for each in found.values()]
    known = [each.values > 1 for each in found.values()]
    down = [(each.mean - max(0.0, each.low)) / scale if several else math.nan
            for each, several in zip(found.values(), known, strict=True)]
    up = [(each.high - each.mean) / scale if several else math.nan
          for each, several in zip(found.values(), known, strict=True)]
    axis.errorbar([size * (1 + aside) for size in found], means, yerr=[down, up], fmt=mark, markersize=4, capsize=2.5,
                  linewidth=1, color=colour, label=label or None)


def ideal(axis: Any, analysis: Analysis, curve: Curve, colour: str) -> None:
    """Dots where nothing costs anything."""
    sizes = _sizes(curve, BEYOND)
    axis.plot(sizes, [analysis.ideal(curve, analysis.place(curve.kind, size)) for size in sizes], ":", color=colour,
              linewidth=1)


def modelled(axis: Any, analysis: Analysis, curve: Curve, scale: float, colour: str) -> None:
    """A line where sizes were measured, dashes beyond."""
    if analysis.model(curve.shape, curve.kind, curve.metric) is None:
        return
    last = curve.sizes[-1]
    for style, sizes in (("-", _sizes(curve, 1)), ("--", [last, *filter(last.__lt__, _sizes(curve, BEYOND))])):
        said = [(size, found) for size in sizes if (found := analysis.predict(curve, size))]
        line(axis, [size for size, _ in said], [found for _, found in said], scale, colour, style)


def line(axis: Any, sizes: Sequence[int], said: Sequence[Any], scale: float, colour: str, style: str) -> None:
    """What a model says, with the band that further runs should be in."""
    low = [max(0, each.low) / scale for each in said]
    high = [min(each.high, 1e3 * each.value) / scale for each in said]
    axis.plot(sizes, [each.value / scale for each in said], style, color=colour, linewidth=1)
    axis.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)


def _sizes(curve: Curve, beyond: int) -> list[int]:
    """Possible numbers of domains, from the smallest that was measured to `beyond` times the largest."""
    first, last = curve.sizes[0], curve.sizes[-1] * beyond
    steps = {round(first * (last / first) ** (step / 40)) for step in range(41)}
    return sorted(filter(SHAPES[curve.shape].possible, steps | set(curve.sizes)))


def finish(axis: Any, title: str, unit: str, curves: Sequence[Curve], goes_on: bool = True) -> None:
    """Axes, ticks where sizes were measured, and grey where they were not (`goes_on`: a model does)."""
    sizes = sorted({size for curve in curves for size in curve.sizes})
    end = sizes[-1] * (BEYOND if goes_on else 1)
    axis.set_xscale("log")
    axis.set_xlim(sizes[0] / 1.2, end * 1.2)
    if goes_on:
        axis.axvspan(sizes[-1] * 1.1, end * 1.2, color="0.94", zorder=0)
        axis.text(0.98, 0.04, NOT_RUN, transform=axis.transAxes, ha="right", fontsize=7, color="0.45", style="italic")
        sizes = [*sizes, end]
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set_xlabel("domains")
    axis.set_ylabel(unit)
    axis.set_title(title, fontsize=9)


def limit(axis: Any, values: Sequence[float], scale: float = 1) -> None:
    """Have all of `values` in sight, and no more of bands that are wider than all of them."""
    least, most = min(values) / scale, max(values) / scale
    if axis.get_yscale() == "log":
        from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

        axis.set_ylim(least / 3, most * 3)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.set_ylim(0, most * 1.25 or 1)


def told(analysis: Analysis, curve: Curve, beyond: int = BEYOND) -> list[float]:
    """What was measured, and what the model says up to `beyond` times the largest size."""
    said = (analysis.predict(curve, size) for size in _sizes(curve, beyond))
    return [each.mean for each in curve.summaries().values()] + [each.value for each in said if each is not None]
