"""Forks Ray workers from a process that has imported all that they need.

A worker that Ray starts by itself imports Ray twice and this program once: most of a second of a processor, and 60 MB
that are equal in all of them.  A fork takes milliseconds and shares those bytes until it writes to them.  There is one
server for each raylet; `toolstack.worker_launcher` starts it and asks it; it ends with its raylet.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from array import array
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, ModuleType

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

_PRELOADED = (
    "ray._private.workers.default_worker", "ray._private.external_storage", "ray._private.function_manager",
    "ray._private.memory_monitor", "setproctitle", "psutil", "toolstack.domain_actor", "toolstack.hypervisor_actor")
"""What workers import; those that this version of Ray does not have are left out."""
_READY = b"ready\n"
_BACKLOG = 4096
_CREDENTIALS = 12
_POLL = 1000
"""Milliseconds between looks at the raylet where the system cannot tell of its end."""


@dataclass(frozen=True)
class Request:
    """A worker to be: what its launcher was started with."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    files: tuple[int, ...]
    """Standard input, output and error."""


def main() -> None:
    """Serve on the socket that the last argument names; what this process was started for is worker_launcher's."""
    path = sys.argv[-1]
    for name in _PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    with suppress(Exception):  # the workers will try it again, and say what is wrong
        importlib.import_module("domains.selfcheck").proven_meter()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(draft)
    listener.bind(draft)
    os.chmod(draft, 0o600)
    listener.listen(_BACKLOG)
    os.rename(draft, path)  # who finds it can connect
    os.write(1, _READY)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)
    gc.collect()
    gc.freeze()  # else the first collection in a worker would write to, and so copy, every object
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    request = _serve(listener, int(os.environ["RAY_RAYLET_PID"]))
    if request is None:
        os.unlink(path)
    else:
        _become(request)


def _serve(listener: socket.socket, raylet: int) -> Request | None:
    """Fork a worker for each request.  Returns only in the workers, and None where the raylet has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    with suppress(AttributeError, OSError):
        poll.register(os.pidfd_open(raylet), select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(_POLL)]
        if not os.path.exists(f"/proc/{raylet}"):
            return None
        if listener.fileno() not in ready:
            if ready:  # a zombie still has its folder
                return None
            continue
        connection, _ = listener.accept()
        with connection:
            request = _received(connection)
            if request is None:
                continue
            try:
                child = os.fork()
            except OSError:  # the launcher will try by itself, and say why it cannot
                child = -1
            if not child:
                listener.close()
                return request
            for file in request.files:
                os.close(file)
            if child > 0:
                with suppress(OSError):
                    connection.send(b"1")


def _received(connection: socket.socket) -> Request | None:
    """One request; None for what comes from another user or is none."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS)
    if int.from_bytes(credentials[4:8], sys.byteorder) != os.geteuid():
        return None
    connection.settimeout(10)
    try:
        first, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * array("i").itemsize))
        files = array("i")
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                files.frombytes(data)
        text = first
        while piece := connection.recv(1 << 16):
            text += piece
        return Request(**json.loads(text), files=tuple(files))
    except (OSError, ValueError, TypeError):
        return None


def _become(request: Request) -> None:
    """In the fork: be the worker that was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # Ray ends a worker's whole process group
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    sys.argv = request.arguments
    module = ModuleType("__main__")
    module.__file__ = request.arguments[0]
    sys.modules["__main__"] = module
    exec(_code(request.arguments[0]), module.__dict__)


def _code(path: str) -> CodeType:
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec")
