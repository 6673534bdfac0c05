"""From the rows of `experiments.scaling` to series with confidence, and to the models that are fitted to them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from experiments.confidence import Summary, summary
from experiments.regression import Estimate
from experiments.scaling_model import Measurement, Model, Place, affine_model, at_work, ideal, throughput_model
from experiments.scaling_shapes import SHAPES
from experiments.scaling_store import Row
from toolstack.runtime import RuntimeName

AFFINE = ("startup", "total_pss")
"""Metrics that are modelled as a + b * domains."""


class Kind(NamedTuple):
    """How domains were run; what is the same for all sizes of a curve."""

    runtime: RuntimeName
    nodes: int = 1
    domains_per_actor: int = 1
    pcpus: int = 0

    def __str__(self) -> str:
        words = ["one process" if self.runtime == "local" else "Ray"]
        words += [f"{self.nodes} nodes"] * (self.nodes > 1)
        words += [f"{self.domains_per_actor} domains an actor"] * (self.domains_per_actor > 1)
        words += [f"pcpus {self.pcpus}"] * (self.pcpus > 0)
        return ", ".join(words)


@dataclass(frozen=True)
class Curve:
    """A metric of a shape, by the number of domains."""

    shape: str
    kind: Kind
    metric: str
    unit: str
    values: dict[int, list[float]]

    @property
    def sizes(self) -> list[int]:
        """Numbers of domains that were measured."""
        return sorted(self.values)

    def summaries(self) -> dict[int, Summary]:
        """Means with their confidence."""
        return {size: summary(self.values[size]) for size in self.sizes}


class Analysis:
    """The rows of an experiment on nodes of `cores` processors."""

    def __init__(self, rows: Sequence[Row], cores: int) -> None:
        self._cores = cores
        found: dict[tuple[str, Kind, str], Curve] = {}
        for point, (metric, value, unit) in sorted(rows, key=lambda row: row.point.key):
            kind = Kind(point.runtime, point.nodes, point.domains_per_actor, point.pcpus)
            curve = found.setdefault((point.shape, kind, metric), Curve(point.shape, kind, metric, unit, {}))
            curve.values.setdefault(point.domains, []).append(value)
        self._curves = found
        self.shapes = [name for name in SHAPES if any(shape == name for shape, _, _ in found)]
        self.kinds = sorted({kind for _, kind, _ in found})
        self._throughput = {
            (shape, kind.runtime, kind.domains_per_actor): self._fit(shape, kind)
            for shape in self.shapes for kind in self.kinds}
        self._affine = {
            key: affine_model([(self.place(curve.kind, size), value)
                               for size, values in curve.values.items() for value in values])
            for key, curve in found.items() if curve.metric in AFFINE}

    def place(self, kind: Kind, domains: int, nodes: int | None = None) -> Place:
        """Where `domains` run that are run as `kind` says, on `nodes` instead if that is given."""
        return Place(domains, nodes or kind.nodes, kind.pcpus or self._cores, kind.domains_per_actor)

    def curve(self, shape: str, kind: Kind, metric: str) -> Curve | None:
        """What was measured; None where nothing was."""
        return self._curves.get((shape, kind, metric))

    def curves(self, metric: str) -> Iterator[Curve]:
        """Of all shapes and kinds, in the order of reports."""
        for shape in self.shapes:
            for kind in self.kinds:
                if (curve := self.curve(shape, kind, metric)) is not None:
                    yield curve

    def model(self, shape: str, kind: Kind, metric: str = "throughput") -> Model | None:
        """None where there is none, or where the measurements are too few for one."""
        if metric == "throughput":
            return self._throughput.get((shape, kind.runtime, kind.domains_per_actor))
        return self._affine.get((shape, kind, metric))

    def ideal(self, curve: Curve, place: Place) -> float:
        """What `place` would do if nothing cost anything, by the smallest size that was measured."""
        base = self.place(curve.kind, curve.sizes[0])
        return ideal(curve.shape, curve.kind.runtime, place, base, curve.summaries()[curve.sizes[0]].mean)

    def predict(self, curve: Curve, domains: int, nodes: int | None = None) -> Estimate | None:
        """What the model says of a size; None without a model, or where it cannot know: how a group that lies on
        several nodes does is only known where one was measured."""
        model = self.model(curve.shape, curve.kind, curve.metric)
        place = self.place(curve.kind, domains, nodes)
        if model is None or (place.nodes > 1 and curve.metric == "throughput" and not self._knows_nodes(curve)):
            return None
        return model.predict(place)

    def _knows_nodes(self, curve: Curve) -> bool:
        """Groups that share nothing are taken to lie on one node each."""
        return SHAPES[curve.shape].groups(1000) > 1 or any(
            kind.nodes > 1 and self.curve(curve.shape, kind, curve.metric) for kind in self.kinds)

    def works_in_parallel(self, curve: Curve) -> bool:
        """Whether more processors could help."""
        return at_work(curve.shape, curve.kind.runtime, self.place(curve.kind, 1000, 2)) > 1

    def _fit(self, shape: str, kind: Kind) -> Model | None:
        measured: list[Measurement] = []
        for other in self.kinds:
            if (other.runtime, other.domains_per_actor) == (kind.runtime, kind.domains_per_actor):
                curve = self.curve(shape, other, "throughput")
                for size, values in curve.values.items() if curve else ():
                    measured += [(self.place(other, size), value) for value in values]
        return throughput_model(shape, kind.runtime, measured) if measured else None
