"""A sharing group's bytes on several nodes: what changed travels with the baton, so that all see one memory.

Each node has a `Replica` over a buffer of its own with the same layout.  One of them has the group's baton; only there
are the ranges' bytes written.  To hand it on, it collects what the next node lacks into one `Delta`.

Turns are numbered.  Every cell knows the turn of its last change, and whoever has the baton knows in which turn each
node last had it, and with it everything: a node lacks the cells that were changed later.  So nothing is shipped twice
to a node, whichever way the baton goes round.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple, Self

from state.cells import ENTRY, Cells, PythonCells
from state.ranges import Range, Ranges
from state.standing import OwnStanding, Standing, copy_standing

_CHANGE = Struct("<QQQIIIi")
"""A range in a delta: turn of this change, turn when added, offset, length, first cell, uses (0: removed), home."""


_LAST_TURN = 1 << 63


class DeltaError(ValueError):
    """A delta that does not fit what is here: it came twice, out of order, or from something else.  One line."""


class NotHolderError(RuntimeError):
    """Only the node that has the baton may do this."""


class Delta(NamedTuple):
    """What a node lacks, when it gets the baton.  msgpack takes it as it is, and `read` takes it from msgpack."""

    turn: int
    """The sender's turn, which is over."""
    whole: bool
    """The receiver is new, or was forgotten: it begins with nothing."""
    seen: dict[int, int]
    """The latest turn of each node."""
    ranges: bytes
    """All ranges, where `whole`."""
    changes: bytes
    """Ranges added, counted anew and removed, in order."""
    cells: bytes
    """Which cells follow in `data`."""
    data: bytes

    @property
    def pieces(self) -> int:
        """How many pieces `data` consists of."""
        return len(self.cells) // ENTRY.size

    @classmethod
    def read(cls, message: object) -> Self:
        """A delta that came as a message.  Raises DeltaError."""
        if not isinstance(message, list | tuple) or len(message) != len(cls._fields):
            raise DeltaError("the message is no delta")
        delta = cls(*message)
        kinds = (int, bool, dict, bytes, bytes, bytes, bytes)
        if not all(isinstance(value, kind) for value, kind in zip(delta, kinds, strict=True)) or not all(
                isinstance(number, int) for seen in delta.seen.items() for number in seen):
            raise DeltaError("the message is no delta")
        return delta


