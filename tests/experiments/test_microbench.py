"""Each experiment measures something, with counts far too small for a figure that means anything."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments import boots, footprint, microbench
from experiments.figures import MICROSECONDS, PER_SECOND, Amount, Experiment, Figure
from experiments.microbench import EXPERIMENTS
from experiments.startup import seconds_to_first_lines
from experiments.stopwatch import Absent, MeasurementError

FEW = 20
SLOW = ("start", "memory", "grub", "linux")
BY_NAME = {experiment.name: experiment for experiment in EXPERIMENTS}
GUESTS = [name for name in BY_NAME if not name.startswith(SLOW)]
LOCAL = [name for name in GUESTS if not name.endswith("-ray")]


def test_names_are_told_apart() -> None:
    assert len(BY_NAME) == len(EXPERIMENTS)
    figures = [figure.name for experiment in EXPERIMENTS for figure in experiment.figures]
    assert len(set(figures)) == len(figures)


@pytest.mark.parametrize("name", LOCAL)
def test_it_measures_in_one_process(name: str) -> None:
    (value,) = BY_NAME[name].measure(lambda count: FEW)
    assert value > 0


@pytest.mark.ray
def test_it_measures_two_actors() -> None:
    (value,) = BY_NAME["pingpong-block-ray"].measure(lambda count: FEW)
    assert value > 0


def test_the_start_of_two_guests_is_timed() -> None:
    assert 0 < seconds_to_first_lines("local") < 60


def test_the_memory_of_one_more_domain_is_found() -> None:
    assert 0 < footprint.of_one_more(1, 4) < 100 << 20


@pytest.mark.parametrize("name", ["grub-pv64", "grub-pv32"])
def test_the_way_to_a_prompt_is_timed(name: str) -> None:
    try:
        (value,) = BY_NAME[name].measure(lambda count: FEW)
    except Absent as error:
        pytest.skip(str(error))
    assert 0 < value < 60


@pytest.mark.ray
def test_the_memory_of_actors_is_found() -> None:
    memory = footprint.of_an_actor(2)
    assert 10 << 20 < memory.pss <= memory.rss < 1 << 30


def made(name: str, *values: float, unit: str = MICROSECONDS, target: float | None = None) -> Experiment:
    """An experiment that gives one value after the other; without values it fails."""
    rest = list(values)

    def measure(amount: Amount) -> Sequence[float]:
        if not rest:
            raise MeasurementError("the guest crashed")
        return [rest.pop(0)]

    return Experiment(name, (Figure(name, f"what {name} is", unit, target, 0.42),), measure)


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    few = [made("fast", 5.0, 1.0, 3.0, target=3), made("slow", 1, 2, 3, unit=PER_SECOND, target=20000), made("broken")]
    monkeypatch.setattr(microbench, "EXPERIMENTS", few)
    monkeypatch.setattr(microbench, "load", lambda: 0.0)
    return few


def test_what_is_not_on_this_machine_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(boots, "_LINUX", tmp_path / "vmlinuz")
    monkeypatch.setattr(boots, "ROOT", tmp_path)
    assert microbench.main(["linux-pv-host"]) == 0
    assert "skipped: no vmlinuz: run tests/scenarios/linux_pv/fetch.sh" in capsys.readouterr().err


@pytest.mark.usefixtures("experiments")
def test_the_median_of_three_runs_is_shown_beside_target_and_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert microbench.main(["fast", "slow"]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["fast", "3.00", "us", "3", "met", "0.42", "what", "fast", "is"],
        ["slow", "2.00", "/s", "20,000", "missed", "0.42", "what", "slow", "is"],
    ]
    assert err == "[1/2] fast  5.00  1.00  3.00 us\n[2/2] slow  1.00  2.00  3.00 /s\n"


@pytest.mark.usefixtures("experiments")
def test_the_rest_is_measured_where_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert microbench.main(["--quick", "--json", str(file)]) == 1
    assert "[3/3] broken  failed: the guest crashed\n" in capsys.readouterr().err
    facts = json.loads(file.read_text())
    assert [(figure["name"], figure["value"], figure["met"]) for figure in facts["figures"]] == [
        ("fast", 5.0, False), ("slow", 1, False)]
    assert facts["quick"]
    assert facts["machine"]["processors"] >= 1


@pytest.mark.usefixtures("experiments")
def test_a_busy_machine_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(microbench, "load", lambda: 2.0)
    file = tmp_path / "figures.json"
    assert microbench.main(["fast", "--quick", "--json", str(file)]) == 0
    assert "other programs are running" in capsys.readouterr().err
    assert json.loads(file.read_text())["busy"]


@pytest.mark.usefixtures("experiments")
def test_names_may_be_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    assert microbench.main(["--runs", "1", "f*t"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.usefixtures("experiments")
@pytest.mark.parametrize(("words", "message"), [(["nil"], "nothing is called 'nil'"), (["--runs", "0"], "at least 1")])
def test_a_mistake_is_told_before_anything_is_measured(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        microbench.main(words)
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("experiments")
def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert microbench.main(["fast", "--json", str(tmp_path / "none" / "x.json")]) == 1
    assert "cannot write" in capsys.readouterr().err
