"""Kills a process at each of its writes to the host's tables, one after the other, and has another one go on.

The operation runs in a fork of the test, under a trace of its instructions, on memory of its own.  Before the k-th
instruction that stores an item, what is left of the process stands still for ever, and `survive` is called in its
place, with no Python state of it but the memory: as good as another process that finds it dead.
"""

import dis
import os
import sys
import traceback

_STORES = {dis.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in dis.opmap}
_MOST = 10


def _count(operation, at=-1, then=None):
    """Do `operation`, and `then()` before store number `at`; how many stores there were."""
    stores = 0

    def watch(frame, event, argument):
        nonlocal stores
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] in _STORES:
            if stores == at:
                sys.settrace(None)
                then()
            stores += 1
        return watch

    sys.settrace(watch)
    try:
        operation()
    finally:
        sys.settrace(None)
    return stores


def _in_a_fork(action):
    """Call `action(answer)` in a child; the text that `answer` was given, which also ends the child there and then."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        def answer(text):
            os.write(writing, text.encode()[-4000:])
            os._exit(0)

        try:
            action(answer)
        finally:
            answer(traceback.format_exc())
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


def _outcome(survive):
    try:
        survive()
    except BaseException:
        return traceback.format_exc()
    return ""


def kill_at_writes(operation, survive):
    """Kill `operation` before its writes and after the last; `survive()` raises what is wrong then.

    Some of the writes, evenly spread; all where the environment's DOMUS_KILLS is "all".  How many kills that was.
    """
    writes = int(_in_a_fork(lambda answer: answer(str(_count(operation)))))

    def die_at(at):
        def die(answer):
            _count(operation, at, lambda: answer(_outcome(survive)))
            answer(_outcome(survive))

        return die

    step = 1 if os.environ.get("DOMUS_KILLS") == "all" else max(1, -(-writes // _MOST))
    points = [*range(0, writes, step), writes]
    for at in points:
        text = _in_a_fork(die_at(at))
        assert not text, f"killed before write {at} of {writes}:\n{text}"
    return len(points)
