"""The store's tree: nodes by their absolute path, each with a value, permissions, and its children in order of birth.

Errors are those of docs/misc/xenstore.txt and of the C daemon.  `transaction` has a tree over a tree.
"""

from collections import Counter
from typing import NamedTuple

from abi.errno import Errno, XenError
from abi.types import Domid
from abi.xenstore import XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX

HOST = Domid(0)
NONE, READ, WRITE, BOTH = "n", "r", "w", "b"
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_@")
MOST_VALUE = 2048
"""Bytes of a guest's value (the C daemon's --entry-size)."""
MOST_NODES = 1000
"""That a guest may own (--entry-nb)."""
MOST_PERMISSIONS = 5
"""Of a node, where a guest sets them (--perm-nb)."""
MOST_STORED = 1 << 19
"""Bytes that all of a guest's nodes may take: the store's memory is shared between processes, and has an end."""


class Permission(NamedTuple):
    """The first of a node names its owner, with what those not named may do."""

    domid: Domid
    access: str


class Node(NamedTuple):
    value: bytes
    permissions: tuple[Permission, ...]
    children: tuple[str, ...] = ()
    generation: int = 0
    """The tree's when the node was last changed; no two changes have the same."""

    @property
    def owner(self) -> Domid:
        return self.permissions[0].domid


class Change(NamedTuple):
    """What watches may hear of."""

    path: str
    node: Node
    """As it is now, or was before it was removed: who may read it may hear of it."""
    exact: bool = False
    """It went with a node above: only watches of this very path have not heard of it."""


def absolute(domid: Domid, path: str, *, special: bool = False) -> str:
    """A guest's path, relative to its home unless it begins with /.  `special`: @releaseDomain and such are paths too.

    Raises XenError(EINVAL).
    """
    limit = XENSTORE_ABS_PATH_MAX if path.startswith("/") else XENSTORE_REL_PATH_MAX
    if not path or len(path) > limit or not _ALLOWED.issuperset(path) or "//" in path:
        raise XenError(Errno.EINVAL)
    if path.startswith("@"):
        if not special:
            raise XenError(Errno.EINVAL)
        return path
    if path != "/" and path.endswith("/"):
        raise XenError(Errno.EINVAL)
    return path if path.startswith("/") else f"{home(domid)}/{path}"


def home(domid: Domid) -> str:
    """Where a domain's own part of the tree is."""
    return f"/local/domain/{domid}"


def parent(path: str) -> str:
    """The node above."""
    return path.rpartition("/")[0] or "/"


def may(domid: Domid, node: Node, access: str) -> bool:
    """Whether a domain may read or write a node."""
    if domid in (HOST, node.owner):
        return True
    granted = next((entry.access for entry in node.permissions[1:] if entry.domid == domid), node.permissions[0].access)
    return granted in (access, BOTH)


def cost(path: str, node: Node) -> int:
    """Bytes that a node is counted for."""
    return 2 * len(path) + len(node.value) + 16 * len(node.permissions) + 32


