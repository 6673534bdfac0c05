"""The figures of `experiments.scaling`: what was measured, what would be ideal, and what the models say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.drawing import drawing, save
from experiments.scaling_analysis import Analysis, Curve, Kind
from experiments.scaling_lines import BEYOND, COLOURS, NOT_RUN, finish, ideal, limit, line, measured, modelled, told
from experiments.scaling_shapes import SHAPES

_MARKS = "osD^v*"
_ASIDE = 0.03
"""Parts of x between shapes that would hide each other."""
_NODES = (1, 2, 4, 8, 16, 32)
_MIB = 1 << 20


@dataclass(frozen=True)
class Quantity:
    """How a metric is shown."""

    metric: str
    title: str
    scale: float = 1
    """What a value is divided by."""


COSTS = (Quantity("startup", "start-up (s)"), Quantity("total_pss", "memory of all processes, PSS (MiB)", _MIB),
         Quantity("actor_pss", "memory of an actor, PSS (MiB)", _MIB),
         Quantity("actor_own", "memory of an actor, its own (MiB)", _MIB))
TURNS = (Quantity("handover", "host time a hand-over (us)", 1e-6),
         Quantity("virtual_spread", "virtual time apart, at most (us)", 1e-6),
         Quantity("finish_spread", "first end to last end (% of the time)", 0.01))
LINK = (Quantity("bytes_per_handover", "bytes a hand-over"), Quantity("messages_per_handover", "messages a hand-over"))


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn, as SVG and PNG."""

    name: str
    files: list[Path]


def draw(analysis: Analysis, folder: Path) -> list[Drawn]:
    """Every figure that there is something for.  Raises NoPlotsError and OSError."""
    found = [Drawn("throughput", _throughput(analysis, folder / "throughput")),
             *(Drawn(name, _quantities(analysis, folder / name, quantities))
               for name, quantities in (("costs", COSTS), ("turns", TURNS), ("link", LINK))),
             Drawn("cluster", _cluster(analysis, folder / "cluster"))]
    return [drawn for drawn in found if drawn.files]


