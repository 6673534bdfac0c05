"""The store's state as bytes that all processes of a host share.

Whoever has the baton serves the store: it loads what another process has kept since, and keeps what it has changed.
There are two halves, of which one is valid: a process that dies while it writes leaves the other as it was.
"""

from typing import Any

import msgpack  # type: ignore[import-untyped, unused-ignore]

from abi.types import Domid
from xenstore.connection import Connection, Watch
from xenstore.transaction import Transaction
from xenstore.tree import Change, Node, Permission, Tree

_HEADER = 64


class SharedState:
    """`data` is all zero where nothing was kept yet: `version`, the sizes of both halves, and the halves."""

    def __init__(self, data: memoryview) -> None:
        self._half = (len(data) - _HEADER) // 2
        self._words = data[:_HEADER].cast("Q")
        self._bytes = data
        self._mine = 0
        """The version that this process has in memory."""
        self._tree = Tree()
        self._packed = -1, b""
        """The generation of a tree, and that tree, packed."""

    @property
    def version(self) -> int:
        """How often anything was kept."""
        return self._words[0]

    def load(self) -> tuple[Tree, dict[Domid, Connection]] | None:
        """The state, where another process has kept it last; None where this one did, or nobody yet."""
        version = self.version
        if version == self._mine:
            return None
        self._mine = version
        start = self._start(version)
        self._packed, connections = _unpack(self._bytes[start:start + self._words[1 + version % 2]])
        if self._tree.generation != self._packed[0]:  # every change of a tree gives it another
            self._tree = _tree(_unpack(self._packed[1]))
        return self._tree, _connections(self._tree, connections)

    def keep(self, tree: Tree, connections: dict[Domid, Connection]) -> None:
        """Let the others find this state."""
        version, self._tree = self.version + 1, tree
        if self._packed[0] != tree.generation:
            self._packed = tree.generation, msgpack.packb(
                (tree.generation, tree.nodes, dict(tree.owned), dict(tree.stored)))
        data: bytes = msgpack.packb((self._packed, _plain(connections)))
        assert len(data) <= self._half, "the quotas leave room"
        start = self._start(version)
        self._bytes[start:start + len(data)] = data
        self._words[1 + version % 2] = len(data)
        self._words[0] = self._mine = version

    def _start(self, version: int) -> int:
        return _HEADER + version % 2 * self._half


def _unpack(data: "bytes | memoryview") -> Any:
    return msgpack.unpackb(data, strict_map_key=False, use_list=False)


def _plain(connections: dict[Domid, Connection]) -> Any:
    return [(each.domid, each.watches, each.next_transaction, each.received, each.waiting, each.broken,
             each.positions,
             [(number, part.seen, part.written, part.changed, part.size, dict(part.owned), dict(part.stored))
              for number, part in each.transactions.items()])
            for each in connections.values()]


def _tree(state: Any) -> Tree:
    tree = Tree()
    tree.generation, nodes, owned, stored = state
    tree.nodes = {path: _node(node) for path, node in nodes.items()}
    for counter, counts in ((tree.owned, owned), (tree.stored, stored)):
        counter.clear()
        counter.update(counts)
    return tree


def _connections(tree: Tree, kept: Any) -> dict[Domid, Connection]:
    connections = {}
    for domid, watches, number, received, waiting, broken, positions, transactions in kept:
        connection = connections[domid] = Connection(domid)
        connection.watches = [Watch(*watch) for watch in watches]
        connection.next_transaction, connection.broken = number, broken
        connection.received, connection.waiting, connection.positions = received, waiting, tuple(positions)
        for name, *facts in transactions:
            connection.transactions[name] = _transaction(tree, *facts)
    return connections


def _transaction(tree: Tree, seen: Any, written: Any, changed: Any, size: int, owned: Any, stored: Any) -> Transaction:
    transaction = Transaction(tree)
    transaction.seen, transaction.size = seen, size
    transaction.written = {path: None if node is None else _node(node) for path, node in written.items()}
    transaction.changed = [Change(path, _node(node), exact) for path, node, exact in changed]
    transaction.owned.update(owned)
    transaction.stored.update(stored)
    return transaction


def _node(packed: Any) -> Node:
    value, permissions, children, generation = packed
    return Node(value, tuple(Permission(*entry) for entry in permissions), children, generation)
