"""launch.py with a runtime that does what the test says: output, files and exit status."""

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
from toolstack_fakes import Act, FakePrograms, FakeRuntime

from toolstack.cli import Surroundings, main
from toolstack.errors import ConfigError, HostError, Problem
from toolstack.log import log
from toolstack.plan import HostPlan
from toolstack.report import Outcome
from toolstack.runtime import RunOptions, Sink

PAIR = """
domains:
  writer: {kernel: writer, cmdline: "peer=${reader.domid}"}
  reader: {kernel: reader}
expect:
  reader: {console: [all right]}
"""
CONSOLES = {"writer": ["hello"], "reader": ["all right", ""]}


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "pair.yaml"
    file.write_text(PAIR)
    return str(file)


def launch(runtime: FakeRuntime, *arguments: str) -> int:
    return main(list(arguments), Surroundings(lambda name: runtime, FakePrograms()))


def test_consoles_the_log_and_a_table_are_shown(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(FakeRuntime(consoles=CONSOLES), config, "--seed", "7") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "(XEN) Xen version 4.17",
        "writer | hello",
        "reader | all right",
        "reader |",
        "",
        "domain  domid  exit         virtual    work  hyper-  events    events  grants    host",
        "                               time           calls    sent  received  mapped    time",
        "-------------------------------------------------------------------------------------",
        "writer      1  poweroff  1.500000 s  12.3 M      42       3         4       5  0.25 s",
        "reader      2  poweroff  1.500000 s  12.3 M      42       3         4       5  0.25 s",
        "",
        "pair: finished (1.50 s, runtime fake, virtual clock, seed 7)",
        "digest " + "ab" * 32,
    ]


