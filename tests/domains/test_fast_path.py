"""The native front does what the Python state machines do: every scenario has the same digest with it and without."""

import subprocess
import sys
from pathlib import Path

import pytest

from domains.fast_path import load_fast_path
from domains.host_code import HostCodeError, load
from domains.pvh_instructions import PvhInstructions
from toolstack import local
from toolstack.load import load as load_configuration
from toolstack.report import RunReport
from toolstack.runtime import RunOptions

REPOSITORY = Path(__file__).parents[2]
CONFIGURATIONS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.yaml"))
BENCHES = ["null", "multicall", "selfevent", "yield", "gnt1", "gnt32", "copy"]
PV_BENCHES = ["null", "multicall", "selfevent", "emulated", "bounce", "update-flush", "update-trap", "update-each",
              "update-batch", "update-multicall", "switch-trap", "switch-each", "switch-batch", "switch-multicall"]


class Silent:
    def console_line(self, name: str, text: str) -> None: ...
    def hypervisor_line(self, text: str) -> None: ...


def run(path: Path, front: bool, monkeypatch: pytest.MonkeyPatch) -> RunReport:
    monkeypatch.setenv("DOMUS_FAST_PATH", "1" if front else "0")
    plan = load_configuration(path).plan(clock="virtual", seed=None)
    return local.run(plan, RunOptions(timeout=60), Silent())


def facts(report: RunReport) -> dict[str, object]:
    """All that a run says, but for what the host's clock measured."""
    data = report.to_json()
    for domain in data["domains"].values():
        del domain["host_seconds"]
    del data["host_seconds"]
    return data


def test_the_front_is_there_on_this_host():
    assert load_fast_path() is not None


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_scenario_is_the_same_with_the_front_and_without(name, monkeypatch):
    with_front, without = (facts(run(REPOSITORY / "configs" / name, front, monkeypatch)) for front in (True, False))
    assert with_front == without


@pytest.mark.parametrize("test", BENCHES)
def test_a_benchmark_guest_is_the_same_with_the_front_and_without(test, monkeypatch, tmp_path):
    path = tmp_path / "bench.yaml"
    domain = f"{{kernel: bench/bench, memory: 16MiB, cmdline: 'test={test} count=50'}}"
    path.write_text(f"name: b\ndomains:\n  b: {domain}\n")
    with_front, without = (facts(run(path, front, monkeypatch)) for front in (True, False))
    assert with_front == without
    assert with_front["domains"]["b"]["exit"] == "poweroff"


@pytest.mark.parametrize("test", PV_BENCHES)
def test_a_paravirtual_benchmark_guest_is_the_same_with_the_front_and_without(test, monkeypatch, tmp_path):
    path = tmp_path / "bench.yaml"
    kernel = "bench/bench" if test in BENCHES else "bench/pv"
    domain = f"{{type: pv, kernel: {kernel}, memory: 16MiB, cmdline: 'test={test} count=50'}}"
    path.write_text(f"name: b\ndomains:\n  b: {domain}\n")
    with_front, without = (facts(run(path, front, monkeypatch)) for front in (True, False))
    assert with_front == without
    assert with_front["domains"]["b"]["exit"] == "poweroff"


def test_the_processor_selftest_is_the_same_with_the_front_and_without(monkeypatch, tmp_path):
    path = tmp_path / "selftest.yaml"
    path.write_text("name: s\ndomains:\n  s: {kernel: abuse/selftest, memory: 16MiB}\n")
    with_front, without = (facts(run(path, front, monkeypatch)) for front in (True, False))
    assert with_front == without


@pytest.mark.parametrize("paging", range(5), ids=["none", "4 MiB", "PAE 2 MiB", "4 KiB", "PAE 4 KiB"])
def test_who_reads_the_tsc_in_32_bit_mode_sees_the_same_with_the_front_and_without(paging, monkeypatch, tmp_path):
    kernel = tmp_path / "tsc32.elf"
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "x86-freestanding-none", "-nostdlib", "-static",
         f"-DPAGING={paging}", "-Wl,--image-base=0x100000", Path(__file__).with_name("tsc32.S"), "-o", kernel],
        check=True)
    path = tmp_path / "tsc.yaml"
    path.write_text("name: t\ndomains:\n  t: {kernel: ./tsc32.elf, memory: 16MiB}\n")
    slow = PvhInstructions.rdtsc
    calls: list[int] = []
    monkeypatch.setattr(PvhInstructions, "rdtsc", lambda self: (calls.append(1), slow(self)))
    with_front = facts(run(path, True, monkeypatch))
    assert len(calls) == 100  # those with a prefix
    assert facts(run(path, False, monkeypatch)) == with_front
    assert len(calls) == 400
    assert with_front["domains"]["t"]["exit"] == "poweroff"


def test_many_pairs_are_the_same_with_the_front_and_without(monkeypatch, tmp_path):
    path = tmp_path / "pairs.yaml"
    path.write_text("""\
name: pairs
domains:
  ping: {kernel: pingpong, memory: 16MiB, count: 6, cmdline: "role=ping peer=${pong.domid} mode=block rounds=40"}
  pong: {kernel: pingpong, memory: 16MiB, count: 6, cmdline: "role=pong peer=${ping.domid} mode=poll rounds=40"}
""")
    with_front, without = (facts(run(path, front, monkeypatch)) for front in (True, False))
    assert with_front == without
    assert with_front["outcome"] == "finished"


def test_a_source_that_does_not_compile_is_one_line(tmp_path):
    source = tmp_path / "broken.c"
    source.write_text("int f(void) { return }")
    with pytest.raises(HostCodeError, match=r"broken\.c: .*error") as raised:
        load(source)
    assert "\n" not in str(raised.value)
