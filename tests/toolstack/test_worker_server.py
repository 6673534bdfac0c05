"""Ray workers are forked from a server; what is unusual is left to Ray."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolstack import worker_launcher

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "toolstack" / "worker_launcher.py"
WORKER = """
import json, os, sys, threading
facts = {"arguments": sys.argv[1:], "word": os.environ.get("WORD"), "folder": os.getcwd(), "pid": os.getpid(),
         "session": os.getsid(0), "name": __name__, "there": "toolstack.domain_actor" in sys.modules,
         "leaks": os.environ.get("LEAK"), "threads": threading.active_count()}
print(json.dumps(facts), flush=True)
print("to the error", file=sys.stderr, flush=True)
"""


class Node:
    """A raylet's stand-in, with a session's folder."""

    def __init__(self, folder: Path, raylet: int) -> None:
        self._folder, self._raylet = folder, raylet
        (folder / "s" / "sockets").mkdir(parents=True)
        (folder / "worker.py").write_text(WORKER)

    def launch(self, *arguments: str, context: str = "{}", **variables: str) -> tuple[dict[str, object], str]:
        """Start a worker as a raylet does: what it says, and what goes to standard error."""
        out, err = self._folder / "out", self._folder / "err"
        environment = os.environ | {"RAY_RAYLET_PID": str(self._raylet)} | variables
        command = [sys.executable, str(LAUNCHER), f"--serialized-runtime-env-context={context}", "--language=PYTHON",
                   str(self._folder / "worker.py"), f"--temp-dir={self._folder}", "--session-name=s", *arguments]
        with out.open("wb") as output, err.open("wb") as errors:
            subprocess.run(command, cwd=self._folder, env=environment, stdout=output, stderr=errors, check=True)
        for _ in range(200):
            if "error" in err.read_text():
                break
            time.sleep(0.05)
        return json.loads(out.read_text()), err.read_text()

    @property
    def socket(self) -> Path:
        return self._folder / "s" / "sockets" / f"domus_{self._raylet}"


@pytest.fixture
def raylet() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def test_a_worker_is_what_its_launcher_was_told(tmp_path: Path, raylet: "subprocess.Popen[bytes]") -> None:
    node = Node(tmp_path, raylet.pid)
    first, errors = node.launch("--a=b", WORD="here", LEAK="old")
    assert first["arguments"][-1] == "--a=b"  # type: ignore[index]
    assert (first["word"], first["folder"], first["name"]) == ("here", str(tmp_path), "__main__")
    assert first["there"], "it has imported what it needs before it begins"
    assert first["session"] == first["pid"], "Ray ends process groups: nobody else may be in it"
    assert (errors, first["threads"]) == ("to the error\n", 1)
    second, _ = node.launch(context='{"env_vars": {"WORD": "there"}}')
    assert (second["word"], second["leaks"]) == ("there", None)
    assert second["pid"] != first["pid"]
    node.launch()
    raylet.kill()
    raylet.wait()
    for _ in range(100):
        if not node.socket.exists():
            break
        time.sleep(0.05)
    assert not node.socket.exists(), "the server ends with its raylet"


def test_a_server_that_was_killed_is_replaced(tmp_path: Path, raylet: "subprocess.Popen[bytes]") -> None:
    node = Node(tmp_path, raylet.pid)
    node.launch()
    for entry in Path("/proc").glob("[0-9]*"):
        if str(node.socket).encode() in _command(entry):
            os.kill(int(entry.name), signal.SIGKILL)
    assert node.launch()[0]["there"]


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "plain"),
    [
        (["--serialized-runtime-env-context={}", "--language=PYTHON", "w.py", "--x=1"], ["w.py", "--x=1"]),
        (["--language=PYTHON", "w.py"], ["w.py"]),
        (["--language=JAVA", "w.py"], None),
        (['--serialized-runtime-env-context={"py_executable": "/other/python"}', "w.py"], None),
        (['--serialized-runtime-env-context={"command_prefix": ["nice"]}', "w.py"], None),
        (['--serialized-runtime-env-context={"command_prefix": [], "java_jars": []}', "w.py"], ["w.py"]),
        (["--language=PYTHON"], None),
    ],
)
def test_only_plain_workers_are_forked(arguments: list[str], plain: list[str] | None) -> None:
    assert worker_launcher.plain_worker(arguments) == plain