def test_quiet_leaves_the_table_and_what_went_wrong(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    details = {"writer": "page fault at 0x10\nrip 0x100000 <main>"}
    runtime = FakeRuntime(consoles=CONSOLES, exits={"writer": "crash"}, details=details)
    assert launch(runtime, config, "--quiet") == 1
    out = capsys.readouterr().out
    assert "hello" not in out
    assert "(XEN)" not in out
    assert "writer: page fault at 0x10\nwriter: rip 0x100000 <main>\n" in out
    assert "expect: writer: expected exit poweroff, got crash\n" in out


def test_a_crash_report_is_not_shown_twice(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = FakeRuntime(consoles=CONSOLES, exits={"writer": "crash"}, details={"writer": "page fault\nrip 0"})
    assert launch(runtime, config) == 1
    assert "writer: page fault\nexpect:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "exits", "status"),
    [
        ("finished", {}, 0),
        ("finished", {"writer": "crash"}, 1),
        ("finished", {"writer": "reboot"}, 1),
        ("timeout", {"writer": "running"}, 3),
        ("deadlock", {"writer": "running"}, 3),
        ("deadlock", {"writer": "crash", "reader": "running"}, 3),
        ("host-error", {}, 4),
        ("interrupted", {}, 130),
    ],
)
def test_the_exit_status_says_how_it_went(
    config: str, outcome: Outcome, exits: dict[str, str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(FakeRuntime(outcome=outcome, exits=exits, consoles=CONSOLES), config) == status
    assert f"pair: {outcome}" in capsys.readouterr().out


def test_a_line_that_does_not_appear_is_a_failure(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(FakeRuntime(), config) == 1
    out = capsys.readouterr().out
    assert "expect: reader: expected the console line 'all right', got none such\n" in out
    assert "pair: finished, expect failed (" in out


def test_a_deadlock_says_where_each_domain_waits(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = {"writer": "vCPU 0 polls port 3 since 1.2 s", "reader": "vCPU 0 is blocked since 1.4 s"}
    exits = {"writer": "running", "reader": "running"}
    assert launch(FakeRuntime(outcome="deadlock", exits=exits, waiting=waiting, consoles=CONSOLES), config) == 3
    out = capsys.readouterr().out
    assert (
        "deadlock: every domain that is left waits, and nothing will wake one\n"
        "  writer: vCPU 0 polls port 3 since 1.2 s\n"
        "  reader: vCPU 0 is blocked since 1.4 s\n"
    ) in out
    assert "writer      1  waiting " in out


def test_a_timeout_says_who_had_not_ended(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = FakeRuntime(outcome="timeout", exits={"writer": "running"}, consoles=CONSOLES)
    assert launch(runtime, config, "--timeout", "1.5") == 3
    assert runtime.options[0].timeout == 1.5
    out = capsys.readouterr().out
    assert "timeout: these domains had not ended after 1.5 s\n  writer: running\n" in out
    assert "  reader:" not in out


def test_the_runtime_gets_what_the_command_line_says(config: str, tmp_path: Path) -> None:
    runtime = FakeRuntime(consoles=CONSOLES)
    asked: list[str] = []

    def find(name: str) -> FakeRuntime:
        asked.append(name)
        return runtime

    surroundings = Surroundings(find, FakePrograms())
    trace = tmp_path / "trace.msgpack"
    assert main([config, "--trace", str(trace), "--clock", "host", "--quiet"], surroundings) == 0
    assert main([config, "--runtime", "local", "--quiet"], surroundings) == 0
    assert asked == ["ray", "local"]
    assert (runtime.options[0].trace_path, runtime.options[1].trace_path) == (trace, None)
    assert [plan.clock.mode for plan in runtime.plans] == ["host", "virtual"]
    assert runtime.plans[0].domains[0].cmdline == "peer=2"


def test_json_has_the_same_facts(config: str, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert launch(FakeRuntime(consoles={"writer": ["hello"]}), config, "--json", str(file), "--quiet") == 1
    facts = json.loads(file.read_text())
    assert (facts["name"], facts["outcome"], facts["digest"]) == ("pair", "finished", "ab" * 32)
    assert list(facts["domains"]) == ["writer", "reader"]
    writer = facts["domains"]["writer"]
    assert (writer["domid"], writer["exit"], writer["console"]) == (1, "poweroff", ["hello"])
    assert writer["digest"] == "cd" * 32
    assert facts["expect"] == {
        "met": False,
        "failures": ["reader: expected the console line 'all right', got none such"],
    }
    assert [path.name for path in tmp_path.iterdir() if "json" in path.name] == ["out.json"]


def test_json_on_standard_output_is_alone_there(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(FakeRuntime(consoles=CONSOLES), config, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["expect"] == {"met": True, "failures": []}
    assert "writer | hello" in err


def test_a_guest_image_runs_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini-os.elf").write_bytes(b"\x7fELF")
    (tmp_path / "initrd").write_bytes(b"")
    runtime = FakeRuntime()
    options = ["--kernel", "mini-os.elf", "--cmdline", "a b", "--memory", "32MiB", "--ramdisk", "initrd"]
    assert launch(runtime, *options, "--type", "hvm") == 0
    (domain,) = runtime.plans[0].domains
    assert (domain.name, domain.kernel, domain.ramdisk) == ("mini-os", tmp_path / "mini-os.elf", tmp_path / "initrd")
    assert (domain.cmdline, domain.memory, domain.type) == ("a b", 32 << 20, "hvm")
    assert "mini-os: finished" in capsys.readouterr().out


USAGE = [
    ([], "expected a configuration file, --kernel or --restore"),
    (["x.yaml", "--kernel", "y"], "expected a configuration file, --kernel or --restore, one of them alone"),
    (["x.yaml", "--memory", "5"], "--memory goes with --kernel; with a configuration file, write it there"),
    (["x.yaml", "--timeout", "0"], "argument --timeout: expected a number of seconds above 0, got '0'"),
    (["x.yaml", "--timeout", "nan"], "argument --timeout: expected a number of seconds above 0, got 'nan'"),
    (["x.yaml", "--seed", "-1"], "argument --seed: expected a whole number from 0 to 2**64 - 1, got '-1'"),
    (["x.yaml", "--json", "/"], "--json: expected a file, got the folder '/'"),
    (["x.yaml", "--trace", "/none/x"], "--trace: no such folder '/none'"),
    (["x.yaml", "--wat"], "unrecognized arguments: --wat"),
]


@pytest.mark.parametrize(("arguments", "line"), USAGE)
def test_a_command_line_that_makes_no_sense_is_status_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(FakeRuntime(), *arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"launch.py: error: {line}"


OPTIONS = [
    (["--kernel", "none.elf"], "--kernel: no such program or file 'none.elf': expected one of reader, writer"),
    (["--kernel", "./x"], "--kernel: expected an ELF file, got './x': no such file or directory"),
    (["--kernel", "writer", "--memory", "x"], "--memory: expected a size such as 64 (MiB), 64MiB or 1GiB, got 'x'"),
    (["--kernel", "writer", "--type", "x"], "--type: expected pvh, hvm or pv, got 'x'"),
    (["--kernel", "writer", "--ramdisk", "x"], "--ramdisk: expected a file, got 'x': no such file or directory"),
    (["--kernel", "writer", "--cmdline", "${"], "--cmdline: expected '}' after '${' (a plain '${' is written '$${')"),
]


@pytest.mark.parametrize(("arguments", "line"), OPTIONS)
def test_a_mistake_in_an_option_names_the_option(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert launch(FakeRuntime(), *arguments) == 2
    assert capsys.readouterr().err == line + "\n"


def test_mistakes_in_a_file_are_lines_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("domains:\n  a: {kernel: writer, memory: x, vcpus: 99}\n")
    assert launch(FakeRuntime(), str(file)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        [f"{file}:2", "domains.a.memory"],
        [f"{file}:2", "domains.a.vcpus"],
    ]


def raising(error: Exception | KeyboardInterrupt) -> Act:
    def act(plan: HostPlan, options: RunOptions, sink: Sink) -> None:
        raise error

    return act


def test_a_mistake_that_only_shows_at_boot_is_status_2(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("a.elf", [Problem((), "expected a PHYS32_ENTRY note, got none")])
    assert launch(FakeRuntime(act=raising(error)), config) == 2
    assert capsys.readouterr().err == "a.elf: expected a PHYS32_ENTRY note, got none\n"


def test_a_mistake_that_a_runtime_finds_in_a_domain_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("domains:\n  w:\n    kernel: writer\n    count: 2\n")
    error = ConfigError("x", [Problem(("domains", "w-1", "kernel"), "not a PVH kernel")])
    assert launch(FakeRuntime(act=raising(error)), str(file)) == 2
    assert capsys.readouterr().err == f"{file}:3: domains.w.kernel: not a PVH kernel\n"
    error = ConfigError("x", [Problem(("domains", "writer", "kernel"), "not a PVH kernel")])
    assert launch(FakeRuntime(act=raising(error)), "--kernel", "writer") == 2
    assert capsys.readouterr().err == "--kernel: not a PVH kernel\n"


def test_a_host_that_cannot_work_says_so_in_one_line(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    runtime = FakeRuntime(act=raising(HostError("no shared memory left")))
    assert launch(runtime, config, "--json", str(file)) == 4
    assert "host error: no shared memory left\n" in capsys.readouterr().out
    facts = json.loads(file.read_text())
    assert (facts["outcome"], facts["error"]) == ("host-error", "no shared memory left")


def test_a_trace_that_could_not_be_written_costs_nothing_but_the_trace(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    runtime = FakeRuntime(consoles=CONSOLES, error="cannot write the trace 'x.trace': No space left on device")
    assert launch(runtime, config, "--json", str(file)) == 4
    out, err = capsys.readouterr()
    assert "pair: finished" in out
    assert err == "launch.py: cannot write the trace 'x.trace': No space left on device\n"
    assert json.loads(file.read_text())["outcome"] == "finished"


def test_who_closed_the_standard_streams_gets_the_exit_status(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert launch(FakeRuntime(consoles=CONSOLES), config) == 0
    assert launch(FakeRuntime(consoles=CONSOLES), config + "x") == 2
    sys.stdout.close()
    sys.stderr.close()


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_for_who_asks(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = FakeRuntime(act=raising(ZeroDivisionError("division\nby zero")))
    assert launch(runtime, config) == 4
    out, err = capsys.readouterr()
    assert "host error: ZeroDivisionError: division by zero (--log-level debug shows where)\n" in out
    assert err == ""
    assert launch(runtime, config, "--log-level", "debug", "--log-format", "json") == 4
    record = json.loads(capsys.readouterr().err)
    assert (record["level"], "in act" in record["exception"]) == ("debug", True)


def test_a_package_that_is_missing_is_named(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "toolstack.ray_runtime", None)
    assert main([config, "--runtime", "ray"], Surroundings(programs=FakePrograms())) == 4
    err = capsys.readouterr().err
    assert err.startswith("launch.py: the runtime 'ray' needs the Python package ")


def test_a_second_ctrl_c_ends_it_at_once(config: str) -> None:
    assert launch(FakeRuntime(act=raising(KeyboardInterrupt())), config, "--quiet") == 130


def test_a_ctrl_c_while_the_program_is_read_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "toolstack.cli", Interrupted("toolstack.cli"))
    assert runpy.run_path(str(Path(__file__).parents[2] / "launch.py"))["run"]() == 130


def test_the_hypervisors_log_and_crash_reports_cannot_command_the_terminal(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(plan: HostPlan, options: RunOptions, sink: Sink) -> None:
        sink.hypervisor_line("d1 \x1b[2J said\nsecond")

    details = {"writer": "at \x1b[31m<main>"}
    runtime = FakeRuntime(act=act, exits={"writer": "crash"}, details=details, waiting={"reader": "\x07"})
    launch(runtime, config)
    out = capsys.readouterr().out
    assert "(XEN) d1 \\x1b[2J said\n(XEN) second\n" in out
    assert "writer: at \\x1b[31m<main>" in out
    assert "\x1b" not in out


def test_the_programs_own_log_is_quiet_unless_asked(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    def act(plan: HostPlan, options: RunOptions, sink: Sink) -> None:
        log.info("domain started", domain="writer\x1b[2J", domid=1)

    launch(FakeRuntime(act=act, consoles=CONSOLES), config)
    assert capsys.readouterr().err == ""
    launch(FakeRuntime(act=act, consoles=CONSOLES), config, "--log-level", "info")
    assert capsys.readouterr().err.endswith("[info     ] domain started domain=writer\\x1b[2J domid=1\n")
    launch(FakeRuntime(act=act, consoles=CONSOLES), config, "--log-level", "info", "--log-format", "json")
    record = json.loads(capsys.readouterr().err)
    assert (record["event"], record["level"], record["domid"]) == ("domain started", "info", 1)
