"""The shapes that `experiments.scaling` measures: who talks with whom, and what one operation is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.stopwatch import Domains

ENDLESS = 100
"""So many times a full measurement is more than a run lasts."""
_MOST_INSTRUCTIONS = 42_000_000_000
_MEMORY = "8MiB"
_CROWD = "first=${{{name}-0.domid}} count=${{self.count}} index=${{self.index}}"


@dataclass(frozen=True)
class Shape:
    """Who talks with whom.  Functions are of the number of domains."""

    name: str
    what: str
    operation: str
    """What the guests' marks count, in the plural."""
    programs: tuple[str, ...]
    amount: int
    """Operations of all domains together in a full measurement: some seconds on the machine where they were chosen."""
    describe: Callable[[int, int], Domains]
    """From the number of domains and the operations of all together, the configuration's `domains`."""
    peers: Callable[[int], list[int]]
    """The domids of those that do the same, whom fairness is about."""
    groups: Callable[[int], int]
    """How many groups of domains share nothing with each other: so many can run at once."""
    least: int = 2
    even: bool = False
    messages: int | None = 1
    """Events between domains for one operation."""
    operations_per_round_trip: Callable[[int], float] | None = lambda count: 1
    hand_overs: int | None = None
    """How often the processor goes from one domain to another for an operation; None where that varies."""

    @property
    def unit(self) -> str:
        """Of the throughput."""
        return f"{self.operation}/s"

    def possible(self, count: int) -> bool:
        """Whether it can be made of `count` domains."""
        return count >= self.least and not (self.even and count % 2)


def _compute(count: int, amount: int) -> Domains:
    instructions = min(_share(amount, count, 10), _MOST_INSTRUCTIONS)
    return {"compute": _replicas("compute", count, f"instructions={instructions}")}


def _pairs(count: int, amount: int) -> Domains:
    pairs = count // 2
    rounds = _share(amount, pairs)
    return {"ping": _replicas("pingpong", pairs, f"role=ping peer=${{pong.domid}} rounds={rounds} mode=block"),
            "pong": _replicas("pingpong", pairs, "role=pong peer=${ping.domid} mode=block")}


def _star(count: int, amount: int) -> Domains:
    requests = _share(amount, count - 1)
    return {
        "backend": {"kernel": "star", "memory": _MEMORY,
                    "cmdline": "role=backend first=${client-0.domid} count=${client.count}"},
        "client": _replicas("star", count - 1, f"role=client peer=${{backend.domid}} requests={requests}")}


def _ring(count: int, amount: int) -> Domains:
    return {"ring": _replicas("ring", count, f"{_CROWD.format(name='ring')} laps={_share(amount, count)}")}


def _broadcast(count: int, amount: int) -> Domains:
    rounds = _share(amount, count * (count - 1))
    return {"broadcast": _replicas("broadcast", count, f"{_CROWD.format(name='broadcast')} rounds={rounds}")}


def _replicas(kernel: str, count: int, cmdline: str) -> Mapping[str, Any]:
    return {"kernel": kernel, "count": count, "memory": _MEMORY, "cmdline": cmdline}


def _share(amount: int, parts: int, least: int = 1) -> int:
    return max(least, amount // parts)


def _everybody(count: int) -> list[int]:
    return list(range(1, count + 1))


SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in (
    Shape("compute", "independent domains compute", "instructions", ("compute",), 4_000_000_000, _compute, _everybody,
          groups=lambda count: count, least=1, messages=None, operations_per_round_trip=None),
    Shape("pairs", "independent pairs play ping-pong", "round trips", ("pingpong",), 80_000, _pairs, _everybody,
          groups=lambda count: count // 2, even=True, messages=2, hand_overs=2),
    Shape("star", "one backend answers all others", "round trips", ("star",), 80_000, _star,
          lambda count: list(range(2, count + 1)), groups=lambda count: 1, messages=2),
    Shape("ring", "a number goes round a ring", "hops", ("ring",), 120_000, _ring, _everybody,
          groups=lambda count: 1, operations_per_round_trip=lambda count: count, hand_overs=1),
    Shape("broadcast", "everybody tells everybody", "deliveries", ("broadcast",), 800_000, _broadcast, _everybody,
          groups=lambda count: 1, operations_per_round_trip=lambda count: 2),
)}
"""By name, in the order of reports."""
