"""Has runs of `experiments.scaling` done, each in a fresh process, and ends them when it is asked to."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.scaling_point import Measured, Point
from experiments.startup import ROOT
from experiments.stopwatch import MeasurementError

_START = 120.0
"""Seconds that a run may take on top of its time limit: to start Ray, and to come to its end."""
_GRACE = 15.0
_WORDS = 300


def run_point(point: Point, *, address: str | None, timeout: float) -> list[Measured]:
    """Measure `point`.  Raises MeasurementError; KeyboardInterrupt only after the run's processes have ended."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        with Path(folder, "words").open("w+") as words:
            spawned = time.monotonic()
            # A session of its own: Ctrl-C is for us, who end it in order.
            child = subprocess.Popen([sys.executable, "-m", "experiments.scaling_child", str(answer)], cwd=ROOT,
                                     stdin=subprocess.PIPE, stdout=words, stderr=subprocess.STDOUT, text=True,
                                     start_new_session=True)
            request = {"point": point.to_json(), "address": address, "timeout": timeout, "spawned": spawned,
                       "parent": os.getpid()}
            try:
                child.communicate(json.dumps(request), timeout + _START)
            except subprocess.TimeoutExpired:
                raise MeasurementError(f"the run did not end in {timeout + _START:.0f} s") from None
            finally:
                _end(child)
            words.seek(0)
            said = " ".join(words.read().split())[-_WORDS:]
        if not answer.exists():
            raise MeasurementError(f"the run's process ended with status {child.returncode}: {said}")
        found = json.loads(answer.read_text())
    if "error" in found:
        raise MeasurementError(found["error"])
    return [Measured(*each) for each in found["measured"]]


def _end(child: "subprocess.Popen[str]") -> None:
    """Ask the run to stop, so that its Ray ends too; insist where it does not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
