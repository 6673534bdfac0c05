"""Some nodes with a buffer each, one of which has the baton, beside the one memory that they are to be like."""

import random
from collections.abc import Callable, Sequence

import msgpack

from state.cells import Cells, PythonCells
from state.replica import Delta, Replica

MakeCells = Callable[[memoryview], Cells]
SIZE = 64 * 1024


class Cluster:
    """`nodes` nodes with buffers of SIZE bytes; node 0 begins with the baton.

    `kinds` says how each node keeps its cells (the last for all others).  Bytes that are not shared differ everywhere.
    """

    def __init__(self, nodes: int, kinds: Sequence[MakeCells] = (PythonCells,), size: int = SIZE) -> None:
        noise = random.Random(nodes)
        self.size = size
        self.buffers = [bytearray(noise.randbytes(size)) for _ in range(nodes)]
        self.private = [bytes(buffer) for buffer in self.buffers]
        self.replicas = [Replica(memoryview(buffer), node, holding=not node, cells=kinds[min(node, len(kinds) - 1)])
                         for node, buffer in enumerate(self.buffers)]
        self.holder = 0
        self.one_memory = bytearray(size)
        """What one memory has in the bytes that are shared."""
        self.counts: dict[tuple[int, int], int] = {}
        """How often each range is shared."""
        self.messages: list[bytes] = []

    @property
    def replica(self) -> Replica:
        """The holder's."""
        return self.replicas[self.holder]

    def share(self, offset: int, length: int, home: int = -1) -> None:
        self.replica.add(offset, length, home)
        self.counts[offset, length] = self.counts.get((offset, length), 0) + 1
        self.one_memory[offset:offset + length] = self.buffers[self.holder][offset:offset + length]

    def unshare(self, offset: int, length: int) -> None:
        self.replica.remove(offset, length)
        self.counts[offset, length] -= 1
        if not self.counts[offset, length]:
            del self.counts[offset, length]

    def write(self, at: int, data: bytes) -> None:
        """A guest writes: into shared bytes alone."""
        for offset, length in self.counts:
            start, end = max(at, offset), min(at + len(data), offset + length)
            if start < end:
                for memory in (self.buffers[self.holder], self.one_memory):
                    memory[start:end] = data[start - at:end - at]

    def hand_over(self, node: int) -> Delta:
        """The baton goes to another node, packed as it goes over the link."""
        message = msgpack.packb(self.replica.collect(node))
        self.messages.append(message)
        delta = Delta.read(msgpack.unpackb(message, strict_map_key=False))
        self.replicas[node].apply(delta)
        self.holder = node
        return delta

    def agrees(self, memory: bytes | bytearray | None = None) -> bool:
        """The holder has in every shared byte what one memory has, and counts the ranges right."""
        expected = self.one_memory if memory is None else memory
        holder = self.buffers[self.holder]
        ranges = {(found.offset, found.length): found.uses for found in self.replica.ranges}
        return ranges == self.counts and all(
            holder[at:at + length] == expected[at:at + length] for at, length in self.counts)
