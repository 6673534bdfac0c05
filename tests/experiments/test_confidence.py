"""Student's intervals, as tables have them."""

import random

import pytest

from experiments.confidence import summary, t_probability, t_quantile


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (29, 2.045), (120, 1.980)],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(freedom: int, value: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(value, abs=5e-4)
    assert t_quantile(0.025, freedom) == -t_quantile(0.975, freedom)
    assert t_probability(t_quantile(0.9, freedom), freedom) == pytest.approx(0.9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.9, 0), (0.0, 3), (1.0, 3)])
def test_what_has_no_quantile_is_refused(probability: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        t_quantile(probability, freedom)


def test_the_interval_is_the_textbook_s() -> None:
    found = summary([10.0, 12.0, 14.0])
    half = 4.302653 * 2 / 3**0.5
    assert (found.mean, found.values) == (12, 3)
    assert (found.low, found.high) == pytest.approx((12 - half, 12 + half), rel=1e-6)


def test_of_one_value_nothing_more_is_known() -> None:
    assert summary([7.0]) == (7, 7, 7, 1)
    with pytest.raises(ValueError, match="at least one"):
        summary([])


def test_the_true_mean_is_inside_as_often_as_promised() -> None:
    numbers = random.Random(1)
    inside = 0
    for _ in range(2000):
        found = summary([numbers.gauss(50, 5) for _ in range(4)])
        inside += found.low <= 50 <= found.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)