def _throughput(analysis: Analysis, file: Path) -> list[Path]:
    curves = list(analysis.curves("throughput"))
    if not curves:
        return []
    shapes = [shape for shape in analysis.shapes if any(curve.shape == shape for curve in curves)]
    columns = min(3, len(shapes) + 1)
    lines = -(-(len(shapes) + 1) // columns)
    with drawing(4.0 * columns, 3.1 * lines) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, shape in zip(axes, shapes, strict=False):
            mine = [curve for curve in curves if curve.shape == shape]
            for curve in mine:
                colour = COLOURS[analysis.kinds.index(curve.kind) % len(COLOURS)]
                measured(axis, curve, 1, colour)
                ideal(axis, analysis, curve, colour)
                modelled(axis, analysis, curve, 1, colour)
            axis.set_yscale("log")
            limit(axis, [value for curve in mine for value in (
                *told(analysis, curve), analysis.ideal(curve, analysis.place(curve.kind, curve.sizes[-1] * BEYOND)))])
            finish(axis, f"{shape}: {SHAPES[shape].what}", SHAPES[shape].unit, mine)
        _legend(axes[len(shapes)], analysis)
        for axis in axes[len(shapes) + 1:]:
            axis.set_axis_off()
        return save(figure, file)


def _quantities(analysis: Analysis, file: Path, quantities: Sequence[Quantity]) -> list[Path]:
    there = [(quantity, curves) for quantity in quantities if (curves := list(analysis.curves(quantity.metric)))]
    if not there:
        return []
    kinds = [kind for kind in analysis.kinds if any(curve.kind == kind for _, curves in there for curve in curves)]
    with drawing(3.7 * len(there), 3.1 * len(kinds) + 0.4) as figure:
        grid = figure.subplots(len(kinds), len(there), squeeze=False)
        for line, kind in zip(grid, kinds, strict=True):
            for axis, (quantity, curves) in zip(line, there, strict=True):
                _panel(axis, analysis, quantity, [curve for curve in curves if curve.kind == kind], kind)
        handles = {label: handle for axis in grid.ravel()
                   for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        shapes = [shape for shape in analysis.shapes if shape in handles]
        figure.legend([handles[shape] for shape in shapes], shapes, loc="outside lower center", ncols=len(shapes),
                      frameon=False)
        return save(figure, file)


def _panel(axis: Any, analysis: Analysis, quantity: Quantity, curves: Sequence[Curve], kind: Kind) -> None:
    for curve in curves:
        place = analysis.shapes.index(curve.shape)
        measured(axis, curve, quantity.scale, COLOURS[place], curve.shape, _MARKS[place], _ASIDE * (place - 2))
        modelled(axis, analysis, curve, quantity.scale, COLOURS[place])
    if not curves:
        axis.set_axis_off()
        return
    limit(axis, [value for curve in curves for value in told(analysis, curve)], quantity.scale)
    goes_on = any(analysis.model(curve.shape, kind, quantity.metric) for curve in curves)
    finish(axis, f"{quantity.title}\n{kind}", "", curves, goes_on=goes_on)


def _cluster(analysis: Analysis, file: Path) -> list[Path]:
    """Weak scaling: more nodes, and as many more domains."""
    curves = [curve for curve in analysis.curves("throughput") if curve.kind.nodes == 1
              and analysis.works_in_parallel(curve) and analysis.model(curve.shape, curve.kind) is not None]
    if not curves:
        return []
    with drawing(4.4 * len(curves), 3.6) as figure:
        for axis, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
            _weak_scaling(axis, analysis, curve)
        return save(figure, file)


def _weak_scaling(axis: Any, analysis: Analysis, curve: Curve) -> None:
    each = curve.sizes[-1]
    said = [(nodes, found) for nodes in _NODES if (found := analysis.predict(curve, each * nodes, nodes))]
    nodes = [count for count, _ in said]
    line(axis, nodes, [found for _, found in said], 1, COLOURS[0], "--")
    axis.plot(nodes, [analysis.ideal(curve, analysis.place(curve.kind, each * count, count)) for count in nodes], ":",
              color="0.4")
    for kind in analysis.kinds:
        ran = analysis.curve(curve.shape, kind, "throughput") if kind._replace(nodes=1) == curve.kind else None
        if ran is not None and each * kind.nodes in ran.values:
            axis.plot([kind.nodes], [ran.summaries()[each * kind.nodes].mean], "o", color=COLOURS[0])
    end = nodes[-1] * 1.3
    axis.axvspan(1.2, end, color="0.94", zorder=0)
    axis.text(0.97, 0.05, f"{NOT_RUN}, but for points", transform=axis.transAxes, ha="right", color="0.45",
              style="italic")
    axis.set(xscale="log", yscale="log", xlim=(0.8, end), xlabel="nodes", ylabel=SHAPES[curve.shape].unit)
    limit(axis, [found.value for _, found in said])
    axis.set_xticks(nodes, [str(count) for count in nodes])
    axis.minorticks_off()
    axis.set_title(f"{curve.shape}, {each} domains a node\n{curve.kind}", fontsize=9)


def _legend(axis: Any, analysis: Analysis) -> None:
    axis.set_axis_off()
    for number, kind in enumerate(analysis.kinds):
        axis.errorbar([], [], yerr=[], fmt="o", markersize=4, capsize=2.5, color=COLOURS[number % len(COLOURS)],
                      label=f"measured, {kind}\n(mean, 95% confidence)")
    axis.plot([], [], ":", color="0.3", label="ideal")
    axis.plot([], [], "-", color="0.3", label="model, where it was fitted")
    axis.plot([], [], "--", color="0.3", label="model, extrapolated")
    axis.fill_between([], [], [], color="0.3", alpha=0.15, label="95% of further runs, by the model")
    axis.legend(loc="center", frameon=False)
