"""Has a process kill itself before a write that Python makes to the host's tables, in a call that was chosen."""

import dis
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from domains.runner import Runner
from hypervisor.dispatch import Dispatcher

_STORES = {dis.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in dis.opmap}


def kill_in_hypercall(call: int, write: int) -> None:
    """Kill this process in its hypercall number `call`, before write number `write` or one of a later call."""
    Dispatcher.dispatch = _deadly(Dispatcher.dispatch, call, write)  # type: ignore[method-assign]


def kill_in_round(end: int, write: int) -> None:
    """Kill this process when it ends a round for the `end`-th time, before write number `write` or one later on."""
    Runner._between_rounds = _deadly(Runner._between_rounds, end, write)  # type: ignore[method-assign]


def _deadly(method: Callable[..., Any], first: int, write: int) -> Callable[..., Any]:
    calls, writes = 0, 0

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal writes
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] in _STORES:
            if writes == write:
                os.kill(os.getpid(), signal.SIGKILL)
            writes += 1
        return watch

    def deadly(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= first:
            return method(*arguments)
        sys.settrace(watch)
        try:
            return method(*arguments)
        finally:
            sys.settrace(None)

    return deadly
