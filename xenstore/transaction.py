"""A transaction: a tree that shows the store's with its own changes, and that puts them there at its end, or nothing.

As in the C daemon, it fails where a node that it looked at has been changed by somebody else since, and only then.
"""

from collections import Counter

from abi.errno import Errno, XenError
from abi.types import Domid
from xenstore.tree import HOST, MOST_NODES, Node, Tree, cost

MOST_TOUCHED = 1024
"""Nodes that a transaction may look at or write (the C daemon's --transaction-nb-nodes)."""


class Transaction(Tree):
    """A transaction over `base`: `seen` has the generation of what it looked at, 0 where nothing was."""

    def __init__(self, base: Tree) -> None:
        self.base = base
        self.seen: dict[str, int] = {}
        self.written: dict[str, Node | None] = {}
        self.size = 0
        """Bytes that it takes, about."""
        self.changed = []
        self.owned, self.stored = Counter(), Counter()

    def find(self, path: str) -> Node | None:
        if path in self.written:
            return self.written[path]
        node = self.base.find(path)
        if path not in self.seen:
            if len(self.seen) >= MOST_TOUCHED:
                raise XenError(Errno.ENOSPC)
            self.size += len(path) + 16
            self.seen[path] = 0 if node is None else node.generation
        return node

    def put(self, path: str, node: Node | None) -> None:
        self.count(path, self.find(path), node)
        self.size += len(path) + 16 if node is None else 2 * cost(path, node)  # `changed` has it, too
        self.written[path] = node if node is None else node._replace(generation=self.next_generation())

    def usage(self, domid: Domid) -> tuple[int, int]:
        owned, stored = self.base.usage(domid)
        return owned + self.owned[domid], stored + self.stored[domid]

    def next_generation(self) -> int:
        return self.base.next_generation()

    def commit(self) -> None:
        """Put everything into the base.  Raises XenError: EAGAIN, ENOSPC where quotas have been used up meanwhile."""
        for path, generation in self.seen.items():
            node = self.base.find(path)
            if (0 if node is None else node.generation) != generation:
                raise XenError(Errno.EAGAIN)
        for domid, more in self.owned.items():
            if domid != HOST and more > 0 and self.base.owned[domid] + more > MOST_NODES:
                raise XenError(Errno.ENOSPC)
        for path, new in self.written.items():
            if new is not None or self.base.find(path) is not None:
                self.base.put(path, new)
        self.base.changed += self.changed
