"""The scalability law finds back what it was made with, knows what it cannot know, and marks what was not run."""

import pytest

from experiments.scaling_analysis import Analysis, Kind
from experiments.scaling_model import Place, affine_model, at_work, ideal, throughput_model
from experiments.scaling_point import Measured, Point
from experiments.scaling_shapes import SHAPES
from experiments.scaling_store import Row

WOBBLE = (0.99, 1.0, 1.01)


def law(place: Place, a: float, b: float = 0, c: float = 0, d: float = 0, shape: str = "compute") -> float:
    """Throughput, in operations a second."""
    p = at_work(shape, "ray", place)
    return p / (a + b * place.domains + c * (p - 1) + d * p * (p - 1))


def measured(a: float, b: float = 0, c: float = 0, d: float = 0, *, cores: tuple[int, ...] = (4,)):
    places = [Place(size, 1, count) for count in cores for size in (1, 2, 4, 8, 16)]
    return [(place, law(place, a, b, c, d) * part) for place in places for part in WOBBLE]


def rows(shape: str, runtime: str = "ray", sizes=(2, 4, 8, 16), nodes=1, value=lambda size: 1000.0):
    return [Row(Point(shape, runtime, nodes, size, 1, 0, "speed", repeat, 1),
                Measured("throughput", value(size) * part, SHAPES[shape].unit))
            for size in sizes for repeat, part in enumerate(WOBBLE)]


def test_processors_at_work_are_bounded_by_everything() -> None:
    assert at_work("compute", "ray", Place(8, 1, 4)) == 4
    assert at_work("compute", "ray", Place(3, 1, 4)) == 3
    assert at_work("compute", "ray", Place(8, 3, 4)) == 8
    assert at_work("compute", "ray", Place(8, 1, 4, domains_per_actor=8)) == 1
    assert at_work("compute", "local", Place(8, 1, 4)) == 1
    assert at_work("pairs", "ray", Place(6, 1, 4)) == 3
    assert [at_work(shape, "ray", Place(64, 2, 4)) for shape in ("star", "ring", "broadcast")] == [1, 1, 1]


def test_ideal_is_as_many_times_as_there_are_processors_at_work() -> None:
    one = Place(1, 1, 4)
    assert [ideal("compute", "ray", Place(size, 1, 4), one, 10) for size in (1, 2, 4, 8)] == [10, 20, 40, 40]
    assert ideal("ring", "ray", Place(8, 1, 4), Place(2, 1, 4), 10) == 10


@pytest.mark.parametrize("truth", [(1e-3, 0, 0, 0), (1e-3, 1e-5, 2e-4, 0), (1e-3, 0, 1e-4, 5e-5)])
def test_the_law_finds_back_what_it_was_made_with(truth: tuple[float, ...]) -> None:
    model = throughput_model("compute", "ray", measured(*truth))
    assert model is not None
    assert model.fit.names == ("a", "b", "c", "d")
    for place in (Place(8, 1, 4), Place(64, 1, 4), Place(64, 2, 4)):
        found = model.predict(place)
        assert found is not None
        assert found.low <= law(place, *truth) <= found.high
        assert found.value == pytest.approx(law(place, *truth), rel=0.25)


def test_what_was_not_varied_has_no_coefficient() -> None:
    alone = [(Place(1, 1, 1), value) for value in (99.0, 100.0, 101.0)]
    model = throughput_model("compute", "ray", alone)
    assert model is not None
    assert model.fit.names == ("a",)
    two_cores = throughput_model("compute", "ray", measured(1e-3, cores=(2,)))
    assert two_cores is not None
    assert two_cores.fit.names == ("a", "b", "c")


def test_a_host_that_is_one_baton_gains_nothing_from_a_cluster() -> None:
    model = throughput_model("compute", "ray", [(Place(size, 1, 2), 1000.0 * part)
                                                for size in (1, 2, 4, 8) for part in WOBBLE])
    assert model is not None
    found = model.predict(Place(64, 8, 2))
    assert found is not None
    assert found.value == pytest.approx(1000, rel=0.1)


def test_other_costs_are_lines() -> None:
    model = affine_model([(Place(size), (5 + 2 * size) * part) for size in (1, 2, 4, 8) for part in WOBBLE])
    assert model is not None
    assert model.predict(Place(100)).value == pytest.approx(205, rel=0.05)  # type: ignore[union-attr]
    assert affine_model([(Place(size), 5.0) for size in (1, 2)]) is None


def test_a_single_group_is_extrapolated_across_nodes_only_where_it_was_measured() -> None:
    alone = Analysis(rows("ring"), 2)
    (curve,) = alone.curves("throughput")
    assert alone.predict(curve, 64) is not None
    assert alone.predict(curve, 64, 4) is None
    across = Analysis([*rows("ring"), *rows("ring", nodes=2, value=lambda size: 400.0)], 2)
    curve = across.curve("ring", Kind("ray"), "throughput")
    assert curve is not None
    found, here = across.predict(curve, 64, 4), across.predict(curve, 64)
    assert found is not None
    assert here is not None
    assert found.value == pytest.approx(400, rel=0.05)
    assert here.value == pytest.approx(1000, rel=0.05)


def test_kinds_of_runs_are_curves_of_their_own() -> None:
    analysis = Analysis([*rows("pairs"), *rows("pairs", "local", value=lambda size: 5000.0)], 2)
    assert [str(curve.kind) for curve in analysis.curves("throughput")] == ["one process", "Ray"]
    assert analysis.shapes == ["pairs"]
    (local, ray) = analysis.curves("throughput")
    assert local.summaries()[2].mean == pytest.approx(5000)
    assert ray.sizes == [2, 4, 8, 16]
    assert not analysis.works_in_parallel(local)
    assert analysis.works_in_parallel(ray)
