"""Ctrl-C and SIGTERM end a run cleanly: no process is left, and nothing in /dev/shm."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
ON_RAY = 4
"""So many tests here want a run on Ray."""
CONFIG = """
domains:
  spin: {kernel: abuse/spin, memory: 16MiB, count: 2}
"""


def parents():
    """Every process's parent, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def family(pid):
    """`pid` and everything that it started, directly or not, and that lives."""
    all_of_them = parents()
    members = {pid} & all_of_them.keys()
    while True:
        more = {child for child, parent in all_of_them.items() if parent in members} - members
        if not more:
            return members
        members |= more


def shared_memory(pids):
    """Files in /dev/shm that these processes have open or mapped."""
    found = set()
    for pid in pids:
        try:
            found |= set(re.findall(r"/dev/shm/\S+", Path(f"/proc/{pid}/maps").read_text()))
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(link)
                if target.startswith("/dev/shm/"):
                    found.add(target)
        except OSError:
            continue
    return {Path(name) for name in found if not name.endswith("(deleted)")}


def launch(folder, runtime):
    """A run, in a process group of its own, as a shell makes it."""
    (folder / "spin.yaml").write_text(CONFIG)
    command = [sys.executable, "launch.py", str(folder / "spin.yaml"), "--runtime", runtime]
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True)


def busy(run):
    """The run, when it has come to its first console lines."""
    printed = []
    for line in run.stdout:
        printed.append(line)
        if sum("this vCPU is busy" in line for line in printed) == 2:
            return run
    raise AssertionError("".join(printed))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Gives busy runs by runtime.  Those on Ray start together, for they wait more than they work."""
    waiting, all_runs = {"local": [], "ray": []}, []

    def take(runtime):
        if not waiting[runtime]:
            count = ON_RAY if runtime == "ray" else 1
            waiting[runtime] = [launch(tmp_path_factory.mktemp("run"), runtime) for _ in range(count)]
            all_runs.extend(waiting[runtime])
        return busy(waiting[runtime].pop())

    yield take
    for run in all_runs:  # not all tests were chosen, or one failed
        if run.poll() is None:
            run.terminate()
            run.wait(30)
        run.stdout.close()


def ended(pids, patience=10.0):
    """Those of `pids` that still live after a while."""
    deadline = time.monotonic() + patience
    while pids & parents().keys() and time.monotonic() < deadline:
        time.sleep(0.05)
    return pids & parents().keys()


@pytest.mark.parametrize("runtime", ["local", pytest.param("ray", marks=pytest.mark.ray)])
@pytest.mark.parametrize(("number", "to_group"),
                         [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)])
def test_a_signal_ends_the_run_and_leaves_nothing(launched, runtime, number, to_group):
    run = launched(runtime)
    pids = family(run.pid)
    memory = shared_memory(pids)
    (os.killpg if to_group else os.kill)(run.pid, number)
    rest, _ = run.communicate(timeout=30)
    assert run.returncode == 130, rest
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert ended(pids) == set()
    assert [path for path in memory if path.exists()] == []


@pytest.mark.parametrize("runtime", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_even_a_killed_run_leaves_nothing_of_ours(launched, runtime):
    run = launched(runtime)
    pids = family(run.pid)
    rays = {pid for pid in pids if b"Agent" in Path(f"/proc/{pid}/cmdline").read_bytes()}  # it forgets these
    memory = {path for path in shared_memory(pids) if "plasma" not in path.name}
    run.kill()
    run.communicate()
    try:
        assert ended(pids - rays) == set()
        assert [path for path in memory if path.exists()] == []
    finally:
        for pid in rays & parents().keys():
            os.kill(pid, signal.SIGKILL)


def test_a_reader_that_goes_away_ends_the_run(launched):
    run = launched("local")
    run.stdout.close()
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=20) in (130, 141)
