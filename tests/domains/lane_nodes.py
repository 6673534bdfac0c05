"""Nodes with two domains of one team and a lane each, in one process, for tests."""

from collections.abc import Sequence

import msgpack

from domains.lane import Lane, Watch
from domains.lanes import Lanes
from domains.native_cells import NativeCells, cells_factory
from domains.seat import BatonTable
from hypervisor.host_state import HostTable
from state.replica import Delta, Replica

SIZE = 1 << 16
RANGES = {1: [(0, 200), (1000, 1), (4096, 4096)], 2: [(300, 65), (8192, 8192)]}
"""By domid."""
WATCHED = 60_000
TEAM, TOPOLOGY = 1, 7


class OpenWire:
    """Links that lead nowhere; the test carries messages."""

    def __init__(self, me: int, settings: object) -> None:
        self.port, self.bell, self.links = 1000 + me, 1, True

    def send(self, process: int, message: bytes) -> None:
        raise NotImplementedError

    look = receive = broken = send  # type: ignore[assignment]

    def reaches(self, process: int, address: object) -> bool:
        return self.links


class NodeWithLane:
    """Node `number` of `nodes`; its only process is `number` + 1."""

    def __init__(self, number: int, nodes: int) -> None:
        self.number, self.row = number, number + 1
        self.buffer = bytearray(SIZE)
        self.view = memoryview(self.buffer)
        self.replicas = {domid: Replica(self.view, number, holding=number == 0, cells=cells_factory())
                         for domid in RANGES}
        self.table, self.host = BatonTable.private(1 + nodes), HostTable.private(1)
        for node in range(nodes):
            self.table.node[1 + node] = node
        self.table.topology[0] = self.host.topology[0] = TOPOLOGY
        self.round(3)
        self.forwarded: list[bytes] = []
        self.lanes = Lanes(self.table, self.row, self.host, self.view, self, OpenWire)

    def ring(self) -> None:
        """There is no agent."""

    def forward(self, message: bytes) -> None:
        self.forwarded.append(message)

    def round(self, number: int) -> None:
        """A round begins, and all know of it."""
        self.table.told[0] = self.host.round[0] = number

    def make(self, pid: int) -> None:
        """Make the lane, and let this node's process and the others' know of it."""
        rooms = {}
        for domid, replica in self.replicas.items():
            assert isinstance(replica.cells, NativeCells)
            rooms[domid] = replica.cells.room + 10
        nodes = self.table.rows - 1
        self.lane = Lane.make(self.number, TEAM, nodes, TOPOLOGY, rooms, [Watch(WATCHED, 8), Watch(WATCHED + 20, 1)], 0)
        for index, replica in enumerate(self.replicas.values()):
            assert isinstance(replica.cells, NativeCells)
            replica.cells.keep_in(self.lane.columns(index), self.lane.room(index), self.lane.counter(index),
                                  self.lane.invalidate)
            replica.keep_in(self.lane.standing(index))
        self.lane.remember(self.view)
        self.lane.valid = True
        for node in range(nodes):
            self.lane.set_ready(node, {1 + node: ["here", 1]})
        self.table.pid[0] = pid
        self.table.lane[self.row], self.table.made[self.row] = self.lane.file, 1
        assert self.lanes.open()

    # -- the agent's way

    def collect(self, peer: int) -> bytes:
        packed: bytes = msgpack.packb([(domid, replica.collect(peer), None)
                                       for domid, replica in self.replicas.items()])
        return packed

    def apply(self, parcels: Sequence[object]) -> None:
        for domid, delta, _ in parcels:  # type: ignore[misc]
            self.replicas[domid].apply(Delta.read(delta))

    def state(self) -> object:
        """All that a message may change."""
        return bytes(self.buffer), [(replica.turn, replica.holding) for replica in self.replicas.values()], \
            [dict(self.lane.standing(part).seen) for part in range(self.lane.parts)]


def nodes_with_lanes(count: int, pid: int) -> list[NodeWithLane]:
    """Nodes that have all been handed the baton; the first has it."""
    nodes = [NodeWithLane(number, count) for number in range(count)]
    for domid, ranges in RANGES.items():
        for offset, length in ranges:
            nodes[0].replicas[domid].add(offset, length)
    for turn in range(2 * count):
        source, target = nodes[turn % count], nodes[(turn + 1) % count]
        target.apply(msgpack.unpackb(source.collect(target.number), strict_map_key=False))
    for node in nodes:
        node.make(pid)
    return nodes
