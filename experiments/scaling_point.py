"""A run of `experiments.scaling`: what identifies it, and what is said of it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from experiments.scaling_shapes import SHAPES, Shape
from toolstack.runtime import RuntimeName

Purpose = Literal["speed", "memory"]
"""What is measured: looking at memory takes time, so it is a run of its own."""
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(frozen=True)
class Point:
    """One run, and its place among the others."""

    shape: str
    runtime: RuntimeName
    nodes: int
    domains: int
    domains_per_actor: int
    pcpus: int
    """How many domains a node may run at once; 0: as many as it has cores."""
    purpose: Purpose
    repeat: int
    amount: int
    """Operations of all domains together."""

    @property
    def key(self) -> str:
        """Its name among files: equal for equal points."""
        return (f"{self.shape}-{self.runtime}-n{self.nodes}-d{self.domains}-a{self.domains_per_actor}-p{self.pcpus}"
                f"-{self.purpose}-{self.repeat}")

    def __str__(self) -> str:
        words = [f"{self.shape}, {self.domains} domain{'s' if self.domains > 1 else ''}", self.runtime]
        if self.nodes > 1:
            words.append(f"{self.nodes} nodes")
        if self.domains_per_actor > 1:
            words.append(f"{self.domains_per_actor} an actor")
        if self.pcpus:
            words.append(f"pcpus {self.pcpus}")
        words.append("memory" if self.purpose == "memory" else f"repeat {self.repeat + 1}")
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `Point(**...)`."""
        return asdict(self)


class Measured(NamedTuple):
    """A number that a run gave.  What a run cannot tell has none."""

    metric: str
    value: float
    unit: str


@dataclass(frozen=True)
class Wanted:
    """What the user asks for."""

    shapes: Sequence[str]
    domains: Sequence[int]
    runtimes: Sequence[RuntimeName]
    nodes: Sequence[int]
    domains_per_actor: Sequence[int]
    pcpus: Sequence[int]
    repeats: int
    work: float
    """Of what the shapes call a full measurement."""

    def points(self) -> list[Point]:
        """All runs.  Each repeat goes through everything before the next begins, so that a machine that changes with
        time does not change the picture, and a part of the runs is a picture already.
        """
        return list(self._points())

    def _points(self) -> Iterator[Point]:
        rounds: list[tuple[Purpose, int]] = [("speed", 0), ("memory", 0)]
        rounds += [("speed", repeat) for repeat in range(1, self.repeats)]
        for purpose, repeat in rounds:
            for runtime in self.runtimes:
                for shape in map(SHAPES.__getitem__, self.shapes):
                    for domains in filter(shape.possible, self.domains):
                        for nodes, per_actor, pcpus in self._places(runtime):
                            yield Point(shape.name, runtime, nodes, domains, per_actor, pcpus, purpose, repeat,
                                        self._amount(shape, domains))

    def _places(self, runtime: RuntimeName) -> Iterator[tuple[int, int, int]]:
        """Nodes, domains an actor, and pcpus.  The local runtime is one process, so they mean nothing there."""
        if runtime == "local":
            yield 1, 1, 0
            return
        for nodes in self.nodes:
            for per_actor in self.domains_per_actor:
                for pcpus in self.pcpus:
                    yield nodes, per_actor, pcpus

    def _amount(self, shape: Shape, domains: int) -> int:
        return max(domains * domains, int(shape.amount * self.work))
