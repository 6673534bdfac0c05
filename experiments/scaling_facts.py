"""What an experiment was measured with: versions, machine, state of the sources."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from experiments.results import load, machine
from experiments.startup import ROOT

_HARDWARE = ("processors", "architecture", "system")


def facts(configuration: dict[str, Any]) -> dict[str, Any]:
    """Plain data.  `versions`, `machine` and `work` have to stay as they are while an experiment goes on."""
    found = machine()
    return {
        "versions": {"domus": _sources(), **{key: value for key, value in found.items() if key not in _HARDWARE}},
        "machine": {**{key: found[key] for key in _HARDWARE}, "kernel": platform.release(), "model": _model(),
                    "usable_processors": len(os.sched_getaffinity(0)), "memory": _memory()},
        "work": configuration["work"],
        "load": load(),
        "configuration": configuration,
    }


def _sources() -> str:
    """The commit, with a plus where files differ from it; `unknown` outside a clone."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _model() -> str:
    return _field(Path("/proc/cpuinfo"), "model name")


def _memory() -> int:
    """Bytes of the machine."""
    return int((_field(Path("/proc/meminfo"), "MemTotal") or "0").split()[0]) << 10


def _field(file: Path, name: str) -> str:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
