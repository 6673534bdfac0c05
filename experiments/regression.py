"""Linear least squares with coefficients that may not be negative, for measurements that scatter in proportion."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy

from experiments.confidence import LEVEL, t_quantile

_SPARE = 2
_SINGULAR = 1e10
"""A condition number from which columns are the same but for rounding."""


class Estimate(NamedTuple):
    """A value and the interval that has the true one in it with probability LEVEL, if the model holds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """y = sum of coefficient * column, where y scatters by a constant part of itself.

    Coefficients that would be negative are 0, and their columns left out.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    scatter: float
    """The standard deviation of y, as a part of y."""
    freedom: int
    """Measurements minus coefficients that are not left out."""
    _kept: tuple[int, ...]
    _covariance: Any

    def coefficient(self, name: str) -> Estimate:
        """One of them, by its column's name.  One that was left out has no interval: it is 0 to 0."""
        index = self.names.index(name)
        if index not in self._kept:
            return Estimate(0.0, 0.0, 0.0)
        place = self._kept.index(index)
        half = self._t * float(numpy.sqrt(self._covariance[place, place]))
        return Estimate(self.values[index], self.values[index] - half, self.values[index] + half)

    def predict(self, row: Sequence[float]) -> Estimate:
        """y of a further measurement, with the interval for such a measurement itself and not only for its mean."""
        vector = numpy.array([row[index] for index in self._kept])
        value = float(sum(coefficient * part for coefficient, part in zip(self.values, row, strict=True)))
        variance = float(vector @ self._covariance @ vector) + (self.scatter * value) ** 2
        half = self._t * variance ** 0.5
        return Estimate(value, value - half, value + half)

    @property
    def _t(self) -> float:
        return t_quantile(0.5 + LEVEL / 2, self.freedom)


def fit(names: Sequence[str], rows: Sequence[Sequence[float]], y: Sequence[float]) -> Fit | None:
    """The best fit of positive `y`; None where there are too few measurements to tell how good it is: two more than
    coefficients, for with one more the interval is a dozen times what the only residual is."""
    columns, target = numpy.array(rows, float).reshape(len(y), len(names)), numpy.array(y, float)
    if len(y) <= 1 or not (target > 0).all():
        return None
    weighted = columns / target[:, None]  # residuals relative to y
    best: tuple[float, tuple[int, ...], Any] | None = None
    # The constrained minimum is the free minimum of some subset of the columns: they are few, so all are tried.
    for size in range(len(names), 0, -1):
        for kept in combinations(range(len(names)), size):
            part = weighted[:, kept]
            if len(y) < size + _SPARE or numpy.linalg.cond(part) > _SINGULAR:
                continue
            found, *_ = numpy.linalg.lstsq(part, numpy.ones(len(y)), rcond=None)
            error = float(numpy.square(1 - part @ found).sum())
            if (found >= 0).all() and (best is None or error < best[0]):
                best = error, kept, found
    if best is None:
        return None
    error, kept, found = best
    freedom = len(y) - len(kept)
    variance = error / freedom
    part = weighted[:, kept]
    values = dict(zip(kept, map(float, found), strict=True))
    return Fit(tuple(names), tuple(values.get(index, 0.0) for index in range(len(names))), variance ** 0.5, freedom,
               kept, variance * numpy.linalg.inv(part.T @ part))
