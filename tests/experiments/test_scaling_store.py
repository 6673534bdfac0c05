"""An experiment's folder: what has finished stays, what is half a file is none, and nothing is mixed."""

import csv
from pathlib import Path
from typing import Any

import pytest

from experiments.scaling_point import Measured, Point, Wanted
from experiments.scaling_store import COLUMNS, Store, StoreError

POINT = Point("pairs", "local", 1, 4, 1, 0, "speed", 0, 1000)
OTHER = Point("ring", "ray", 2, 8, 4, 2, "memory", 1, 2000)
MEASURED = [Measured("throughput", 12.5, "round trips/s"), Measured("startup", 0.5, "s")]


def facts(**changes: Any) -> dict[str, Any]:
    return {"versions": {"domus": "abc", "python": "3"}, "machine": {"processors": 2}, "work": 1.0,
            "configuration": {"domains": [1, 2]}, "load": 0.1, **changes}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "out")
    store.begin(facts(), resume=False)
    return store


def test_the_table_has_a_row_for_each_number(store: Store) -> None:
    store.add(POINT, MEASURED)
    store.add(OTHER, [Measured("total_pss", 4096, "B")])
    store.write_table()
    with store.table.open() as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert [(row["shape"], row["domains"], row["metric"], row["value"], row["unit"]) for row in table] == [
        ("pairs", "4", "throughput", "12.5", "round trips/s"), ("pairs", "4", "startup", "0.5", "s"),
        ("ring", "8", "total_pss", "4096", "B")]
    assert [row["pcpus"] for row in table] == ["", "", "2"]
    assert {row["nodes"] for row in table} == {"1", "2"}


def test_what_has_finished_is_found_again(store: Store) -> None:
    store.add(POINT, MEASURED)
    (key, rows), = Store(store.folder).finished().items()
    assert key == POINT.key
    assert [row.measured for row in rows] == MEASURED
    assert rows[0].point == POINT


@pytest.mark.parametrize("text", ["", "{", '{"point": {"shape": "pairs"}, "measured": []}', "[]"])
def test_a_run_that_was_cut_short_has_not_finished(store: Store, text: str) -> None:
    store.add(POINT, MEASURED)
    (store.folder / "runs" / f"{OTHER.key}.json").write_text(text)
    assert list(store.finished()) == [POINT.key]


def test_an_experiment_is_not_begun_over_another(store: Store) -> None:
    with pytest.raises(StoreError, match="--resume goes on with it"):
        store.begin(facts(), resume=False)
    store.begin(facts(), resume=True)


def test_more_can_be_asked_for(store: Store) -> None:
    store.begin(facts(configuration={"domains": [1, 2, 4]}, load=0.9), resume=True)
    assert store.facts()["configuration"] == {"domains": [1, 2, 4]}
    assert store.facts()["load"] == 0.1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"work": 0.2}, r"\(work was 1.0, is 0.2\)"), ({"machine": {"processors": 64}}, "machine processors was 2, is 64"),
     ({"versions": {"domus": "def", "python": "3"}}, "versions domus was 'abc', is 'def'")],
)  # fmt: skip
def test_measurements_of_different_things_are_not_mixed(store: Store, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint):
        store.begin(facts(**changes), resume=True)


def test_where_there_is_no_experiment_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no experiment"):
        Store(tmp_path).facts()


def test_every_run_has_a_file_of_its_own() -> None:
    wanted = Wanted(["compute", "pairs", "star"], [1, 2, 3, 4], ["local", "ray"], [1, 2], [1, 8], [1, 2], 3, 0.5)
    points = wanted.points()
    assert len({point.key for point in points}) == len(points)
    assert {point.domains for point in points if point.shape == "pairs"} == {2, 4}
    assert {point.domains for point in points if point.shape == "star"} == {2, 3, 4}
    local = [point for point in points if point.runtime == "local"]
    assert {(point.nodes, point.domains_per_actor, point.pcpus) for point in local} == {(1, 1, 0)}
    assert len(local) == (4 + 2 + 3) * (3 + 1)
    assert len(points) == len(local) * 9  # eight kinds of places on Ray
    assert {point.repeat for point in points if point.purpose == "memory"} == {0}


def test_the_first_repeat_of_everything_comes_before_the_second_of_anything() -> None:
    points = Wanted(["compute", "ring"], [1, 2], ["local"], [1], [1], [0], 2, 1.0).points()
    assert [point.repeat for point in points] == sorted(point.repeat for point in points)
