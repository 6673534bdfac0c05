"""The store's tree: nodes by their absolute path, each with a value, permissions, and its children in order of birth.

A tree is cheap to copy, since its nodes never change: a transaction works on a copy (`transactions`).  Errors are those
of docs/misc/xenstore.txt and of the C daemon.
"""

from typing import NamedTuple

from abi.errno import Errno, XenError
from abi.types import Domid
from abi.xenstore import XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX

HOST = Domid(0)
NONE, READ, WRITE, BOTH = "n", "r", "w", "b"
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_@")
MOST_BYTES = 2048
"""Of a guest's value (quota-maxsize)."""
MOST_NODES = 1000
"""That a guest may own (quota-nodes)."""


class Permission(NamedTuple):
    """The first of a node names its owner, with what those not named may do."""

    domid: Domid
    access: str


class Node(NamedTuple):
    value: bytes
    permissions: tuple[Permission, ...]
    children: tuple[str, ...] = ()


def absolute(domid: Domid, path: str) -> str:
    """A guest's path, relative to its home unless it begins with /.  Raises XenError(EINVAL)."""
    special = path.startswith("@")
    limit = XENSTORE_ABS_PATH_MAX if path.startswith("/") else XENSTORE_REL_PATH_MAX
    if not path or len(path) > limit or not _ALLOWED.issuperset(path) or "//" in path:
        raise XenError(Errno.EINVAL)
    if path != "/" and path.endswith("/"):
        raise XenError(Errno.EINVAL)
    return path if special or path.startswith("/") else f"{home(domid)}/{path}"


def home(domid: Domid) -> str:
    """Where a domain's own part of the tree is."""
    return f"/local/domain/{domid}"


def parent(path: str) -> str:
    """The node above."""
    return path.rpartition("/")[0] or "/"


class Tree:
    """`nodes` by path; `changed` collects what watches have to hear of: paths, with whether whole subtrees went."""

    def __init__(self, nodes: dict[str, Node] | None = None) -> None:
        self.nodes = {"/": Node(b"", (Permission(HOST, NONE),))} if nodes is None else nodes
        self.changed: list[tuple[str, bool]] = []

    def copy(self) -> "Tree":
        """The same tree, on its own from now on."""
        return Tree(dict(self.nodes))

    def read(self, domid: Domid, path: str) -> Node:
        """Raises XenError: ENOENT, EACCES."""
        return self._get(domid, path, READ)

    def write(self, domid: Domid, path: str, value: bytes) -> None:
        """Set a value; what is missing above is made.  Raises XenError: EACCES, ENOSPC, EINVAL."""
        if domid != HOST and len(value) > MOST_BYTES:
            raise XenError(Errno.ENOSPC)
        self._create(domid, path, value)
        self.changed.append((path, False))

    def make(self, domid: Domid, path: str) -> None:
        """A node with no value, if there is none (MKDIR).  Raises XenError as `write`."""
        if path in self.nodes:
            self._get(domid, path, WRITE)
            return
        self._create(domid, path, b"")
        self.changed.append((path, False))

    def remove(self, domid: Domid, path: str) -> None:
        """A node and all below it.  Raises XenError: ENOENT where not even the node above is there, EACCES, EINVAL."""
        if path == "/":
            raise XenError(Errno.EINVAL)
        if path not in self.nodes:
            self._get(domid, parent(path), WRITE)
            return
        self._get(domid, path, WRITE)
        for gone in [path, *self.below(path)]:
            del self.nodes[gone]
        above = self.nodes[parent(path)]
        name = path.rpartition("/")[2]
        self.nodes[parent(path)] = above._replace(children=tuple(child for child in above.children if child != name))
        self.changed.append((path, True))

    def set_permissions(self, domid: Domid, path: str, permissions: tuple[Permission, ...]) -> None:
        """Only its owner gives rights to a node, and cannot give it away.  Raises XenError: ENOENT, EACCES, EPERM."""
        node = self._get(domid, path, WRITE)
        if domid != HOST and (node.permissions[0].domid != domid or permissions[0].domid != domid):
            raise XenError(Errno.EPERM)
        self.nodes[path] = node._replace(permissions=permissions)
        self.changed.append((path, False))

    def below(self, path: str) -> list[str]:
        """All paths under one."""
        found = []
        for child in self.nodes[path].children:
            at = f"{path.rstrip('/')}/{child}"
            found += [at, *self.below(at)]
        return found

    def may(self, domid: Domid, node: Node, access: str) -> bool:
        """Whether a domain may read or write a node."""
        if domid in (HOST, node.permissions[0].domid):
            return True
        granted = next((entry.access for entry in node.permissions[1:] if entry.domid == domid),
                       node.permissions[0].access)
        return granted in (access, BOTH)

    def _get(self, domid: Domid, path: str, access: str) -> Node:
        node = self.nodes.get(path)
        if node is None:
            above = path
            while above not in self.nodes:
                above = parent(above)
            # Who may not even read what is above learns nothing of what is not there.
            raise XenError(Errno.ENOENT if self.may(domid, self.nodes[above], READ) else Errno.EACCES)
        if not self.may(domid, node, access):
            raise XenError(Errno.EACCES)
        return node

    def _create(self, domid: Domid, path: str, value: bytes) -> None:
        node = self.nodes.get(path)
        if node is not None:
            self._get(domid, path, WRITE)
            self.nodes[path] = node._replace(value=value)
            return
        if path.startswith("@"):
            raise XenError(Errno.EINVAL)
        above = parent(path)
        if above in self.nodes:
            if not self.may(domid, self.nodes[above], WRITE):
                raise XenError(Errno.EACCES)
        else:
            self._create(domid, above, b"")
        if domid != HOST and sum(other.permissions[0].domid == domid for other in self.nodes.values()) >= MOST_NODES:
            raise XenError(Errno.ENOSPC)
        node = self.nodes[above]
        permissions = node.permissions
        if domid != HOST:
            permissions = (Permission(domid, permissions[0].access), *permissions[1:])
        self.nodes[path] = Node(value, permissions)
        self.nodes[above] = node._replace(children=(*node.children, path.rpartition("/")[2]))
