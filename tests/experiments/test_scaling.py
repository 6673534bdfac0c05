"""`python -m experiments.scaling` measures, reports, and can be interrupted, killed and resumed."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import scaling, scaling_runner
from experiments.scaling_options import FULL, QUICK, configuration, parse, wanted
from experiments.scaling_point import Measured, Point
from experiments.scaling_store import Store
from experiments.startup import ROOT
from experiments.stopwatch import MeasurementError

pytest.importorskip("matplotlib")
SMALL = ["--quick", "--work", "0.01"]


def invented(point: Point, **_: object) -> list[Measured]:
    """What a run might give, without running it."""
    if point.purpose == "memory":
        return [Measured("total_pss", 5e7 + 1e6 * point.domains, "B")]
    return [Measured("throughput", 1000 + point.repeat, "hops/s"), Measured("startup", 0.5, "s")]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the runs that would be made, in order; none is."""
    made: list[str] = []

    def run(point: Point, **words: object) -> list[Measured]:
        made.append(point.key)
        return invented(point, **words)

    monkeypatch.setattr(scaling, "run_point", run)
    return made


def test_a_small_experiment_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = [*SMALL, "--shapes", "pairs,ring", "--domains", "2,4", "--repeats", "1", "--out", str(out)]
    assert scaling.main(words) == 0
    said = capsys.readouterr()
    assert "[8/8] ring, 4 domains, local, memory: " in said.err
    assert re.search(r"^pairs, one process: [0-9,]+ round trips/s with 2 domains, ", said.out, re.MULTILINE)
    with (out / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    for shape in ("pairs", "ring"):
        for domains in ("2", "4"):
            mine = {row["metric"]: float(row["value"]) for row in rows
                    if (row["shape"], row["domains"]) == (shape, domains)}
            assert mine.keys() >= {"throughput", "round_trips_per_s", "startup", "creation", "handover", "total_pss"}
            assert all(value > 0 for metric, value in mine.items() if "spread" not in metric)
            assert mine["startup"] < 60
            assert 1 << 20 < mine["total_pss"] < 1 << 30
    page = (out / "scaling.html").read_text()
    assert "Nothing in this table was run" in page
    assert page.count("data:image/svg+xml;base64,") == 3
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    facts = json.loads((out / "run.json").read_text())
    assert facts["versions"]["unicorn"]
    assert facts["machine"]["processors"] >= 1
    assert facts["configuration"]["domains"] == [2, 4]


def test_what_has_finished_is_not_measured_again(tmp_path: Path, runs: list[str]) -> None:
    words = [*SMALL, "--shapes", "ring", "--domains", "2,4,8", "--repeats", "2", "--out", str(tmp_path)]
    assert scaling.main(words) == 0
    assert len(runs) == 9
    lost = runs[4]
    (tmp_path / "runs" / f"{lost}.json").unlink()
    runs.clear()
    assert scaling.main(["--resume", "--out", str(tmp_path)]) == 0
    assert runs == [lost]
    runs.clear()
    assert scaling.main(["--resume", "--out", str(tmp_path), "--domains", "2,4,8,16"]) == 0
    assert {key.split("-")[3] for key in runs} == {"d16"}


def test_an_experiment_is_not_overwritten(tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--shapes", "ring", "--domains", "2", "--out", str(tmp_path)]
    assert scaling.main(words) == 0
    runs.clear()
    assert scaling.main(words) == 2
    assert runs == []
    assert "has an experiment already" in capsys.readouterr().err
    assert scaling.main(["--resume", "--work", "0.5", "--out", str(tmp_path)]) == 2
    assert "was measured with something else" in capsys.readouterr().err


def test_a_run_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(point: Point, **_: object) -> list[Measured]:
        if point.domains == 4 and point.purpose == "speed":
            raise MeasurementError("deadlock; the last line was: <b>oops</b>")
        return invented(point)

    monkeypatch.setattr(scaling, "run_point", run)
    words = [*SMALL, "--shapes", "ring", "--domains", "2,4", "--repeats", "1", "--out", str(tmp_path)]
    assert scaling.main(words) == 1
    assert "failed: deadlock" in capsys.readouterr().err
    page = (tmp_path / "scaling.html").read_text()
    assert "3 of 4 runs have finished" in page
    assert "&lt;b&gt;oops" in page
    monkeypatch.setattr(scaling, "run_point", invented)
    assert scaling.main(["--resume", "--out", str(tmp_path)]) == 0
    assert "runs have finished: this is a part" not in (tmp_path / "scaling.html").read_text()


def test_ctrl_c_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(point: Point, **_: object) -> list[Measured]:
        if point.domains == 4:
            raise KeyboardInterrupt
        return invented(point)

    monkeypatch.setattr(scaling, "run_point", run)
    words = [*SMALL, "--shapes", "ring", "--domains", "2,4", "--repeats", "1", "--out", str(tmp_path)]
    assert scaling.main(words) == 130
    assert "interrupted: --resume goes on" in capsys.readouterr().err
    assert len(Store(tmp_path).finished()) == 1
    assert "1 of 4 runs have finished" in (tmp_path / "scaling.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_can_be_ended_at_any_time_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    words = [sys.executable, "-m", "experiments.scaling", "--quick", "--shapes", "compute", "--domains", "1,2",
             "--repeats", "1", "--work", "0.02", "--out", str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _until(lambda: bool(list((tmp_path / "runs").glob("[!.]*.json"))))
        children = _until(lambda: _children(process.pid))
        process.send_signal(number)
        process.wait(30)
    assert process.returncode == (130 if number == signal.SIGTERM else -number)
    _until(lambda: not any(b"scaling_child" in _command(pid) for pid in children))
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").glob("[!.]*.json")}
    assert scaling.main(["--resume", "--out", str(tmp_path)]) == 0
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").glob("[!.]*.json")}
    assert len(after) == 4
    assert kept.items() <= after.items()


def _until(condition):
    limit = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if b"scaling_child" in _command(int(child))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_guest_that_gives_up_is_no_measurement() -> None:
    point = Point("ring", "local", 1, 1, 1, 0, "speed", 0, 100)
    with pytest.raises(MeasurementError, match=r"^finished, crash; "):
        scaling_runner.run_point(point, address=None, timeout=30)


@pytest.mark.ray
def test_actors_are_measured_on_one_node_and_on_two(tmp_path: Path) -> None:
    words = [*SMALL, "--shapes", "pairs", "--domains", "2", "--repeats", "1", "--runtime", "ray", "--nodes", "1,2",
             "--out", str(tmp_path)]
    assert scaling.main(words) == 0
    found = {(row.point.nodes, row.measured.metric): row.measured.value for row in Store(tmp_path).write_table()}
    for nodes in (1, 2):
        assert found[nodes, "throughput"] > 100
        assert 10 << 20 < found[nodes, "actor_own"] <= found[nodes, "actor_pss"] < 500 << 20


@pytest.mark.parametrize(
    "words", [["--domains", "0"], ["--domains", "one"], ["--shapes", "cube"], ["--runtime", "xen"], ["--work", "0"],
              ["--repeats", "0"], ["--timeout", "-1"], ["--shapes", "star...ring"], ["--nothing"]])  # fmt: skip
def test_mistakes_are_told_before_anything_is_measured(words: list[str], tmp_path: Path) -> None:
    assert scaling.main([*words, "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_sizes_that_no_shape_has_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main(["--shapes", "ring", "--domains", "1", "--out", str(tmp_path / "out")]) == 2
    assert "no shape can be made of so many domains" in capsys.readouterr().err
    assert scaling.main(["--report", "--out", str(tmp_path / "out")]) == 2
    assert "has no experiment" in capsys.readouterr().err


def test_options_that_are_not_given_are_the_experiments_own() -> None:
    assert configuration(parse([]), None) == {**FULL, "quick": False}
    assert configuration(parse(["--quick"]), None) == {**QUICK, "quick": True}
    first = configuration(parse(["--quick", "--domains", "4...40,3"]), None)
    assert first["domains"] == [3, 4, 8, 16, 32]
    again = configuration(parse(["--resume", "--repeats", "7"]), first)
    assert again == {**first, "repeats": 7}
    assert {point.domains for point in wanted(again).points()} == {3, 4, 8, 16, 32}
