"""Messages on the link: msgpack, in frames of at most 64 KiB.

    length of the rest (4 bytes, little-endian) | kind (1 byte) | payload

A message that fits is one frame of kind WHOLE.  A larger one is frames of kind PART and one LAST, between which other
whole messages may come.  Nothing is allocated for a length that was only claimed.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any

import msgpack

from toolstack.link_events import FrameError

_HEADER = Struct("<IB")
WHOLE, PART, LAST = range(3)
PAYLOAD = (64 << 10) - _HEADER.size
"""Bytes of a frame's payload, at most."""
LARGEST = 64 << 20
"""Bytes of a message, at most."""
ELEMENTS = 4096
"""Elements of one list or mapping in a message, at most: what is longer goes as bytes."""
_ROOM = 256 << 10
_MISTAKES = (ValueError, TypeError, RecursionError, OverflowError, MemoryError, msgpack.UnpackException)


def encode(message: Any) -> bytes:
    """A message's bytes.  Raises FrameError where it is too large, TypeError where msgpack cannot do it."""
    payload: bytes = msgpack.packb(message)
    if len(payload) > LARGEST:
        raise FrameError(f"a message of {len(payload):,} bytes: {LARGEST:,} are the most, send it in pieces")
    return payload


def whole(payload: bytes) -> bytes:
    """The one frame of a message of at most PAYLOAD bytes."""
    return _HEADER.pack(len(payload) + 1, WHOLE) + payload


def frames(payload: bytes) -> Iterator[bytes]:
    """The frames of any message, made as they are asked for."""
    if len(payload) <= PAYLOAD:
        yield whole(payload)
        return
    view = memoryview(payload)
    for at in range(0, len(payload), PAYLOAD):
        part = view[at:at + PAYLOAD]
        kind = LAST if at + PAYLOAD >= len(payload) else PART
        yield b"".join((_HEADER.pack(len(part) + 1, kind), part))


def size_of(payload: bytes) -> int:
    """Bytes of all frames of a message."""
    return len(payload) + _HEADER.size * max(1, -(-len(payload) // PAYLOAD))


class Decoder:
    """Makes messages of what comes: receive into `space()`, say how much with `filled(n)`, take with `take()`."""

    def __init__(self) -> None:
        self._buffer = bytearray(_ROOM)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._parts = bytearray()

    def space(self) -> memoryview:
        """Where the next bytes go; never empty after all messages were taken."""
        if self._start == self._end:
            self._start = self._end = 0
        elif _ROOM - self._end < PAYLOAD + _HEADER.size:
            rest = bytes(self._view[self._start:self._end])
            self._start, self._end = 0, len(rest)
            self._view[:len(rest)] = rest
        return self._view[self._end:]

    def filled(self, count: int) -> None:
        """So many bytes have come into `space()`."""
        self._end += count

    def take(self) -> tuple[Any] | None:
        """The next message, alone in a tuple; None until more has come.  Raises FrameError; then give the link up."""
        while self._end - self._start >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._buffer, self._start)
            if not 0 < length <= PAYLOAD + 1 or kind > LAST:
                raise FrameError(f"no frame: length {length:,}, kind {kind}")
            begin, end = self._start + _HEADER.size, self._start + _HEADER.size + length - 1
            if end > self._end:
                return None
            self._start = end
            if kind == WHOLE:
                return (decode(self._view[begin:end]),)
            if len(self._parts) + end - begin > LARGEST:
                raise FrameError(f"a message of more than {LARGEST:,} bytes")
            self._parts += self._view[begin:end]
            if kind == LAST:
                parts, self._parts = self._parts, bytearray()
                return (decode(parts),)
        return None


def decode(payload: bytes | memoryview | bytearray) -> Any:
    """What `encode` made a message of.  Raises FrameError."""
    try:
        return msgpack.unpackb(payload, strict_map_key=False, max_array_len=ELEMENTS, max_map_len=ELEMENTS)
    except _MISTAKES as error:
        text = " ".join(str(error).split())[:80]
        raise FrameError(f"no message: {type(error).__name__}{': ' if text else ''}{text}") from error
