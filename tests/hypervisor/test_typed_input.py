"""Steps of typed input: what they wait for, when they type, and what they say where they cannot."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sched_host import Machine, schedule

from abi.types import NEVER
from hypervisor.tables import RunState
from hypervisor.typed_input import MOST_KEPT, InputStep, TypedInput

MS = 1_000_000


class Ring:
    """Takes what is typed, `room` bytes at once."""

    def __init__(self, room=1024):
        self.room = room
        self.typed = b""

    def feed(self, data):
        data = data[:self.room]
        self.typed += data
        self.room -= len(data)
        return len(data)


def after(typed, now, output=b"", room=1024):
    """What is typed at `now` once `output` has been printed."""
    ring = Ring(room)
    typed.see(output)
    typed.advance(now, ring.feed)
    return ring.typed


def test_nothing_is_typed_before_the_prompt():
    typed = TypedInput([InputStep("grub> ", b"ls\n")])
    assert after(typed, 5, b"Welcome to GRUB!\n\r") == b""
    assert (typed.due, typed.unfinished()) == (NEVER, "input[0] waits for 'grub> '")
    assert after(typed, 6, b"grub> ") == b"ls\n"
    assert (typed.done, typed.unfinished()) == (True, None)


def test_a_prompt_may_come_in_pieces():
    typed = TypedInput([InputStep("grub> ", b"ls\n")])
    assert [after(typed, 1, bytes([byte])) for byte in b"\rgrub> "] == [b""] * 6 + [b"ls\n"]


def test_a_prompt_counts_once():
    typed = TypedInput([InputStep("> ", b"a"), InputStep("> ", b"b")])
    assert after(typed, 1, b"> ") == b"a"
    assert after(typed, 2, b"a\n") == b""
    assert after(typed, 3, b"> ") == b"b"


def test_two_prompts_at_once_are_two():
    assert after(TypedInput([InputStep("> ", b"a"), InputStep("> ", b"b")]), 1, b"> > ") == b"ab"


def test_a_regular_expression_sees_lines_whatever_ends_them():
    typed = TypedInput([InputStep(r"/^root=\w+$/", b"x")])
    assert after(typed, 1, b"grub_root=hd0\n\r") == b""
    assert after(typed, 2, b"root=hd0\n\r") == b"x"


def test_text_that_is_not_ascii_is_found_though_its_bytes_come_singly():
    typed = TypedInput([InputStep("größe ", b"7\n")])
    assert [after(typed, 1, bytes([byte])) for byte in "größe ".encode()][-1] == b"7\n"


def test_what_is_no_utf_8_does_not_hurt():
    assert after(TypedInput([InputStep("> ", b"a")]), 1, b"\xff\xc3\x80> ") == b"a"


def test_a_delay_begins_when_the_prompt_is_there():
    typed = TypedInput([InputStep("> ", b"a", 10 * MS)])
    assert after(typed, 3 * MS, b"> ") == b""
    assert (typed.due, typed.unfinished()) == (13 * MS, "input[0] waits until 0.013000 s")
    assert after(typed, 13 * MS - 1) == b""
    assert after(typed, 13 * MS) == b"a"
    assert typed.due == NEVER


def test_a_first_delay_begins_with_the_host():
    typed = TypedInput([InputStep(None, b"a", 10 * MS), InputStep(None, b"b", 5 * MS)])
    assert typed.due == 10 * MS
    assert after(typed, 11 * MS) == b"a"
    assert typed.due == 16 * MS
    assert after(typed, 16 * MS) == b"b"


def test_what_does_not_fit_follows_when_there_is_room():
    typed = TypedInput([InputStep(None, b"0123456789"), InputStep("> ", b"x")])
    assert after(typed, 1, room=4) == b"0123"
    assert (typed.due, typed.unfinished()) == (NEVER, "input[0] has typed 4 of 10 bytes")
    assert after(typed, 2, b"> ") == b"456789x"


def test_a_step_may_only_wait():
    typed = TypedInput([InputStep("a"), InputStep("b")])
    typed.see(b"..a..")
    assert not typed.advance(1, Ring().feed)
    assert typed.unfinished() == "input[1] waits for 'b'"
    assert not typed.advance(2, Ring().feed)
    typed.see(b"b")
    assert not typed.advance(3, Ring().feed)
    assert typed.done


def test_no_more_output_is_kept_than_is_useful():
    typed = TypedInput([InputStep("x" * 10, b"a")])
    for _ in range(5):
        typed.see(b"y" * MOST_KEPT)
        typed.advance(1, Ring().feed)
    assert after(typed, 2, b"x" * 9) == b""
    assert after(typed, 2, b"x") == b"a"


@given(output=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6),
       room=st.lists(st.integers(0, 5), max_size=40))
def test_neither_pieces_of_output_nor_of_room_change_what_is_typed(output, cuts, room):
    steps = [InputStep("0", b"first"), InputStep(None, b"second"), InputStep("/1|a/", b"third")]
    output = bytes(b"01a\n\xc3"[byte % 5] for byte in output)
    whole = TypedInput(steps)
    expected = after(whole, 1, output)
    pieces, typed, edges = TypedInput(steps), b"", sorted({0, *cuts, len(output)})
    for start, end in pairwise(edges):
        typed += after(pieces, 1, output[start:end], room.pop() if room else 100)
    typed += after(pieces, 1)
    assert (typed, pieces.unfinished()) == (expected, whole.unfinished())


# The scheduler's part: a turn at the time.


class TypingMachine(Machine):
    """Every typing is noted with its time."""

    def attach(self, rows=None):
        sched = super().attach(rows)
        self.typings = []
        sched.time_to_type = lambda domid: self.typings.append((domid, self.vcpus.local_time[sched.current]))
        return sched


@pytest.fixture
def machine():
    return TypingMachine(1, 1)


def test_a_blocked_domain_gets_its_turn_when_something_is_to_be_typed(machine):
    machine.run(0, 100)
    machine.sched.set_typing(1, 5 * MS)
    machine.sched.block(0)
    assert schedule(machine.sched) == 1
    machine.run(1, 200)
    machine.sched.block(1)
    assert schedule(machine.sched) is None
    assert machine.typings == [(1, 5 * MS)]
    assert machine.vcpus.runstate[0] == RunState.BLOCKED


def test_a_running_domain_is_stopped_for_it(machine):
    machine.run(1, 10)
    machine.sched.block(1)
    machine.run(0, 100)
    machine.sched.set_typing(1, 500)
    assert machine.sched.changed
    assert machine.sched.slice_end == 500
    machine.work(510)
    machine.sched.preempt(0)
    machine.run(0)
    assert machine.typings == [(1, 510)]


def test_what_is_to_be_typed_is_no_watchdog(machine):
    machine.run(0, 100)
    machine.sched.set_watchdog(1, 0, 1)
    machine.sched.set_typing(1, 500)
    machine.sched.block(0)
    assert schedule(machine.sched, until=600) == 1
    machine.run(1, 600)
    machine.sched.block(1)
    assert schedule(machine.sched) is None
    assert machine.typings == [(1, 500)]
    assert [domid for domid, _ in machine.ended] == [1]
    machine.sched.set_typing(2, NEVER)
    assert machine.watchdogs.earliest[2] == 0
