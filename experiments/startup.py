"""Seconds from the command to the first console line of each of its guests."""

import subprocess
import sys
import time
from pathlib import Path

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
    command = [sys.executable, "launch.py", "configs/two_guests.yaml", "--runtime", runtime]
    silent, found, line = set(_NAMES), 0.0, ""
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            silent.discard(line.partition(" |")[0])
            if not silent and not found:
                found = time.perf_counter() - started
    if process.returncode or not found:
        raise MeasurementError(f"launch.py ended with status {process.returncode}; its last line was: {line.strip()}")
    return found
