"""Models of what `experiments.scaling` measures, and what they say of sizes that were not run.

Throughput follows the universal scalability law, in the form that is linear in its coefficients.  With p processors at
work, the processor time of an operation is

    p / throughput  =  a  +  b * domains  +  c * (p - 1)  +  d * p * (p - 1)

a is the operation itself, b what each domain of the host adds to it (longer tables), c what processors wait for one
another, d what they do to bring each other up to date.  c / a is the law's contention, d / a its coherency.  A shape
that is one group has one processor at work (p = 1), however many there are.  Other quantities are `a + b * domains`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.regression import Estimate, Fit, fit
from experiments.scaling_shapes import SHAPES

BASE, PER_DOMAIN, CONTENTION, COHERENCY, ACROSS = "a", "b", "c", "d", "e"
MEANINGS = {
    BASE: "an operation by itself", PER_DOMAIN: "more for each domain of the host",
    CONTENTION: "more for each further processor (contention)",
    COHERENCY: "more for each pair of processors (coherency)", ACROSS: "more where a group lies on several nodes",
}


@dataclass(frozen=True)
class Place:
    """How large a run is."""

    domains: int
    nodes: int = 1
    cores: int = 1
    """Of each node, that may run domains: pcpus, or all."""
    domains_per_actor: int = 1


def at_work(shape: str, runtime: str, place: Place) -> int:
    """Processors that the shape can keep at work: p."""
    if runtime == "local":
        return 1
    actors = -(-place.domains // place.domains_per_actor)
    return min(SHAPES[shape].groups(place.domains), place.nodes * place.cores, actors)


def ideal(shape: str, runtime: str, place: Place, base: Place, throughput: float) -> float:
    """The throughput where domains and processors cost each other nothing, from that of `base`."""
    return throughput * at_work(shape, runtime, place) / at_work(shape, runtime, base)


@dataclass(frozen=True)
class Model:
    """A fitted model.  `row(place)` gives the columns of a place."""

    fit: Fit
    row: Callable[[Place], list[float]]
    inverse: Callable[[Place], float] | None = None
    """Where the model is of p / y: p of a place."""
    largest: int = 0
    """Domains of the largest measurement: beyond it, everything is extrapolated."""

    def predict(self, place: Place) -> Estimate | None:
        """y at `place`; None where the model cannot tell."""
        found = self.fit.predict(self.row(place))
        if self.inverse is None:
            return found
        p = self.inverse(place)
        # Where even no cost at all is possible, there is no highest throughput.
        high = p / found.low if found.low > 0 else float("inf")
        return Estimate(p / found.value, p / found.high, high) if found.value > 0 else None


Measurement = tuple[Place, float]


def throughput_model(shape: str, runtime: str, measured: Sequence[Measurement]) -> Model | None:
    """The scalability law; None where the measurements are too few.  Columns that nothing was varied for are left
    out, for their coefficients could be anything."""
    work = {place: at_work(shape, runtime, place) for place, _ in measured}
    one_group = SHAPES[shape].groups(1000) == 1
    across = {place.nodes > 1 for place in work}
    names = [BASE]
    if _different(place.domains for place in work) > 2:
        names.append(PER_DOMAIN)
    if _different(work.values()) > 1:
        names.append(CONTENTION)
    if _different(work.values()) > 2:
        names.append(COHERENCY)
    if one_group and len(across) == 2:
        names.append(ACROSS)

    def p(place: Place) -> float:
        return at_work(shape, runtime, place)

    def row(place: Place) -> list[float]:
        columns = {BASE: 1.0, PER_DOMAIN: place.domains, CONTENTION: p(place) - 1, COHERENCY: p(place) * (p(place) - 1),
                   ACROSS: float(place.nodes > 1)}
        return [columns[name] for name in names]

    found = fit(names, [row(place) for place, _ in measured], [p(place) / value for place, value in measured])
    return None if found is None else Model(found, row, p, _largest(measured))


def affine_model(measured: Sequence[Measurement]) -> Model | None:
    """y = a + b * domains; None where the measurements are too few."""
    if _different(place.domains for place, _ in measured) < 3:
        return None

    def row(place: Place) -> list[float]:
        return [1.0, place.domains]

    found = fit([BASE, PER_DOMAIN], [row(place) for place, _ in measured], [value for _, value in measured])
    return None if found is None else Model(found, row, None, _largest(measured))


def _different(values: Iterable[int]) -> int:
    return len(set(values))


def _largest(measured: Sequence[Measurement]) -> int:
    return max(place.domains for place, _ in measured)
