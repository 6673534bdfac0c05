"""What a domain costs in host memory, read from /proc while some domains have booted and sleep.

RSS counts every page that a process has touched.  PSS shares a page among those who have it, so that sums are right:
it is the figure to multiply by a number of domains.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from experiments.startup import ROOT, build
from experiments.stopwatch import MeasurementError
from toolstack.runtime import RuntimeName

_CONFIGURATION = """\
clock: {{mode: host}}
domains:
  sleeper: {{kernel: writer, cmdline: "peer=${{self.domid}} wait=3600", memory: 16MiB, count: {count}}}
"""
"""Who waits for itself waits long, and on the host's clock it does so asleep."""
_BOOTED = "waiting for the reader"
_SETTLE = 0.3
_ACTOR = b"ray::DomainActor"


class Memory(NamedTuple):
    """Bytes of host memory."""

    rss: int
    pss: int
    own: int = 0
    """What no other process has: it comes back when the process ends."""


def memory_of(pid: int) -> Memory:
    """What process `pid` has.  Raises OSError where it is gone."""
    sizes = dict.fromkeys(("Rss", "Pss", "Private_Clean", "Private_Dirty", "Private_Hugetlb"), 0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) << 10
    own = sizes["Private_Clean"] + sizes["Private_Dirty"] + sizes["Private_Hugetlb"]
    return Memory(sizes["Rss"], sizes["Pss"], own)


def own_memory(pid: int) -> int:
    """Bytes that only process `pid` has, without what it touched of a host's shared memory, where guests live.

    Raises OSError where it is gone.
    """
    total, counts = 0, True
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if "-" in name and " " in name:  # 7f00-7f10 rw-s 0000 00:01 12 /memfd:domus-host (deleted)
                counts = "memfd:domus-" not in line
            elif counts and name in ("Private_Clean", "Private_Dirty"):
                total += int(rest.split()[0]) << 10
    return total


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, rest = [], [pid]
    while rest:
        children = parents.get(rest.pop(), [])
        found += children
        rest += children
    return found


@contextmanager
def sleepers(count: int, runtime: RuntimeName) -> Iterator[int]:
    """`count` domains that have booted and sleep; gives the process of the launch.py that runs them."""
    build("writer")
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "sleepers.yaml")
        configuration.write_text(_CONFIGURATION.format(count=count))
        command = [sys.executable, "launch.py", str(configuration), "--runtime", runtime]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        ) as process:
            try:
                _await_booted(process, count)
                time.sleep(_SETTLE)
                yield process.pid
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate()


def _await_booted(process: "subprocess.Popen[str]", count: int) -> None:
    assert process.stdout is not None
    line, awake = "", count
    while awake:
        line = process.stdout.readline() or ""
        if not line:
            raise MeasurementError("launch.py ended before all domains had booted")
        awake -= _BOOTED in line


def actors_of(pid: int) -> list[int]:
    """The domain actors of the Ray that process `pid` started; they are forked, and so nobody's children."""
    raylets = {b"RAY_RAYLET_PID=%d" % process for process in descendants(pid)}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        process = int(entry.name)
        if _command(process).startswith(_ACTOR):
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if raylets.intersection(variables):
                found.append(process)
    return found


def of_an_actor(count: int) -> Memory:
    """The mean over the domain actors of a host with `count` domains.  Raises MeasurementError."""
    with sleepers(count, "ray") as pid:
        found = [memory_of(actor) for actor in actors_of(pid)]
    if len(found) != count:
        raise MeasurementError(f"{len(found)} domain actors were found, not {count}")
    return Memory(sum(memory.rss for memory in found) // count, sum(memory.pss for memory in found) // count)


def processes() -> list[int]:
    """All of this machine."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def domain_actors(among: Iterable[int]) -> list[int]:
    """Those of the processes `among` that run domains for Ray."""
    return [process for process in among if _command(process).startswith(_ACTOR)]


def of_one_more(few: int, many: int) -> int:
    """PSS that each further domain adds to a process that runs all of them."""
    sizes = []
    for count in (few, many):
        with sleepers(count, "local") as pid:
            sizes.append(memory_of(pid).pss)
    return (sizes[1] - sizes[0]) // (many - few)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
