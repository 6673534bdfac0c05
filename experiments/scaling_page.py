"""The page of `experiments.scaling`: figures, tables, models, what they say of sizes that were not run, and of what."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import html
from experiments.confidence import Summary
from experiments.regression import Estimate
from experiments.results import number
from experiments.scaling_analysis import Analysis, Curve
from experiments.scaling_figures import COSTS, LINK, TURNS, Drawn, Quantity
from experiments.scaling_model import BASE, MEANINGS
from experiments.scaling_shapes import SHAPES

TITLE = "Domus: how it scales"
_ROUND_TRIPS = Quantity("round_trips_per_s", "round trips/s")
_SIZES = (64, 256, 1000)
_NODES = (2, 8, 32)
_CAPTIONS = {
    "throughput": "Throughput by the number of domains. Points are means with their 95% confidence; dots what would be "
                  "ideal; lines the model. Grey: extrapolated, no host of this size was run.",
    "costs": "What domains cost. Lines: a + b * domains, dashed where extrapolated. PSS shares memory among those who "
             "have it; an actor's own is what comes back when it ends.",
    "turns": "Hand-overs and fairness. Virtual time apart: the most that was seen, at any look, between the domain "
             "that had run most and the one that had run least of those that do the same.",
    "link": "What goes over the link between nodes for a hand-over.",
    "cluster": "Extrapolated to clusters: as many domains on each node, more nodes. Dashes, band: the model; a "
               "dotted line: ideal. No cluster of these sizes was run, but for those with a point.",
}


def write(file: Path, analysis: Analysis, drawn: Sequence[Drawn], facts: Mapping[str, Any], *, done: int,
          wanted: int, failed: Sequence[str], note: str = "") -> None:
    """Write the page.  Raises OSError."""
    parts: list[str] = []
    if done < wanted:
        parts.append(html.paragraph(f"{done} of {wanted} runs have finished: this is a part of the experiment.",
                                    warning=True))
    if failed:
        parts.append(html.paragraph(f"Could not be measured: {'; '.join(failed)}.", warning=True))
    if note:
        parts.append(html.paragraph(note, warning=True))
    if facts["load"] >= 0.5:
        parts.append(html.paragraph("Other programs ran when this began, so that figures are worse than they are.",
                                    warning=True))
    for section in (_shapes, _figures, _models, _extrapolation, _throughput, _others):
        parts += section(analysis, drawn)
    parts += _facts(facts)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(html.page(TITLE, parts))
    draft.replace(file)


def _shapes(analysis: Analysis, drawn: Sequence[Drawn]) -> Iterator[str]:
    yield html.paragraph("Hosts of more and more domains, in several shapes: how fast they work, what they cost, and "
                         "what a model that is fitted to that says of larger ones.")
    yield html.table(("shape", "what", "operations", "groups that share nothing, of 16 domains"),
                     [(shape.name, shape.what, shape.operation, str(shape.groups(16)))
                      for shape in map(SHAPES.__getitem__, analysis.shapes)])
    yield html.paragraph("Groups that share nothing can run at once, on as many processors as there are. Ideal is the "
                         "throughput of the smallest size that was measured, times the processors that can be at work "
                         "now for each that could then; so it is level for a shape that is one group, and for a host "
                         "that is one process.")


def _figures(analysis: Analysis, drawn: Sequence[Drawn]) -> Iterator[str]:
    yield html.heading("Figures")
    if not drawn:
        yield html.paragraph("There are none: matplotlib is not installed.", warning=True)
    for each in drawn:
        yield html.figure(each.files[0], _CAPTIONS[each.name])


def _throughput(analysis: Analysis, drawn: Sequence[Drawn]) -> Iterator[str]:
    yield html.heading("Throughput")
    rows = []
    for curve in analysis.curves("throughput"):
        for size, found in curve.summaries().items():
            share = found.mean / analysis.ideal(curve, analysis.place(curve.kind, size))
            rows.append((curve.shape, str(curve.kind), str(size), f"{number(found.mean)} {curve.unit}",
                         _interval(found, 1), str(found.values), f"{share:.0%}"))
    yield html.table(("shape", "run as", "domains", "mean", "95% confidence", "runs", "of the ideal"), rows,
                     numbers=(2, 3, 4, 5, 6))


def _others(analysis: Analysis, drawn: Sequence[Drawn]) -> Iterator[str]:
    yield html.heading("Round trips, costs, hand-overs, fairness")
    possible = (_ROUND_TRIPS, *COSTS, *TURNS, *LINK)
    quantities = [quantity for quantity in possible if any(analysis.curves(quantity.metric))]
    rows = []
    for shape in analysis.shapes:
        for kind in analysis.kinds:
            curves = [analysis.curve(shape, kind, quantity.metric) for quantity in quantities]
            for size in sorted({size for curve in curves if curve for size in curve.sizes}):
                rows.append((shape, str(kind), str(size), *(
                    _mean(curve, size, quantity.scale) for curve, quantity in zip(curves, quantities, strict=True))))
    headings = ("shape", "run as", "domains", *(quantity.title for quantity in quantities))
    yield html.table(headings, rows, numbers=range(2, len(headings)))
    yield html.paragraph("Means. A cell is empty where a run cannot tell: nothing is filled in.")
    if not any(any(analysis.curves(quantity.metric)) for quantity in LINK):
        yield html.paragraph("Bytes and messages between nodes: no run counted any.")


def _models(analysis: Analysis, drawn: Sequence[Drawn]) -> Iterator[str]:
    yield html.heading("Models")
    yield html.paragraph("Processor time of an operation = a + b * domains + c * (p - 1) + d * p * (p - 1), with p "
                         "processors at work: the universal scalability law, with a term for what domains that only "
                         "exist cost. Fitted by least squares of relative errors, no coefficient below 0. A "
                         "coefficient is not there where nothing was varied that would tell it.")
    rows = []
    for curve in analysis.curves("throughput"):
        model = analysis.model(curve.shape, curve.kind)
        if curve.kind.nodes > 1 and any(
                kind.nodes == 1 and analysis.curve(curve.shape, kind, "throughput") for kind in analysis.kinds):
            continue  # the same model as on one node
        if model is None:
            rows.append((curve.shape, str(curve.kind), "none", "", "", "too few runs", ""))
            continue
        for name in model.fit.names:
            found = model.fit.coefficient(name)
            rows.append((curve.shape, str(curve.kind), name, _seconds(found.value),
                         f"{_seconds(found.low)} to {_seconds(found.high)}" if found.value else "would be below 0",
                         MEANINGS[name],
                         f"{model.fit.scatter:.1%}" if name == BASE else ""))
    yield html.table(("shape", "run as", "", "value", "95% confidence", "is", "scatter of runs"), rows,
                     numbers=(3, 4, 6))


def _extrapolation(analysis: Analysis, drawn: Sequence[Drawn]) -> Iterator[str]:
    yield html.heading("Extrapolated to sizes that were not run")
    yield html.paragraph("Nothing in this table was run. It is what the models above say of larger hosts and clusters, "
                         "with the interval in which 95% of runs would lie if the models held there. They need not: "
                         "memory can run out, and what a processor costs the others is only known for as many as were "
                         "used. Nodes count as more processors: groups that share nothing are taken to lie on one node "
                         "each. Shapes that are one group are extrapolated across nodes only where some were measured.",
                         warning=True)
    rows = []
    for curve in analysis.curves("throughput"):
        if analysis.model(curve.shape, curve.kind) is None:
            continue
        for size in _SIZES:
            for nodes in (curve.kind.nodes, *(_NODES if analysis.works_in_parallel(curve) else ())):
                found = analysis.predict(curve, size, nodes)
                if found is not None and (size not in curve.values or nodes != curve.kind.nodes):
                    rows.append((curve.shape, str(curve.kind), str(size), str(nodes),
                                 f"{number(found.value)} {curve.unit}", _interval(found, 1)))
    for quantity in COSTS:
        for curve in analysis.curves(quantity.metric):
            for size in _SIZES:
                found = analysis.predict(curve, size)
                if found is not None and size not in curve.values:
                    rows.append((f"{curve.shape}: {quantity.title}", str(curve.kind), str(size), str(curve.kind.nodes),
                                 number(found.value / quantity.scale), _interval(found, quantity.scale)))
    yield html.table(("shape", "run as", "domains", "nodes", "extrapolated", "95% of runs"), rows,
                     numbers=(2, 3, 4, 5), extrapolated=True)


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    yield html.heading("What it was measured with")
    rows = [(part, key, _plain(value)) for part in ("versions", "machine", "configuration")
            for key, value in facts[part].items()]
    yield html.table(("", "", ""), rows)
    yield html.paragraph("Every run was a process of its own, on the virtual clock. Start-up is from the start of that "
                         "process to the first line of the last domain. Throughput is between the guests' marks, from "
                         "the first start to the last end. scaling.csv beside this page has every number.")


def _mean(curve: Curve | None, size: int, scale: float) -> str:
    if curve is None or size not in curve.values:
        return ""
    return number(curve.summaries()[size].mean / scale)


def _interval(found: Summary | Estimate, scale: float) -> str:
    if isinstance(found, Summary) and found.values == 1:
        return "one run"
    high = "without limit" if found.high == float("inf") else number(found.high / scale)
    return f"{number(max(0.0, found.low) / scale)} to {high}"


def _seconds(value: float) -> str:
    """In the unit that suits it, three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns" if value else "0"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
