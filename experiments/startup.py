"""Seconds from the command to what its guests say."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import guests.build
from experiments.stopwatch import MeasurementError
from toolstack.runtime import RuntimeName

ROOT = Path(__file__).resolve().parents[1]
_NAMES = ("writer", "reader")


def build(program: str) -> None:
    """Have a guest program in the cache: compiling it is no part of a start.  Raises MeasurementError."""
    try:
        guests.build.build(program)
    except guests.build.GuestBuildError as error:
        raise MeasurementError(str(error)) from error


def seconds_to_first_lines(runtime: RuntimeName) -> float:
    """Start `launch.py configs/two_guests.yaml` as a user does; wait until both guests have said something.

    Raises MeasurementError.
    """
    for name in _NAMES:
        build(name)
    silent = set(_NAMES)

    def both_spoke(line: str) -> bool:
        silent.discard(line.partition(" |")[0])
        return not silent

    return _seconds_to(("configs/two_guests.yaml", "--runtime", runtime), both_spoke)


def seconds_to_line(configuration: Mapping[str, Any], begin: str, *options: str) -> float:
    """Start `launch.py` with this configuration in one process; wait for a line that begins with `begin`.

    Raises MeasurementError.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "boot.yaml"
        file.write_text(yaml.safe_dump(dict(configuration)))
        return _seconds_to((str(file), "--runtime", "local", *options), lambda line: line.startswith(begin))


def _seconds_to(arguments: Sequence[str], done: Callable[[str], bool]) -> float:
    """Until `done` says so of a line of launch.py's output.  The run goes on to its end, which has to be a good one."""
    found, line = 0.0, ""
    started = time.perf_counter()
    command = [sys.executable, "launch.py", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not found and done(line):
                found = time.perf_counter() - started
    if process.returncode or not found:
        raise MeasurementError(f"launch.py ended with status {process.returncode}; its last line was: {line.strip()}")
    return found
