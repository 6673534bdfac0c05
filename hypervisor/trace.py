"""The canonical trace: every hypercall, event, upcall, start and stop of each domain, in the host's time.

Two runs are equal where their traces are equal byte for byte, so the trace is hashed while it is made: each domain has
a stream of binary records, of which every 64 KiB are folded into a chain, digest = SHA-256(digest before, 64 KiB), that
begins with 32 zero bytes; the rest is the last link.  So a stream that is to go on elsewhere is 32 bytes and that rest.
Memory is constant.  A `sink` receives the raw bytes of the stream, for a trace that is kept.

A record belongs to the stream of the domain that caused it (the caller of a hypercall, the sender of an event), so the
process that runs a domain makes all of that domain's stream, wherever the others run.

A record, little-endian and packed: time (u64, nanoseconds), kind | value << 8 (u32), vcpu_id (u16), then u64s: for a
hypercall its arguments and its result (`value` is its number), for everything else two words of payload.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from abi.types import Domid, Port, VcpuId

FOLD_AT = 64 * 1024
"""Bytes of a stream that make a link of its digest's chain."""
_BEGINNING = bytes(32)
MAX_ARGUMENTS = 6


class Kind(IntEnum):
    START = 1
    """A vCPU begins to run.  No payload."""
    STOP = 2
    """The domain ended.  Payload: SHUTDOWN_* of xen/sched.h."""
    EVENT = 3
    """A port was made pending.  Payload: domid of the receiver, its port."""
    UPCALL = 4
    """The guest was interrupted for its events.  Payload: the vector, or 0 for a PV callback."""
    HYPERCALL = 16
    """A hypercall from 64-bit mode; the kind is this plus the number of arguments."""
    HYPERCALL_32 = 32
    """The same from 32-bit mode."""


class Record(NamedTuple):
    """One decoded record."""

    time: int
    kind: Kind
    vcpu: int
    number: int
    """The hypercall's number; 0 for other kinds."""
    payload: tuple[int, ...]
    """A hypercall's arguments, or the words of another kind."""
    result: int = 0
    """What a hypercall returned, unsigned."""


_PLAIN = Struct("<QIHQQ")
_CALL = tuple(Struct("<QIH" + "Q" * (count + 1)) for count in range(MAX_ARGUMENTS + 1))
_PACK_PLAIN, _EVENT, _UPCALL = _PLAIN.pack, int(Kind.EVENT), int(Kind.UPCALL)
_HEAD = Struct("<QI")
_STRUCTS = {int(kind): _PLAIN for kind in (Kind.START, Kind.STOP, Kind.EVENT, Kind.UPCALL)} | {
    base + count: _CALL[count] for base in (Kind.HYPERCALL, Kind.HYPERCALL_32) for count in range(MAX_ARGUMENTS + 1)}


def hypercall_packer(number: int, arguments: int, width: int) -> tuple[Callable[..., bytes], int]:
    """How to make the record of one hypercall: `pack(time, head, vcpu_id, *arguments, result)`, and its `head`.

    The dispatcher keeps these by hypercall, so that a record costs one `pack` and one append.
    """
    base = Kind.HYPERCALL if width == 64 else Kind.HYPERCALL_32
    return _CALL[arguments].pack, base + arguments | (number & 0xFFFFFF) << 8


