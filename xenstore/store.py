"""The store of one host: what each request does, who hears of it, and what a new domain finds.

Requests and errors are those of docs/misc/xenstore.txt.  Its state is in this process alone: domains that run in
different processes do not see each other's nodes yet.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from abi.errno import Errno, XenError
from abi.hvm import HvmParam
from abi.types import Domid, Port
from abi.xenstore import XENSTORE_PAYLOAD_MAX, XsMessage
from hypervisor.hypervisor import STORE, Hypervisor
from xenstore.connection import MOST_TRANSACTIONS, MOST_WATCHES, Connection, Message, Transaction, Watch
from xenstore.ring import StoreRing
from xenstore.tree import BOTH, HOST, NONE, READ, WRITE, Permission, Tree, absolute, home

_OK = b"OK\0"


class Introduced(NamedTuple):
    """What the toolstack says of a domain; `memory` is in bytes."""

    name: str
    memory: int
    vcpus: int


class Store:
    """Serves those of the `domains` of `hv` that run in this process."""

    def __init__(self, hv: Hypervisor, domains: Mapping[Domid, Introduced]) -> None:
        self._hv, self._domains = hv, domains
        self._new_watch: Watch | None = None
        self._tree = Tree()
        self._generation = 0
        self._connections: dict[Domid, Connection] = {}
        self._operations: dict[int, Callable[[Connection, Message, Tree], bytes]] = {
            XsMessage.DIRECTORY: self._directory, XsMessage.DIRECTORY_PART: self._directory_part,
            XsMessage.READ: self._read, XsMessage.WRITE: self._write, XsMessage.MKDIR: self._mkdir,
            XsMessage.RM: self._rm, XsMessage.GET_PERMS: self._get_perms, XsMessage.SET_PERMS: self._set_perms,
            XsMessage.WATCH: self._watch, XsMessage.UNWATCH: self._unwatch,
            XsMessage.RESET_WATCHES: self._reset_watches,
            XsMessage.TRANSACTION_START: self._start, XsMessage.TRANSACTION_END: self._end,
            XsMessage.GET_DOMAIN_PATH: self._domain_path, XsMessage.IS_DOMAIN_INTRODUCED: self._introduced}
        hv.events.consumers[STORE] = self.event

    def _introduce(self, domid: Domid, name: str, memory: int, vcpus: int) -> None:
        """A new domain, with what the toolstack tells it."""
        own, seen = (Permission(domid, NONE),), (Permission(HOST, NONE), Permission(domid, READ))
        tree, base = self._tree, home(domid)
        values = {"name": name, "domid": str(domid), "memory/target": str(memory >> 10),
                  "memory/static-max": str(memory >> 10), "store/port": str(self._param(domid, HvmParam.STORE_EVTCHN)),
                  "store/ring-ref": str(self._param(domid, HvmParam.STORE_PFN)), "console/type": "xenconsoled",
                  "console/port": str(self._param(domid, HvmParam.CONSOLE_EVTCHN)),
                  "console/ring-ref": str(self._param(domid, HvmParam.CONSOLE_PFN)),
                  **{f"cpu/{number}/availability": "online" for number in range(vcpus)}}
        tree.make(HOST, base)
        tree.set_permissions(HOST, base, seen)
        for path, value in values.items():
            tree.write(HOST, f"{base}/{path}", value.encode())
        for path in ("data", "drivers", "feature", "attr", "error", "control/shutdown", "control/sysrq",
                     "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend"):
            tree.make(HOST, f"{base}/{path}")
            tree.set_permissions(HOST, f"{base}/{path}", own)
        tree.make(HOST, f"{base}/device")

    def event(self, domid: Domid, port: Port) -> None:
        """The guest has notified the store."""
        if not self._connections:
            for introduced, facts in self._domains.items():
                self._introduce(introduced, *facts)
        connection = self._connections.get(domid)
        if connection is None:
            found = self._hv.memory.find(domid, self._param(domid, HvmParam.STORE_PFN))
            if found is None:
                return
            connection = self._connections[domid] = Connection(domid, StoreRing(self._hv.arena, found[0] << 12))
        for message in connection.messages():
            self._serve(connection, message)
            self._settle()
        self._flush()

    def _param(self, domid: Domid, param: HvmParam) -> int:
        return self._hv.params.get(domid, param)

    def _flush(self) -> None:
        for domid, connection in self._connections.items():
            if connection.flush():
                self._hv.events.notify_guest(domid, Port(self._param(domid, HvmParam.STORE_EVTCHN)))

    def _serve(self, connection: Connection, message: Message) -> None:
        try:
            operation = self._operations.get(message.kind)
            if operation is None:
                known = message.kind in XsMessage.__members__.values()
                raise XenError(Errno.EACCES if known else Errno.ENOSYS)
            tree = self._tree
            if message.transaction and message.kind != XsMessage.TRANSACTION_END:
                transaction = connection.transactions.get(message.transaction)
                if transaction is None:
                    raise XenError(Errno.ENOENT)
                tree = transaction.tree
            connection.answer(message, operation(connection, message, tree))
        except XenError as error:
            connection.answer(message, error.errno.name.encode() + b"\0", XsMessage.ERROR)
        if self._new_watch is not None:  # it fires at once
            connection.fire(self._new_watch, self._new_watch.path)
            self._new_watch = None

    def _settle(self) -> None:
        """Tell of what has changed in the tree."""
        changed, self._tree.changed = self._tree.changed, []
        if not changed:
            return
        self._generation += 1
        for path, gone in changed:
            for connection in self._connections.values():
                for watch in connection.watches:
                    if path == watch.path or path.startswith(watch.path.rstrip("/") + "/"):
                        if self._visible(connection, path):
                            connection.fire(watch, path)
                    elif gone and watch.path.startswith(path + "/"):
                        connection.fire(watch, watch.path)

    def _visible(self, connection: Connection, path: str) -> bool:
        node = self._tree.nodes.get(path)
        return node is None or self._tree.may(connection.domid, node, READ)

    # -- requests

    def _path(self, connection: Connection, message: Message) -> str:
        text, zero, rest = message.payload.partition(b"\0")
        if not zero or rest:
            raise XenError(Errno.EINVAL)
        return absolute(connection.domid, _text(text))

    def _directory(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        children = tree.read(connection.domid, self._path(connection, message)).children
        data = b"".join(child.encode() + b"\0" for child in children)
        if len(data) > XENSTORE_PAYLOAD_MAX:
            raise XenError(Errno.E2BIG)
        return data

    def _directory_part(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        path, offset = _strings(message, 2)
        children = tree.read(connection.domid, absolute(connection.domid, _text(path))).children
        data = b"".join(child.encode() + b"\0" for child in children)
        generation = str(self._generation).encode() + b"\0"
        room, start = XENSTORE_PAYLOAD_MAX - len(generation), _number(offset)
        if start + room >= len(data):
            return generation + data[start:] + b"\0"
        return generation + data[start:data.rindex(b"\0", start, start + room) + 1]

    def _read(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        return tree.read(connection.domid, self._path(connection, message)).value

    def _write(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        path, zero, value = message.payload.partition(b"\0")
        if not zero:
            raise XenError(Errno.EINVAL)
        tree.write(connection.domid, absolute(connection.domid, _text(path)), value)
        return _OK

    def _mkdir(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        tree.make(connection.domid, self._path(connection, message))
        return _OK

    def _rm(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        tree.remove(connection.domid, self._path(connection, message))
        return _OK

    def _get_perms(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        node = tree.read(connection.domid, self._path(connection, message))
        return b"".join(f"{entry.access}{entry.domid}\0".encode() for entry in node.permissions)

    def _set_perms(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        path, *words = _strings(message, 2, more=True)
        permissions = []
        for word in map(_text, words):
            if word[:1] not in (NONE, READ, WRITE, BOTH) or not word[1:].isdecimal():
                raise XenError(Errno.EINVAL)
            permissions.append(Permission(Domid(int(word[1:])), word[0]))
        tree.set_permissions(connection.domid, absolute(connection.domid, _text(path)), tuple(permissions))
        return _OK

    def _watch(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        watch = self._named_watch(connection, message)
        if any(other.path == watch.path and other.token == watch.token for other in connection.watches):
            raise XenError(Errno.EEXIST)
        if len(connection.watches) >= MOST_WATCHES:
            raise XenError(Errno.E2BIG)
        connection.watches.append(watch)
        self._new_watch = watch
        return _OK

    def _unwatch(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        watch = self._named_watch(connection, message)
        if watch not in connection.watches:
            raise XenError(Errno.ENOENT)
        connection.watches.remove(watch)
        return _OK

    def _named_watch(self, connection: Connection, message: Message) -> Watch:
        path, token = _strings(message, 2)
        return Watch(absolute(connection.domid, _text(path)), token, path[:1] not in (b"/", b"@"))

    def _reset_watches(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        connection.watches.clear()
        connection.transactions.clear()
        return _OK

    def _start(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        if message.transaction:
            raise XenError(Errno.EBUSY)
        if len(connection.transactions) >= MOST_TRANSACTIONS:
            raise XenError(Errno.ENOSPC)
        number, connection.next_transaction = connection.next_transaction, connection.next_transaction + 1
        connection.transactions[number] = Transaction(self._tree.copy(), self._generation)
        return str(number).encode() + b"\0"

    def _end(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        word, = _strings(message, 1)
        if word not in (b"T", b"F"):
            raise XenError(Errno.EINVAL)
        transaction = connection.transactions.pop(message.transaction, None)
        if transaction is None:
            raise XenError(Errno.ENOENT)
        if word == b"T" and transaction.tree.changed:
            if transaction.began != self._generation:
                raise XenError(Errno.EAGAIN)
            self._tree = transaction.tree
        return _OK

    def _domain_path(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        return home(Domid(_number(_strings(message, 1)[0]))).encode() + b"\0"

    def _introduced(self, connection: Connection, message: Message, tree: Tree) -> bytes:
        return b"T\0" if home(Domid(_number(_strings(message, 1)[0]))) in self._tree.nodes else b"F\0"


def _strings(message: Message, count: int, *, more: bool = False) -> list[bytes]:
    """The strings of a payload, each with its zero.  Raises XenError(EINVAL) for another number of them."""
    *words, rest = message.payload.split(b"\0")
    if rest or len(words) < count or (len(words) > count and not more):
        raise XenError(Errno.EINVAL)
    return words


def _text(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise XenError(Errno.EINVAL) from None


def _number(data: bytes) -> int:
    text = _text(data)
    if not text.isdecimal() or len(text) > 9:
        raise XenError(Errno.EINVAL)
    return int(text)
