"""The memory in which a node's agent and the processes of one team there have the state that travels with its baton.

With it the process that has the baton finds what another node lacks, and the process there that gets it writes that,
without either node's agent (`domains.lanes`).  A *lane* has the numbers of the replicas of the team's domains and the
columns of their cells, of which `state.replica` says what they are.  The agent makes it, in a file that the others open
through /proc, and its own replicas read and write the same memory.  lane.c has what is done with it.
"""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgpack

from abi.types import PAGE_SIZE
from domains.native_cells import WIDTHS

_VALID, _BANK, _TEAM, _ME, _NODES, _PARTS, _WATCHES, _NUMBERS, _ROWS, _LIST = range(10)
_TOPOLOGY, _SENT, _READY, _PEERS, _END = 16, 17, 18, 19, 20
"""What only Python reads: the topology of the team, where the counters are, which nodes are ready, who has which
address."""
_PART, _WATCH = 8, 3
_FIXED = 3
_ADDRESSES = 64 << 10
"""Bytes for the addresses of the processes of other nodes."""
MOST = 60 << 10
"""Bytes of a message, at most: it has to fit into one frame of the link."""


class Watch(NamedTuple):
    """Bytes of the node's memory that have to be as they were."""

    offset: int
    length: int


class Sent(NamedTuple):
    """What went to one node."""

    hand_overs: int
    bytes: int


