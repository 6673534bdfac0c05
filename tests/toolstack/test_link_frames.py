"""The link's decoder: any cut of the bytes gives the same messages; anything else is an error, and nothing worse."""

import tracemalloc
from struct import pack

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolstack.link_events import FrameError
from toolstack.link_frames import LARGEST, LAST, PART, PAYLOAD, WHOLE, Decoder, encode, frames, size_of, whole

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.binary(max_size=300),
                   st.text(max_size=20))
KEYS = st.integers(0, 99) | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8)


def decoded(decoder: Decoder, data: bytes) -> list[object]:
    """The messages of `data`, received as the kernel would give it."""
    found, at = [], 0
    while at < len(data):
        space = decoder.space()
        count = min(len(space), len(data) - at)
        assert count
        space[:count] = data[at:at + count]
        decoder.filled(count)
        at += count
        while (message := decoder.take()) is not None:
            found.append(message[0])
    return found


def messages_or_one_line(data: bytes) -> bool:
    """Nothing but messages comes out, or an error of one line."""
    try:
        decoded(Decoder(), data)
    except FrameError as error:
        return "\n" not in str(error)
    return True


def frame(kind: int, payload: bytes) -> bytes:
    return pack("<IB", len(payload) + 1, kind) + payload


@given(st.lists(VALUES, max_size=6), st.lists(st.integers(1, 50), min_size=1))
def test_any_cut_gives_the_same_messages(messages: list[object], cuts: list[int]) -> None:
    data = b"".join(piece for message in messages for piece in frames(encode(message)))
    decoder, found, at, turn = Decoder(), [], 0, 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        found += decoded(decoder, data[at:at + step])
        at, turn = at + step, turn + 1
    assert found == messages


@pytest.mark.parametrize("size", [PAYLOAD - 3, PAYLOAD - 2, 3 * PAYLOAD, LARGEST - 5])
def test_large_messages_are_whole_again(size: int) -> None:
    payload = encode(bytes(size))
    assert sum(map(len, frames(payload))) == size_of(payload)
    decoder = Decoder()
    assert [len(found) for piece in frames(payload) for found in decoded(decoder, piece)] == [size]


def test_a_whole_message_may_come_between_parts() -> None:
    large = encode(b"x" * (2 * PAYLOAD))
    first, *rest = frames(large)
    assert decoded(Decoder(), first + whole(encode("baton")) + b"".join(rest)) == ["baton", b"x" * (2 * PAYLOAD)]


@settings(max_examples=400)
@given(st.binary(max_size=2000))
def test_random_bytes_are_messages_or_an_error(data: bytes) -> None:
    assert messages_or_one_line(data)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from([WHOLE, PART, LAST]), st.binary(max_size=300)), max_size=8))
def test_random_payloads_are_messages_or_an_error(pieces: list[tuple[int, bytes]]) -> None:
    assert messages_or_one_line(b"".join(frame(*piece) for piece in pieces))


@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(0, 400))
def test_a_truncated_frame_waits_for_the_rest(messages: list[object], length: int) -> None:
    data = b"".join(whole(encode(message)) for message in messages)
    found = decoded(Decoder(), data[:length])
    assert found == messages[:len(found)]
    assert length >= len(data) or len(found) < len(messages)


@pytest.mark.parametrize("length", [0, PAYLOAD + 2, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_no_frame_has_is_an_error_at_once(length: int) -> None:
    with pytest.raises(FrameError, match=f"no frame: length {length:,}, kind 0"):
        decoded(Decoder(), pack("<IB", length, WHOLE))


def test_a_kind_that_is_none_is_an_error() -> None:
    with pytest.raises(FrameError, match="kind 3"):
        decoded(Decoder(), frame(3, b"\x00"))


@pytest.mark.parametrize("payload", [
    b"", b"\xc1", b"\x01\x02", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\x91" * 60000, b"\xdd\x00\x00\x0f\xff" * 12000, b"\xa1\xff", b"\x81\x90\x01",
    b"\xdc\x20\x00" + b"\x00" * 0x2000, b"\xc7\x03\xffabc",
], ids=lambda payload: f"{payload[:6].hex()} of {len(payload)}")
def test_a_payload_that_is_no_message_is_an_error_and_takes_no_memory(payload: bytes) -> None:
    decoder = Decoder()
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="no message: "):
            decoded(decoder, frame(WHOLE, payload))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_message_without_end_is_given_up() -> None:
    decoder, piece = Decoder(), frame(PART, bytes(PAYLOAD))
    for _ in range(LARGEST // PAYLOAD):
        assert decoded(decoder, piece) == []
    with pytest.raises(FrameError, match="more than 67,108,864 bytes"):
        decoded(decoder, piece)


def test_parts_of_a_message_are_not_mistaken_for_one() -> None:
    assert decoded(Decoder(), frame(PART, msgpack.packb("a")[:1]) + frame(LAST, msgpack.packb("a")[1:])) == ["a"]
