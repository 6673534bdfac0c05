"""Fits find what made the numbers, and say how sure they are."""

import random

import pytest

from experiments.regression import fit


def noisy(rows: list[list[float]], truth: tuple[float, ...], seed: int, part: float = 0.02) -> list[float]:
    numbers = random.Random(seed)
    return [sum(a * b for a, b in zip(truth, row, strict=True)) * numbers.gauss(1, part) for row in rows]


ROWS = [[1.0, float(size)] for size in (1, 2, 4, 8, 16) for _ in range(3)]


def test_numbers_without_noise_give_their_coefficients() -> None:
    found = fit(["a", "b"], ROWS, noisy(ROWS, (3.0, 0.5), 0, 0))
    assert found is not None
    assert found.values == pytest.approx((3, 0.5))
    assert found.scatter == pytest.approx(0, abs=1e-9)
    assert found.predict([1.0, 100.0]).value == pytest.approx(53)


def test_intervals_hold_what_they_promise() -> None:
    inside = further = 0
    for seed in range(500):
        found = fit(["a", "b"], ROWS, noisy(ROWS, (3.0, 0.5), seed))
        assert found is not None
        slope = found.coefficient("b")
        inside += slope.low <= 0.5 <= slope.high
        said = found.predict([1.0, 64.0])
        (run,) = noisy([[1.0, 64.0]], (3.0, 0.5), 10_000 + seed)
        further += said.low <= run <= said.high
    assert inside / 500 == pytest.approx(0.95, abs=0.03)
    assert further / 500 == pytest.approx(0.95, abs=0.03)


def test_no_coefficient_is_negative() -> None:
    found = fit(["a", "b"], ROWS, [10 / row[1] for row in ROWS])
    assert found is not None
    assert found.values[1] == 0
    assert found.coefficient("b") == (0, 0, 0)
    assert found.freedom == len(ROWS) - 1


def test_the_best_of_all_possible_fits_is_found() -> None:
    rows = [[1.0, float(a), float(b)] for a in range(4) for b in range(4)]
    found = fit(["a", "b", "c"], rows, [max(0.1, 2 + 3 * row[1] - 0.2 * row[2]) for row in rows])
    assert found is not None
    assert found.values[2] == 0
    assert found.values[1] == pytest.approx(3, rel=0.1)


def test_columns_that_are_the_same_are_not_told_apart() -> None:
    rows = [[1.0, 1.0, float(size)] for size in (1, 2, 4, 8)]
    found = fit(["a", "same", "b"], rows, [2.0 + row[2] for row in rows])
    assert found is not None
    assert sum(found.values[:2]) == pytest.approx(2)
    assert 0 in found.values[:2]


@pytest.mark.parametrize("y", [[], [1.0], [1.0, 2.0], [1.0, 2.0, -3.0, 4.0]])
def test_too_few_numbers_give_no_fit(y: list[float]) -> None:
    assert fit(["a", "b"], ROWS[:len(y)], y) is None
