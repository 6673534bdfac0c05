import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from abi.console import XENCONS_INTERFACE
from hypervisor.console import ConsoleRing
from state.arena import private_arena

PAGE = 0x1000
OFFSET = XENCONS_INTERFACE.at(64).offset
IN, OUT = 1024, 2048
indices = st.integers(0, (1 << 32) - 1)


class Guest:
    """The front end: the guest's half of the protocol."""

    def __init__(self):
        self.arena = private_arena(3)
        self.reports = []
        self.ring = ConsoleRing(self.arena, PAGE, self.reports.append)

    def index(self, name):
        return self.arena.u32[PAGE + OFFSET[name] >> 2]

    def set_index(self, name, value):
        self.arena.u32[PAGE + OFFSET[name] >> 2] = value & 0xFFFFFFFF

    def start_at(self, value):
        for name in ("in_cons", "in_prod", "out_cons", "out_prod"):
            self.set_index(name, value)

    def write(self, data):
        """As much of it as fits; how many bytes that was."""
        prod = self.index("out_prod")
        data = data[:OUT - (prod - self.index("out_cons") & 0xFFFFFFFF)]
        for offset, byte in enumerate(data):
            self.arena.u8[PAGE + OFFSET["out"] + (prod + offset) % OUT] = byte
        self.set_index("out_prod", prod + len(data))
        return len(data)

    def read(self):
        cons, prod = self.index("in_cons"), self.index("in_prod")
        size = prod - cons & 0xFFFFFFFF
        data = bytes(self.arena.u8[PAGE + OFFSET["in"] + at % IN] for at in range(cons, cons + size))
        self.set_index("in_cons", prod)
        return data


def test_an_empty_ring_has_nothing():
    assert Guest().ring.drain() == b""


@pytest.mark.parametrize("start", [0, 2000, 0xFFFFFFF0, 0x7FFFFFFF])
def test_text_comes_out_as_it_went_in(start):
    guest = Guest()
    guest.start_at(start)
    guest.write(b"Hello\n")
    guest.write(bytes(range(256)))
    assert guest.ring.drain() == b"Hello\n" + bytes(range(256))
    assert guest.ring.drain() == b""


def test_a_full_ring_is_drained_whole():
    guest = Guest()
    guest.start_at(100)
    assert guest.write(b"a" * 3000) == OUT
    assert guest.ring.drain() == b"a" * OUT
    assert guest.reports == []


@pytest.mark.parametrize("start", [0, 1000, 0xFFFFFFF0])
def test_what_is_typed_arrives(start):
    guest = Guest()
    guest.start_at(start)
    assert guest.ring.feed(b"ls\n") == 3
    assert guest.ring.feed(b"x" * 100) == 100
    assert guest.read() == b"ls\n" + b"x" * 100


def test_no_more_is_typed_than_there_is_room_for():
    guest = Guest()
    assert guest.ring.feed(b"y" * 2000) == IN
    assert guest.ring.feed(b"z") == 0
    assert guest.read() == b"y" * IN
    assert guest.ring.feed(b"z") == 1


@given(cons=indices, prod=indices)
def test_indices_that_lie_are_reported_once_and_the_ring_goes_on(cons, prod):
    guest = Guest()
    guest.set_index("out_cons", cons)
    guest.set_index("out_prod", prod)
    lies = (prod - cons & 0xFFFFFFFF) > OUT
    assert len(guest.ring.drain()) == (0 if lies else prod - cons & 0xFFFFFFFF)
    assert len(guest.reports) == lies
    guest.write(b"still here")
    assert guest.ring.drain() == b"still here"


@given(cons=indices, prod=indices)
def test_the_same_holds_for_input(cons, prod):
    guest = Guest()
    guest.set_index("in_cons", cons)
    guest.set_index("in_prod", prod)
    if (prod - cons & 0xFFFFFFFF) > IN:
        assert guest.ring.feed(b"abc") == 3
        assert guest.read() == b"abc"
        assert len(guest.reports) == 1


@given(words=st.lists(indices, min_size=4, max_size=4))
def test_no_indices_touch_memory_outside_the_page(words):
    guest = Guest()
    for name, value in zip(("in_cons", "in_prod", "out_cons", "out_prod"), words, strict=True):
        guest.set_index(name, value)
    guest.ring.drain()
    guest.ring.feed(b"q" * 1500)
    assert not any(guest.arena.u8[:PAGE])
    assert not any(guest.arena.u8[PAGE + 4096:])


class Conversation(RuleBasedStateMachine):
    """Bytes are neither lost nor made, in either direction, whoever is slow."""

    def __init__(self):
        super().__init__()
        self.guest = Guest()
        self.guest.start_at(0xFFFFFE00)
        self.written, self.printed, self.typed, self.received = b"", b"", b"", b""

    @rule(data=st.binary(max_size=1500))
    def guest_writes(self, data):
        self.written += data[:self.guest.write(data)]

    @rule()
    def host_prints(self):
        self.printed += self.guest.ring.drain()

    @rule(data=st.binary(max_size=800))
    def user_types(self, data):
        self.typed += data[:self.guest.ring.feed(data)]

    @rule()
    def guest_reads(self):
        self.received += self.guest.read()

    @invariant()
    def nothing_is_invented(self):
        assert self.written.startswith(self.printed)
        assert self.typed.startswith(self.received)
        assert not self.guest.reports

    def teardown(self):
        self.host_prints()
        self.guest_reads()
        assert (self.printed, self.received) == (self.written, self.typed)


TestConversation = Conversation.TestCase