class Lane:
    """A lane in `file`, of which `view` is the content."""

    def __init__(self, file: int, view: memoryview) -> None:
        self.file, self.bytes = file, view
        self._q: memoryview[int] = view.cast("Q")
        q = self._q
        self.team, self.nodes, self.parts, self.topology = q[_TEAM], q[_NODES], q[_PARTS], q[_TOPOLOGY]
        self._size = _FIXED + self.nodes

    @classmethod
    def make(cls, me: int, team: int, nodes: int, topology: int, rooms: Mapping[int, int],
             watched: Sequence[Watch], settings: Any) -> Self:
        """A lane of node `me` for the domains in `rooms`, with room for so many cells each; not valid yet.

        `settings` are for the processes: anything that msgpack takes.  Raises OSError.
        """
        counters = 3 * nodes
        numbers = 8 * (_END + counters)
        rows = numbers + 2 * 8 * len(rooms) * (_FIXED + nodes)
        watches = rows + 8 * _PART * len(rooms)
        expected = watches + 8 * _WATCH * len(watched)
        at = peers = _aligned(expected + sum(watch.length for watch in watched))
        at += _ADDRESSES
        places = []
        for room in rooms.values():
            columns = []
            for width in WIDTHS.values():
                columns.append(at)
                at = _aligned(at + room * width)
            places.append(columns)
        file = os.memfd_create("domus-lane")
        os.ftruncate(file, at + -at % PAGE_SIZE)
        view = memoryview(mmap.mmap(file, 0))
        q = view.cast("Q")
        q[_BANK], q[_TEAM], q[_ME], q[_NODES], q[_PARTS], q[_WATCHES] = 0, team, me, nodes, len(rooms), len(watched)
        q[_NUMBERS], q[_ROWS], q[_LIST], q[_PEERS] = numbers, rows, watches, peers
        q[_TOPOLOGY], q[_SENT] = topology, _END
        for index, (domid, columns) in enumerate(zip(rooms, places, strict=True)):
            row = rows // 8 + index * _PART
            for place, value in enumerate((domid, rooms[domid], 0, *columns)):
                q[row + place] = value
        for index, watch in enumerate(watched):
            row = watches // 8 + index * _WATCH
            q[row], q[row + 1], q[row + 2] = watch.offset, watch.length, expected
            expected += watch.length
        lane = cls(file, view)
        lane._write_peers({"settings": settings, "addresses": {}})
        return lane

    @classmethod
    def open(cls, path: str) -> Self:
        """What another process has made.  Raises OSError."""
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return cls(-1, memoryview(mmap.mmap(file, 0)))
        finally:
            os.close(file)

    # -- what concerns all of it

    @property
    def valid(self) -> bool:
        """Whether the processes may use it."""
        return bool(self._q[_VALID])

    @valid.setter
    def valid(self, valid: bool) -> None:
        self._q[_VALID] = valid

    def invalidate(self) -> None:
        """The processes may use it no more."""
        self.valid = False

    def remember(self, buffer: memoryview) -> None:
        """The bytes that are watched are to be as they are now in the node's memory."""
        q, row = self._q, self._q[_LIST] // 8
        for at in range(row, row + q[_WATCHES] * _WATCH, _WATCH):
            self.bytes[q[at + 2]:q[at + 2] + q[at + 1]] = buffer[q[at]:q[at] + q[at + 1]]

    # -- who else is there

    @property
    def settings(self) -> Any:
        """What `make` was given."""
        return self._read_peers()["settings"]

    def addresses(self) -> dict[int, Any]:
        """By process of another node, its address."""
        found: dict[int, Any] = self._read_peers()["addresses"]
        return found

    def ready(self, node: int) -> bool:
        """Whether that node has such a lane, too."""
        return node < self.nodes and bool(self._q[_END + 2 * self.nodes + node])

    def set_ready(self, node: int, addresses: Mapping[int, Any]) -> None:
        """That node has one, and these are the addresses of its processes; none: it has no lane any more."""
        found = self._read_peers()
        if addresses:
            found["addresses"].update(addresses)
            self._write_peers(found)
        if 0 <= node < self.nodes:
            self._q[_END + 2 * self.nodes + node] = bool(addresses)

    def _read_peers(self) -> Any:
        at = self._q[_PEERS]
        length = int.from_bytes(self.bytes[at:at + 4], "little")
        return msgpack.unpackb(self.bytes[at + 4:at + 4 + length], strict_map_key=False)

    def _write_peers(self, content: Any) -> None:
        at, packed = self._q[_PEERS], msgpack.packb(content)
        if len(packed) > _ADDRESSES - 4:
            raise OSError(f"{len(packed)} bytes of addresses are too many for a lane")
        self.bytes[at:at + 4 + len(packed)] = len(packed).to_bytes(4, "little") + packed

    # -- what went this way

    def count(self, node: int, size: int) -> None:
        """A hand-over to a node, of `size` bytes."""
        self._q[_END + node] += 1
        self._q[_END + self.nodes + node] += size

    def sent(self, node: int) -> Sent:
        """All that went there."""
        if node >= self.nodes:
            return Sent(0, 0)
        return Sent(self._q[_END + node], self._q[_END + self.nodes + node])

    # -- the parts

    @property
    def largest(self) -> int:
        """The most cells that a part has room for."""
        row = self._q[_ROWS] // 8
        return max(self._q[row + part * _PART + 1] for part in range(self.parts))

    def columns(self, part: int) -> dict[str, memoryview]:
        """A part's columns."""
        row = self._q[_ROWS] // 8 + part * _PART
        room = self._q[row + 1]
        return {name: self.bytes[at:at + room * width]
                for (name, width), at in zip(WIDTHS.items(), self._q[row + 3:row + _PART], strict=True)}

    def room(self, part: int) -> int:
        """How many cells a part has room for."""
        return self._q[self._q[_ROWS] // 8 + part * _PART + 1]

    def counter(self, part: int) -> "memoryview[int]":
        """Where a part's cells are counted."""
        row = self._q[_ROWS] // 8 + part * _PART
        return self._q[row + 2:row + 3]

    def standing(self, part: int) -> "LaneStanding":
        """A part's numbers."""
        return LaneStanding(self._numbers, part * self._size, self.nodes)

    def _numbers(self) -> "memoryview[int]":
        """The bank in use."""
        size = self.parts * self._size
        at = self._q[_NUMBERS] // 8 + self._q[_BANK] * size
        return self._q[at:at + size]


class LaneStanding:
    """`state.standing.Standing` in a lane; a turn of 0 says that a node never had one."""

    def __init__(self, numbers: Callable[[], "memoryview[int]"], at: int, nodes: int) -> None:
        self._numbers, self._at, self._nodes = numbers, at, nodes

    @property
    def turn(self) -> int:
        return self._numbers()[self._at]

    @turn.setter
    def turn(self, turn: int) -> None:
        self._numbers()[self._at] = turn

    @property
    def holding(self) -> bool:
        return bool(self._numbers()[self._at + 1])

    @holding.setter
    def holding(self, holding: bool) -> None:
        self._numbers()[self._at + 1] = holding

    @property
    def latest(self) -> int:
        return self._numbers()[self._at + 2]

    @latest.setter
    def latest(self, turn: int) -> None:
        self._numbers()[self._at + 2] = turn

    @property
    def seen(self) -> Mapping[int, int]:
        first = self._at + _FIXED
        turns = self._numbers()[first:first + self._nodes]
        return {node: turn for node, turn in enumerate(turns) if turn}

    @seen.setter
    def seen(self, seen: Mapping[int, int]) -> None:
        numbers, first = self._numbers(), self._at + _FIXED
        for node in range(self._nodes):
            numbers[first + node] = seen.get(node, 0)


def _aligned(size: int) -> int:
    return size + -size % 64
