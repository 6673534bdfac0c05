"""The density experiment, with numbers that say nothing."""

import json
import os
from pathlib import Path

import pytest

from experiments import density
from experiments.density import Sample, plan_of, results
from experiments.footprint import own_memory
from experiments.stopwatch import MeasurementError


def test_the_hosts_are_what_the_figures_are_named_for() -> None:
    actors, packed = plan_of("actors"), plan_of("packed")
    assert (len(actors.domains), len(actors.actors)) == (200, 200)
    assert (len(packed.domains), [len(actor.domids) for actor in packed.actors]) == (1000, [50] * 20)
    half = len(packed.domains) // 2
    for actor in packed.actors:  # each pair in one
        pairs = [(domid - 1) % half for domid in actor.domids]
        assert set(pairs[:25]) == set(pairs[25:])
    assert {domain.memory for domain in (*actors.domains, *packed.domains)} == {8 << 20}


def test_fewer_domains_are_whole_pairs() -> None:
    assert len(plan_of("packed", 8).domains) == 8
    with pytest.raises(MeasurementError, match="multiple of 2"):
        plan_of("packed", 3)


def test_targets_count_for_the_whole_number_only() -> None:
    plan = plan_of("actors", 4)
    targets = {result.figure.name: result.figure.target for result in results("actors", plan, Sample(1, 2, 3), True)}
    assert targets == {"actors_start": None, "actors_run": None, "actors_own": 55.0}
    assert all(result.figure.target is None for result in results("actors", plan, Sample(1, 2, 3), False))


def test_memory_of_its_own_is_what_a_process_wrote() -> None:
    before = own_memory(os.getpid())
    block = bytearray(os.urandom(1)) * (32 << 20)
    assert 30 << 20 < own_memory(os.getpid()) - before < 40 << 20
    assert block


@pytest.mark.ray
def test_it_measures_a_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert density.main(["--domains", "4", "packed", "--json", str(file)]) == 0
    figures = {figure["name"]: figure["value"] for figure in json.loads(file.read_text())["figures"]}
    assert set(figures) == {"packed_start", "packed_run", "packed_own"}
    assert all(value > 0 for value in figures.values())
    assert "4 domains in 1 actors" in capsys.readouterr().out


def test_a_name_that_is_unknown_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        density.main(["many"])
    assert end.value.code == 2
    assert "expected actors or packed" in capsys.readouterr().err
