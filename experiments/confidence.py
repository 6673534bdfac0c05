"""Means with confidence intervals, without scipy."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

LEVEL = 0.95


class Summary(NamedTuple):
    """The mean of `values` values, and the interval that has the true mean in it with probability LEVEL.

    Of a single value nothing is known: the interval is the value, and `values` says so.
    """

    mean: float
    low: float
    high: float
    values: int


def summary(values: Sequence[float]) -> Summary:
    """Student's interval, for independent values that scatter normally.  Raises ValueError without values."""
    count = len(values)
    if not count:
        raise ValueError("expected at least one value")
    mean = math.fsum(values) / count
    if count == 1:
        return Summary(mean, mean, mean, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = t_quantile(0.5 + LEVEL / 2, count - 1) * deviation / math.sqrt(count)
    return Summary(mean, mean - half, mean + half, count)


def t_probability(t: float, freedom: int) -> float:
    """How probable a value of at most `t` is in Student's distribution with `freedom` degrees.

    The sums are those of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    square = math.cos(angle) ** 2
    term, total = 1.0, 0.0
    if freedom % 2:
        term = math.cos(angle)
        for step in range(1, freedom - 1, 2):
            total += term
            term *= square * (step + 1) / (step + 2)
        return 0.5 + (angle + math.sin(angle) * total) / math.pi
    for step in range(0, freedom - 1, 2):
        total += term
        term *= square * (step + 1) / (step + 2)
    return 0.5 + math.sin(angle) * total / 2


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """The value that Student's distribution with `freedom` degrees does not exceed with `probability`."""
    if freedom < 1 or not 0 < probability < 1:
        raise ValueError("expected at least one degree of freedom, and a probability between 0 and 1")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return high