class Trace:
    """The streams of the domains that run in this process.

    `buffers[domid]` holds what is not folded yet.  Whoever appends to it calls `fold(domid)` once it has FOLD_AT bytes.
    `sink(domid, data)` is called with each piece of a stream, in order; a record may begin in one and end in the next.
    """

    def __init__(self, sink: Callable[[Domid, bytes], object] | None = None) -> None:
        self.buffers: defaultdict[Domid, bytearray] = defaultdict(bytearray)
        self._links: dict[Domid, bytes] = {}
        self._sink = sink
        self._given: dict[Domid, int] = {}
        """How much of a buffer the sink has got."""

    def start(self, domid: Domid, time: int, vcpu: VcpuId) -> None:
        """A vCPU of `domid` begins to run at `time` (nanoseconds)."""
        self._plain(domid, time, Kind.START, vcpu)

    def stop(self, domid: Domid, time: int, vcpu: VcpuId, reason: int) -> None:
        """The domain ended with `reason` (SHUTDOWN_*) on `vcpu`."""
        self._plain(domid, time, Kind.STOP, vcpu, reason)

    def event(self, domid: Domid, time: int, vcpu: VcpuId, receiver: Domid, port: Port) -> None:
        """`domid`'s vCPU (or its timer, or its console) made `port` of `receiver` pending."""
        buffer = self.buffers[domid]
        buffer += _PACK_PLAIN(time, _EVENT, vcpu, receiver, port)
        if len(buffer) >= FOLD_AT:
            self.fold(domid)

    def upcall(self, domid: Domid, time: int, vcpu: VcpuId, vector: int) -> None:
        """The vCPU is interrupted through `vector`."""
        buffer = self.buffers[domid]
        buffer += _PACK_PLAIN(time, _UPCALL, vcpu, vector, 0)
        if len(buffer) >= FOLD_AT:
            self.fold(domid)

    def hypercall(self, domid: Domid, time: int, vcpu: VcpuId, width: int, number: int,
                  arguments: Sequence[int], result: int) -> None:
        """A hypercall and its result, both unsigned.  For callers that do not keep a packer."""
        pack, head = hypercall_packer(number, len(arguments), width)
        buffer = self.buffers[domid]
        buffer += pack(time, head, vcpu, *arguments, result)
        if len(buffer) >= FOLD_AT:
            self.fold(domid)

    def _plain(self, domid: Domid, time: int, kind: Kind, vcpu: VcpuId, first: int = 0, second: int = 0) -> None:
        self.buffers[domid] += _PLAIN.pack(time, kind, vcpu, first, second)

    def fold(self, domid: Domid) -> None:
        """Hash, and hand to the sink, every full link that the stream of `domid` has collected."""
        buffer = self.buffers[domid]
        whole = len(buffer) - len(buffer) % FOLD_AT
        self._give(domid, whole)
        for at in range(0, whole, FOLD_AT):
            self._links[domid] = self._link(domid, buffer[at:at + FOLD_AT])
        if whole:
            del buffer[:whole]
            self._given[domid] = max(self._given.get(domid, 0) - whole, 0)

    def _link(self, domid: Domid, data: bytes | bytearray) -> bytes:
        return hashlib.sha256(self._links.get(domid, _BEGINNING) + data).digest()

    def _give(self, domid: Domid, end: int) -> None:
        """The sink gets a buffer up to `end`."""
        given = self._given.get(domid, 0)
        if self._sink is not None and end > given:
            self._sink(domid, bytes(self.buffers[domid][given:end]))
            self._given[domid] = end

    def finish(self) -> None:
        """Let the sink have everything."""
        for domid in sorted(self.buffers):
            self.fold(domid)
            self._give(domid, len(self.buffers[domid]))

    def digest(self, domid: Domid) -> bytes:
        """The digest of all records of one domain so far."""
        self.fold(domid)
        return self._link(domid, self.buffers[domid])

    def save(self, domid: Domid) -> tuple[bytes, bytes, int]:
        """A stream, to go on elsewhere: its last link, the bytes behind it, and how many of these the sink has got."""
        self.fold(domid)
        return self._links.get(domid, _BEGINNING), bytes(self.buffers[domid]), self._given.get(domid, 0)

    def restore(self, domid: Domid, saved: tuple[bytes, bytes, int]) -> None:
        """Go on with a stream that was saved.  Raises ValueError where that is none."""
        link, rest, given = saved
        if len(link) != len(_BEGINNING) or not 0 <= given <= len(rest) < FOLD_AT:
            raise ValueError("expected the state of a trace's stream")
        self._links[domid], self.buffers[domid], self._given[domid] = link, bytearray(rest), given

    def forget(self, domid: Domid) -> None:
        """Drop the stream of a domain that is gone, so that its number can be given again."""
        for part in (self.buffers, self._links, self._given):
            part.pop(domid, None)


def run_digest(streams: Iterable[tuple[Domid, str, bytes]]) -> str:
    """The digest of a whole run, in hexadecimal, from (domid, name, digest of its stream) of every domain."""
    whole = hashlib.sha256()
    for domid, name, digest in sorted(streams):
        encoded = name.encode()
        whole.update(Struct("<HI").pack(domid, len(encoded)) + encoded + digest)
    return whole.hexdigest()


def records(data: bytes | bytearray | memoryview) -> Iterator[Record]:
    """The records of one stream.  Raises ValueError where the bytes are no records."""
    at = 0
    while at < len(data):
        found = _record(data, at)
        if found is None:
            raise ValueError(f"no trace record at byte {at}")
        record, at = found
        yield record


def joined_records(pieces: Iterable[bytes]) -> Iterator[Record]:
    """The records of one stream from the pieces that a sink got.  Raises ValueError as `records`."""
    rest = b""
    for piece in pieces:
        data, at = rest + piece, 0
        while (found := _record(data, at)) is not None:
            record, at = found
            yield record
        rest = data[at:]
    yield from records(rest)


def _record(data: bytes | bytearray | memoryview, at: int) -> tuple[Record, int] | None:
    """The record at byte `at`, and where it ends; None where there is none, or not all of it."""
    if len(data) - at < _HEAD.size or (shape := _STRUCTS.get(data[at + 8])) is None or len(data) - at < shape.size:
        return None
    time, head, vcpu, *words = shape.unpack_from(data, at)
    kind = head & 0xFF
    if kind < Kind.HYPERCALL:
        return Record(time, Kind(kind), vcpu, 0, tuple(words)), at + shape.size
    base = Kind.HYPERCALL if kind < Kind.HYPERCALL_32 else Kind.HYPERCALL_32
    return Record(time, base, vcpu, head >> 8, tuple(words[:-1]), words[-1]), at + shape.size
