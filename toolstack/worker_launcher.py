"""What a Ray node of ours runs to start a worker: has `toolstack.worker_server`, of which it has one, fork it.

It stands in for Ray's own setup_worker.py, whose arguments it gets, and hands over to that where anything is unusual:
another language, a runtime environment that wants more than variables, no server.  Run as a script, once a worker, so
it imports next to nothing.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
from array import array

_CONTEXT, _LANGUAGE = "--serialized-runtime-env-context=", "--language="
_PATIENCE = 60.0
"""Seconds that the server may take to be there, and to answer."""
_PREFORK = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
"""For the server and all that it forks: a heap for every thread would cost more than waiting for each other, and a
thread pool would not survive the fork."""


def main(arguments: list[str]) -> None:
    """Have a worker started as `arguments` say; they are those of setup_worker.py."""
    wanted = plain_worker(arguments)
    if wanted is not None:
        try:
            ask(wanted)
            return
        except (OSError, subprocess.SubprocessError) as error:
            print(f"the worker server does not answer ({error}): a worker is started without it", file=sys.stderr)
    import ray

    script = os.path.join(os.path.dirname(ray.__file__), "_private", "workers", "setup_worker.py")
    os.execv(sys.executable, [sys.executable, script, *arguments])


def plain_worker(arguments: list[str]) -> list[str] | None:
    """The script and arguments of a worker that the server can fork; None where only Ray can start it."""
    context: dict[str, object] = {}
    language, rest = "PYTHON", []
    for argument in arguments:
        if argument.startswith(_CONTEXT):
            context = json.loads(argument[len(_CONTEXT):] or "{}")
        elif argument.startswith(_LANGUAGE):
            language = argument[len(_LANGUAGE):]
        else:
            rest.append(argument)
    usual = {"env_vars": {}, "py_executable": sys.executable}
    special = {key: value for key, value in context.items() if value and value != usual.get(key) and key != "env_vars"}
    if language != "PYTHON" or special or not rest:
        return None
    variables = context.get("env_vars")
    if isinstance(variables, dict):
        os.environ.update({str(key): str(value) for key, value in variables.items()})
    return rest


def ask(arguments: list[str]) -> None:
    """Have the server fork a worker with this process's environment and output.  Raises OSError."""
    path = socket_path(arguments)
    request = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE)
        if connection.connect_ex(path):
            _start_server(path)
            connection.connect(path)
        files = array("i", [0, 1, 2])
        connection.sendmsg([request[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.sendall(request[1:])
        connection.shutdown(socket.SHUT_WR)
        if not connection.recv(1):
            raise OSError("it ended")


def socket_path(arguments: list[str]) -> str:
    """Where the server of this node listens: one for each raylet, in the session's folder."""
    options = dict(argument.split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument)
    folder = os.path.join(options["--temp-dir"], options["--session-name"], "sockets")
    return os.path.join(folder, f"domus_{os.environ['RAY_RAYLET_PID']}")


def _start_server(path: str) -> None:
    """Start the server unless another launcher has just done so; returns when it listens."""
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if not probe.connect_ex(path):
                return
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        code = "import sys; sys.path.insert(0, sys.argv[1]); from toolstack import worker_server; worker_server.main()"
        with subprocess.Popen([sys.executable, "-c", code, root, path], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, start_new_session=True, env=os.environ | _PREFORK) as server:
            assert server.stdout is not None
            ready = server.stdout.readline()  # closed by the server when it listens, and when it ends
            server.returncode = 0  # it stays
        if not ready:
            raise OSError("it could not be started")


if __name__ == "__main__":
    main(sys.argv[1:])
