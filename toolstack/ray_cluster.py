"""The Ray that a run is on: one that is there already, or one that is started for it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

# isort: split
import ray
from ray._private import ray_constants

from toolstack.errors import HostError
from toolstack.ray_names import NAMESPACE

_OBJECT_STORE = 80 << 20
"""Bytes of Ray's object store, its minimum: nothing large goes through it."""
_LAUNCHER = Path(__file__).with_name("worker_launcher.py")
_AT_ONCE, _NICENESS = "RAY_worker_maximum_startup_concurrency", "RAY_worker_niceness"


@contextmanager
def cluster(address: str | None, processes: int) -> Iterator[bool]:
    """Have Ray meanwhile; gives whether it was there before.

    A Ray that this process is connected to is used as it is; else the cluster at `address`, or at RAY_ADDRESS, where
    one of them is given; else one for `processes` processes is started, and ended.  Raises HostError.
    """
    if ray.is_initialized():
        yield not _is_ours()
        return
    there = address or os.environ.get("RAY_ADDRESS") or "local"
    if there == "local":
        start_ray(processes)
    else:
        _connect(there)
    try:
        yield there != "local"
    finally:
        ray.shutdown()


def _is_ours() -> bool:
    """Whether this process started the Ray that it is connected to."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.head)


def start_ray(processes: int) -> None:
    """Start a Ray for `processes` processes on this machine.  Raises HostError."""
    with _signals_kept(), _own_launcher(processes):
        try:
            ray.init(address="local", include_dashboard=False, configure_logging=False, log_to_driver=False,
                     num_cpus=min(processes, os.cpu_count() or 1), object_store_memory=_OBJECT_STORE,
                     namespace=NAMESPACE)
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            raise HostError(f"Ray cannot be started: {' '.join(str(error).split())}") from error


def _connect(address: str) -> None:
    with _signals_kept():
        try:
            ray.init(address=address, configure_logging=False, log_to_driver=False, namespace=NAMESPACE)
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            text = " ".join(str(error).split())
            raise HostError(f"no Ray cluster answers at {address!r}: {text}") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes the signals that end a program, and would end this one without a report."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def _own_launcher(processes: int) -> Iterator[None]:
    """A Ray that is started meanwhile forks its workers (`toolstack.worker_launcher`), all of them at once.

    By itself it starts as many at a time as there are processors, warns of more, and has them run after every other
    program of the machine.
    """
    usual = ray_constants.SETUP_WORKER_FILENAME
    settings = {_NICENESS: "0"}
    if os.environ.get("DOMUS_WORKER_SERVER") != "0":
        ray_constants.SETUP_WORKER_FILENAME = str(_LAUNCHER)
        settings[_AT_ONCE] = str(max(processes, os.cpu_count() or 1))
    ours = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in ours})
    try:
        yield
    finally:
        ray_constants.SETUP_WORKER_FILENAME = usual
        for name in ours:
            del os.environ[name]