class Tree:
    """`changed` collects what watches have to hear of; `owned` and `stored` count domains' nodes and their bytes."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.changed: list[Change] = []
        self.owned, self.stored = Counter[int](), Counter[int]()
        self.generation = 0
        self.put("/", Node(b"", (Permission(HOST, NONE),)))

    # What a transaction does in another way.

    def find(self, path: str) -> Node | None:
        """The node, whoever may see it."""
        return self.nodes.get(path)

    def put(self, path: str, node: Node | None) -> None:
        """Set a node, or take it away, without any check; its parent is the caller's business."""
        self.count(path, self.nodes.get(path), node)
        if node is None:
            del self.nodes[path]
        else:
            self.nodes[path] = node._replace(generation=self.next_generation())

    def usage(self, domid: Domid) -> tuple[int, int]:
        """How many nodes a domain owns, and their bytes."""
        return self.owned[domid], self.stored[domid]

    def next_generation(self) -> int:
        """A number that no node has."""
        self.generation += 1
        return self.generation

    # What a domain does.

    def read(self, domid: Domid, path: str) -> Node:
        """Raises XenError: ENOENT, EACCES."""
        return self._get(domid, path, READ)

    def write(self, domid: Domid, path: str, value: bytes) -> None:
        """Set a value; what is missing above is made.  Raises XenError: EACCES, ENOSPC."""
        if domid != HOST and len(value) > MOST_VALUE:
            raise XenError(Errno.ENOSPC)
        node = self.find(path)
        if node is None:
            self._create(domid, path, value)
            return
        if not may(domid, node, WRITE):
            raise XenError(Errno.EACCES)
        self._change(domid, path, node, node._replace(value=value))

    def make(self, domid: Domid, path: str) -> None:
        """A node with no value, if there is none (MKDIR).  Raises XenError as `write`."""
        if self.find(path) is None:
            self._create(domid, path, b"")
        else:
            self._get(domid, path, WRITE)

    def remove(self, domid: Domid, path: str) -> None:
        """A node and all below it.  Raises XenError: ENOENT where not even the node above is there, EACCES, EINVAL."""
        if path == "/":
            raise XenError(Errno.EINVAL)
        if self.find(path) is None:
            self._get(domid, parent(path), WRITE)
            return
        node = self._get(domid, path, WRITE)
        self.changed.append(Change(path, node))
        for gone in self.below(path):
            lost = self.find(gone)
            assert lost is not None
            self.changed.append(Change(gone, lost, exact=True))
            self.put(gone, None)
        self.put(path, None)
        above, name = self.find(parent(path)), path.rpartition("/")[2]
        assert above is not None
        self.put(parent(path), above._replace(children=tuple(child for child in above.children if child != name)))

    def set_permissions(self, domid: Domid, path: str, permissions: tuple[Permission, ...]) -> None:
        """Only its owner gives rights to a node, and cannot give it away.

        Raises XenError: ENOENT, EACCES, EPERM, ENOSPC.
        """
        if domid != HOST and len(permissions) > MOST_PERMISSIONS:
            raise XenError(Errno.ENOSPC)
        node = self._get(domid, path, WRITE)
        if domid not in (HOST, node.owner):
            raise XenError(Errno.EACCES)
        if domid != HOST and permissions[0].domid != domid:
            raise XenError(Errno.EPERM)
        self._change(domid, path, node, node._replace(permissions=permissions))

    def below(self, path: str) -> list[str]:
        """All paths under one, the deepest of each branch last."""
        found = []
        node = self.find(path)
        for child in node.children if node is not None else ():
            at = f"{path.rstrip('/')}/{child}"
            found += [at, *self.below(at)]
        return found

    # Steps of these.

    def _get(self, domid: Domid, path: str, access: str) -> Node:
        node = self.find(path)
        if node is None:
            # Who may not even read what is above learns nothing of what is not there.
            raise XenError(Errno.ENOENT if may(domid, self._above(path)[1], READ) else Errno.EACCES)
        if not may(domid, node, access):
            raise XenError(Errno.EACCES)
        return node

    def _above(self, path: str) -> tuple[str, Node]:
        """The nearest node above that is there."""
        path = parent(path)
        while (node := self.find(path)) is None:
            path = parent(path)
        return path, node

    def _create(self, domid: Domid, path: str, value: bytes) -> None:
        at, above = self._above(path)
        if not may(domid, above, WRITE):
            raise XenError(Errno.EACCES)
        names = path[len(at.rstrip("/")) + 1:].split("/")
        permissions = above.permissions
        if domid != HOST:
            permissions = (Permission(domid, permissions[0].access), *permissions[1:])
        made: list[tuple[str, Node]] = []
        for index, name in enumerate(names):
            below = tuple(names[index + 1:index + 2])
            made.append((f"{made[-1][0] if made else at.rstrip('/')}/{name}", Node(b"", permissions, below)))
        made[-1] = path, made[-1][1]._replace(value=value)
        self._afford(domid, len(made), sum(cost(*new) for new in made))
        self.put(at, above._replace(children=(*above.children, names[0])))
        for new, node in made:
            self.put(new, node)
        self.changed.append(Change(path, made[-1][1]))

    def _change(self, domid: Domid, path: str, old: Node, new: Node) -> None:
        self._afford(domid, 0, cost(path, new) - cost(path, old))
        self.put(path, new)
        self.changed.append(Change(path, new))

    def _afford(self, domid: Domid, nodes: int, size: int) -> None:
        owned, stored = self.usage(domid)
        if domid != HOST and ((nodes and owned + nodes > MOST_NODES) or (size > 0 and stored + size > MOST_STORED)):
            raise XenError(Errno.ENOSPC)

    def count(self, path: str, old: Node | None, new: Node | None) -> None:
        """Keep `owned` and `stored` right."""
        if old is not None:
            self.owned[old.owner] -= 1
            self.stored[old.owner] -= cost(path, old)
        if new is not None:
            self.owned[new.owner] += 1
            self.stored[new.owner] += cost(path, new)