class Replica:
    """Node `node`'s copy of a group's bytes in `buffer` (writable).

    `holding`: this node has the baton, as the one on which the group is made; all others get it by a delta.
    """

    def __init__(self, buffer: memoryview, node: int, *, holding: bool,
                 cells: Callable[[memoryview], Cells] = PythonCells) -> None:
        self._buffer, self._node, self._make_cells = buffer.cast("B"), node, cells
        self._standing: Standing = OwnStanding(1 if holding else 0, holding)
        self._begin()

    def _begin(self) -> None:
        self.ranges = Ranges(len(self._buffer))
        self.cells = self._make_cells(self._buffer)
        self._log: list[tuple[int, Range]] = []
        self._fresh: dict[int, Range] = {}
        """By first cell: those of which some node may lack everything."""

    @property
    def holding(self) -> bool:
        """Whether this node has the baton."""
        return self._standing.holding

    @property
    def turn(self) -> int:
        """The turn that it has, or the last that it had."""
        return self._standing.turn

    @property
    def nodes(self) -> set[int]:
        """The nodes that have had the baton, as far as this one knows."""
        return {self._node, *self._standing.seen}

    def keep_in(self, standing: Standing) -> None:
        """Keep the numbers in `standing` from now on."""
        copy_standing(self._standing, standing)
        self._standing = standing

    def add(self, offset: int, length: int, home: int = -1) -> None:
        """Share a range, or count it once more.  `home` is a node known to have the same bytes.

        Raises ValueError where it is not in the buffer or overlaps another range, NotHolderError.
        """
        self._must_hold()
        old = self.ranges.get(offset, length)
        if old is None:
            self._change(Range(offset, length, self.ranges.place(length), self.turn, 1, home))
        else:
            self._change(old._replace(uses=old.uses + 1))

    def remove(self, offset: int, length: int) -> None:
        """Share a range once less; at none its bytes stay as they are on every node.

        Raises ValueError where it is not shared, NotHolderError.
        """
        self._must_hold()
        old = self.ranges.get(offset, length)
        if old is None:
            raise ValueError(f"{length} bytes at {offset:#x} are not shared")
        self._change(old._replace(uses=old.uses - 1))

    def collect(self, peer: int) -> Delta:
        """Hand the baton to node `peer`: what it lacks.  Raises NotHolderError."""
        self._must_hold()
        standing, turn = self._standing, self.turn
        seen = {**standing.seen, self._node: turn}
        since, new = seen.get(peer, 0), peer not in seen
        ranges = b"".join(_packed(turn, entry) for entry in self.ranges) if new else b""
        changes = b"".join(_packed(when, entry) for when, entry in self._log if when > since) if self._log else b""
        recent = self.ranges if new else self._fresh.values()
        lacking = [entry.first for entry in recent if entry.added > since and entry.home != peer]
        index, data = self.cells.collect(since, turn, lacking)
        standing.seen = {peer: turn, **seen}
        standing.holding = False
        self._prune()
        return Delta(turn, new, seen, ranges, changes, index, data)

    def apply(self, delta: Delta) -> None:
        """Take the baton with what came with it.

        Raises DeltaError; the shared bytes are then as they were, but the sender is not to be believed any more.
        """
        if self.holding or not self.turn < delta.turn < _LAST_TURN:
            raise DeltaError(f"node {self._node} at turn {self.turn} cannot take a baton of turn {delta.turn}")
        if delta.whole:
            self._begin()
        elif delta.seen.get(self._node) != self.turn:
            raise DeltaError(f"node {self._node} is at turn {self.turn}, not {delta.seen.get(self._node)}")
        try:
            for _, entry in _unpacked(delta.ranges):
                self._put(entry)
            for change in _unpacked(delta.changes):
                self._note(*change)
                if not delta.whole:  # else it is what the others lack, and its outcome is in `ranges`
                    self._put(change[1])
        except ValueError as error:
            raise DeltaError(str(error)) from error
        if not self.cells.apply(delta.cells, delta.data, delta.turn):
            raise DeltaError(f"pieces of turn {delta.turn} do not fit the ranges of node {self._node}")
        standing = self._standing
        standing.seen = {**delta.seen, self._node: delta.turn}
        standing.turn = delta.turn + 1
        standing.holding = True
        self._prune()

    def reclaim(self, lost: int) -> None:
        """Whoever has the baton is gone, and node `lost` with it: go on from what this node last had.

        To be called on the one node whose `turn` is the highest of those that are left.
        """
        if self.holding:
            raise NotHolderError(f"node {self._node} has the baton already")
        self._standing.holding = True
        self._standing.turn += 2
        self.forget(lost)

    def forget(self, node: int) -> None:
        """A node has left the group.  Where it comes back, it gets everything.  Raises NotHolderError."""
        self._must_hold()
        standing = self._standing
        standing.seen = {other: turn for other, turn in standing.seen.items() if other != node}
        for entry in [entry for entry in self.ranges if entry.home == node]:
            self._change(entry._replace(home=-1))
        self._prune()

    def _change(self, entry: Range) -> None:
        self._put(entry)
        self._note(self.turn, entry)

    def _note(self, when: int, entry: Range) -> None:
        self._log.append((when, entry))
        self._standing.latest = max(self._standing.latest, when)

    def _put(self, entry: Range) -> None:
        """A range is added, counted anew or, without uses, removed."""
        old = self.ranges.put(entry)
        if old is not None and (not entry.uses or old.first != entry.first or old.added != entry.added):
            self.cells.remove(old)
            self._fresh.pop(old.first, None)
            old = None
        if entry.uses and old is None:
            self.cells.add(entry)
            self._fresh[entry.first] = entry
        elif entry.first in self._fresh:
            self._fresh[entry.first] = entry

    def _prune(self) -> None:
        """Forget the changes that every node knows."""
        if self._log or self._fresh:
            known = min(self._standing.seen.values(), default=0)
            if self._log and self._log[0][0] <= known:
                self._log = [change for change in self._log if change[0] > known]
            if any(entry.added <= known for entry in self._fresh.values()):
                self._fresh = {first: entry for first, entry in self._fresh.items() if entry.added > known}

    def _must_hold(self) -> None:
        if not self.holding:
            raise NotHolderError(f"node {self._node} does not have the baton")


def _packed(when: int, entry: Range) -> bytes:
    return _CHANGE.pack(when, entry.added, entry.offset, entry.length, entry.first, entry.uses, entry.home)


def _unpacked(changes: bytes) -> Iterator[tuple[int, Range]]:
    if len(changes) % _CHANGE.size:
        raise ValueError(f"{len(changes)} bytes are no list of ranges")
    for when, added, offset, length, first, uses, home in _CHANGE.iter_unpack(changes):
        yield when, Range(offset, length, first, added, uses, home)
