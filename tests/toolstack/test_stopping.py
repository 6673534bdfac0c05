"""launch.py as a process: Ctrl-C, SIGTERM, and output that nobody reads."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toolstack.stop import Stop

HERE = Path(__file__).parent
ENDLESS = """
import sys, time
from toolstack_fakes import FakePrograms, FakeRuntime
from toolstack.cli import Surroundings, main

def act(plan, options, sink):
    while not options.stop.requested:
        sink.console_line("writer", "tick")
        time.sleep(0.01)

runtime = FakeRuntime(act=act)
sys.exit(main(sys.argv[1:], Surroundings(lambda name: runtime, FakePrograms())))
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., "subprocess.Popen[bytes]"]:
    config = tmp_path / "endless.yaml"
    config.write_text("domains: {writer: {kernel: writer}}")
    script = tmp_path / "script.py"
    script.write_text(ENDLESS)
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])

    def start(*arguments: str, **keywords: object) -> "subprocess.Popen[bytes]":
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
        command = [sys.executable, str(script), str(config), *arguments]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **streams)  # type: ignore[call-overload,no-any-return]

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_run_cleanly(
    start: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "out.json"
    with start("--json", str(file)) as process:
        assert process.stdout is not None
        while process.stdout.readline() != b"writer | tick\n":
            pass
        process.send_signal(number)
        process.send_signal(number)  # as `timeout` does: not a second Ctrl-C
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"endless: interrupted" in out
    assert err == b""
    assert json.loads(file.read_text())["outcome"] == "interrupted"


def test_output_that_nobody_reads_ends_the_run_quietly(start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    with start() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_in_one_line(start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    with Path("/dev/full").open("wb") as full, start(stdout=full) as process:
        assert process.wait(timeout=20) == 4
        assert process.stderr is not None
        assert process.stderr.read() == b"launch.py: cannot write the output: No space left on device\n"


def test_only_a_later_second_signal_interrupts_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop, calls = Stop(), []
    stop.callbacks.append(lambda: calls.append("woken"))
    before = signal.getsignal(signal.SIGINT)
    with stop.on_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert (stop.requested, calls) == (True, ["woken"])
        now = 101.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
