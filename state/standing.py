"""What a `state.replica.Replica` knows of turns: a few numbers, which may lie where other processes have them too."""

from collections.abc import Mapping
from typing import Protocol


class Standing(Protocol):
    """The numbers of one replica."""

    turn: int
    """The turn that the node has, or the last that it had."""
    holding: bool
    """Whether it has the baton."""
    latest: int
    """The turn of the latest change of ranges that it knows."""
    seen: Mapping[int, int]
    """By node, the latest turn that it had.  To be replaced as a whole."""


class OwnStanding:
    """`Standing` in this process alone."""

    def __init__(self, turn: int = 0, holding: bool = False) -> None:
        self.turn, self.holding, self.latest = turn, holding, 0
        self.seen: Mapping[int, int] = {}


def copy_standing(source: Standing, target: Standing) -> None:
    """Have the same numbers in `target`."""
    target.turn, target.latest, target.seen = source.turn, source.latest, dict(source.seen)
    target.holding = source.holding
