"""The ways to do the same work differ in how often the guest leaves for Xen; both width's guests do all of it."""

import sys
from pathlib import Path

import pytest

from experiments import cost_plot, hypercall_cost
from experiments.exit_count import cost_of, exit_name
from experiments.pv_figures import bench_domain
from experiments.stopwatch import MeasurementError

FEW = 20
SWITCHES = {"trap": {"#GP": 3, "SYSCALL": 1}, "each": {"SYSCALL": 4}, "batch": {"SYSCALL": 3},
            "multicall": {"SYSCALL": 1}}


def exits(test: str, count: int = FEW, bits: int = 64, words: str = "") -> dict[str, int]:
    return dict(cost_of({"bench": bench_domain(test, count, bits=bits, words=words)}).exits)


def test_an_emulated_write_to_a_page_table_traps_and_is_stepped_over() -> None:
    assert exits("update-trap") == {"#PF": FEW, "#DB": FEW}
    assert exits("update-trap", bits=32) == {"#PF": 2 * FEW, "#DB": 2 * FEW}  # two halves


@pytest.mark.parametrize(("bits", "way_in"), [(64, "SYSCALL"), (32, "INT 0x82")])
def test_batches_need_fewer_hypercalls(bits: int, way_in: str) -> None:
    assert exits("update-each", bits=bits) == {way_in: FEW}
    assert exits("update-batch", bits=bits, words="batch=8") == {way_in: 3}
    assert exits("update-multicall", bits=bits, words="batch=8") == {way_in: 3}


@pytest.mark.parametrize(("way", "each"), SWITCHES.items())
def test_a_context_switch_can_be_a_single_hypercall(way: str, each: dict[str, int]) -> None:
    assert exits(f"switch-{way}") == {name: count * FEW for name, count in each.items()}


def test_a_page_fault_comes_back_by_a_hypercall() -> None:
    assert exits("bounce") == {"#PF": FEW, "SYSCALL": FEW}
    assert exits("emulated") == {"#GP": FEW}


def test_the_count_is_the_same_each_time() -> None:
    domains = {"bench": bench_domain("update-each", FEW)}
    first = cost_of(domains)
    assert first == cost_of(domains)
    assert first.exits_per_operation == 1
    assert 50 < first.work_per_operation < 500


def test_a_guest_that_crashes_is_no_measurement() -> None:
    with pytest.raises(MeasurementError, match="there is no test 'nothing'"):
        cost_of({"bench": bench_domain("nothing", FEW)})


def test_exits_have_names() -> None:
    assert [exit_name(number) for number in (0x82, 0x14E, 0x172, 0x1FF)] == ["INT 0x82", "#PF", "CPUID", "exit 0xff"]


def test_all_ways_are_shown_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    plots = tmp_path / "folder" / "costs"
    assert hypercall_cost.main(["--count", str(FEW), "--runs", "1", "--batch", "10", "--output", str(plots)]) == 0
    out = capsys.readouterr().out
    assert f"{FEW} page-table updates of a 64-bit paravirtual guest, each update:" in out
    assert [line.split("  ")[0] for line in out.splitlines() if " us " in line] == [
        "trap and emulate", "update_va_mapping each", "mmu_update, batches of 10", "multicalls of 10",
        "trap and emulate", "one hypercall each", "page tables in one mmuext_op", "one multicall"]
    assert plots.with_suffix(".svg").read_text().lstrip().startswith("<?xml")
    assert plots.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_32_bit_guest_makes_updates_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--count", str(FEW), "--runs", "1", "--bits", "32", "--output", str(tmp_path / "costs")]
    assert hypercall_cost.main(words) == 0
    out = capsys.readouterr().out
    assert "of a 32-bit paravirtual guest" in out
    assert "context switches" not in out


def test_without_matplotlib_there_is_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    panel = cost_plot.Panel("work", ["one", "two"], [cost_plot.Bars("time", [1, 2])])
    with pytest.raises(cost_plot.NoPlotsError, match=r"pip install 'domus\[experiments\]'"):
        cost_plot.plot([panel], tmp_path / "costs")
    words = ["--count", "5", "--runs", "1", "--bits", "32", "--output", str(tmp_path / "costs")]
    assert hypercall_cost.main(words) == 0
    assert capsys.readouterr().out.endswith("(pip install 'domus[experiments]')\n")


def test_equal_plots_are_equal_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bars = [cost_plot.Bars("time", [1, 2]), cost_plot.Bars("exits", [0, 0.001])]
    panel = cost_plot.Panel("work", ["one", "two"], bars)
    first, again = (cost_plot.plot([panel], tmp_path / name)[0].read_text() for name in ("a", "b"))
    assert first == again


@pytest.mark.parametrize("words", [["--count", "0"], ["--batch", "513"], ["--bits", "16"]])
def test_mistakes_are_told_before_anything_is_measured(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        hypercall_cost.main(words)
