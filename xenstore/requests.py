"""What each request does with the tree and the connection that it came from: docs/misc/xenstore.txt.

A handler gives the payload of the answer, or raises XenError, whose name is the answer then.
"""

from collections.abc import Callable, Mapping

from abi.errno import Errno, XenError
from abi.types import Domid
from abi.xenstore import XENSTORE_PAYLOAD_MAX, XsMessage
from xenstore.connection import MOST_TRANSACTIONS, MOST_WATCHES, Connection, Message, Watch
from xenstore.transaction import Transaction
from xenstore.tree import BOTH, NONE, READ, WRITE, Permission, Tree, absolute, home

Handler = Callable[[Connection, Message, Tree], bytes]
_OK = b"OK\0"
_PRIVILEGED = (XsMessage.CONTROL, XsMessage.INTRODUCE, XsMessage.RELEASE, XsMessage.IS_DOMAIN_INTRODUCED,
               XsMessage.RESUME, XsMessage.SET_TARGET)


def serve(connection: Connection, message: Message, tree: Tree) -> bytes:
    """The answer's payload.  Raises XenError."""
    if message.kind in _PRIVILEGED:  # the toolstack's alone
        raise XenError(Errno.EACCES)
    handler = _HANDLERS.get(message.kind)
    if handler is None:
        raise XenError(Errno.ENOSYS)
    if message.transaction:
        transaction = connection.transactions.get(message.transaction)
        if transaction is None:
            raise XenError(Errno.ENOENT)
        tree = transaction
    return handler(connection, message, tree)


def _path(connection: Connection, message: Message) -> str:
    return absolute(connection.domid, _text(_strings(message, 1)[0]))


def _directory(connection: Connection, message: Message, tree: Tree) -> bytes:
    data = _names(tree.read(connection.domid, _path(connection, message)).children)
    if len(data) > XENSTORE_PAYLOAD_MAX:
        raise XenError(Errno.E2BIG)
    return data


def _directory_part(connection: Connection, message: Message, tree: Tree) -> bytes:
    path, offset = _strings(message, 2)
    node = tree.read(connection.domid, absolute(connection.domid, _text(path)))
    data, start = _names(node.children), _number(offset)
    generation = str(node.generation).encode() + b"\0"
    room = XENSTORE_PAYLOAD_MAX - len(generation) - 1
    if start + room >= len(data):
        return generation + data[start:] + b"\0"
    return generation + data[start:data.rindex(b"\0", start, start + room) + 1]


def _read(connection: Connection, message: Message, tree: Tree) -> bytes:
    return tree.read(connection.domid, _path(connection, message)).value


def _write(connection: Connection, message: Message, tree: Tree) -> bytes:
    path, zero, value = message.payload.partition(b"\0")
    if not zero:
        raise XenError(Errno.EINVAL)
    tree.write(connection.domid, absolute(connection.domid, _text(path)), value)
    return _OK


def _mkdir(connection: Connection, message: Message, tree: Tree) -> bytes:
    tree.make(connection.domid, _path(connection, message))
    return _OK


def _rm(connection: Connection, message: Message, tree: Tree) -> bytes:
    tree.remove(connection.domid, _path(connection, message))
    return _OK


def _get_perms(connection: Connection, message: Message, tree: Tree) -> bytes:
    node = tree.read(connection.domid, _path(connection, message))
    return _names([f"{entry.access}{entry.domid}" for entry in node.permissions])


def _set_perms(connection: Connection, message: Message, tree: Tree) -> bytes:
    path, *words = _strings(message, 2, more=True)
    permissions = []
    for word in map(_text, words):
        if word[:1] not in (NONE, READ, WRITE, BOTH) or not word[1:].isdecimal() or not int(word[1:]) < 1 << 16:
            raise XenError(Errno.EINVAL)
        permissions.append(Permission(Domid(int(word[1:])), word[0]))
    tree.set_permissions(connection.domid, absolute(connection.domid, _text(path)), tuple(permissions))
    return _OK


def _watch(connection: Connection, message: Message, tree: Tree) -> bytes:
    watch = named_watch(connection, message)
    if any(other.path == watch.path and other.token == watch.token for other in connection.watches):
        raise XenError(Errno.EEXIST)
    if len(connection.watches) >= MOST_WATCHES:
        raise XenError(Errno.E2BIG)
    connection.watches.append(watch)
    return _OK


def _unwatch(connection: Connection, message: Message, tree: Tree) -> bytes:
    gone = named_watch(connection, message)
    kept = [watch for watch in connection.watches if (watch.path, watch.token) != (gone.path, gone.token)]
    if len(kept) == len(connection.watches):
        raise XenError(Errno.ENOENT)
    connection.watches = kept
    return _OK


def named_watch(connection: Connection, message: Message) -> Watch:
    """The watch that a WATCH or UNWATCH is about.  Raises XenError(EINVAL)."""
    path, token = _strings(message, 2)
    return Watch(absolute(connection.domid, _text(path), special=True), token, path[:1] not in (b"/", b"@"))


def _reset_watches(connection: Connection, message: Message, tree: Tree) -> bytes:
    connection.watches, connection.transactions = [], {}
    return _OK


def _start(connection: Connection, message: Message, tree: Tree) -> bytes:
    if isinstance(tree, Transaction):
        raise XenError(Errno.EBUSY)
    if len(connection.transactions) >= MOST_TRANSACTIONS:
        raise XenError(Errno.ENOSPC)
    number = connection.next_transaction
    connection.next_transaction = number % 0xFFFFFFFF + 1
    connection.transactions[number] = Transaction(tree)
    return _names([str(number)])


def _end(connection: Connection, message: Message, tree: Tree) -> bytes:
    word, = _strings(message, 1)
    if word not in (b"T", b"F"):
        raise XenError(Errno.EINVAL)
    if not isinstance(tree, Transaction):
        raise XenError(Errno.ENOENT)
    del connection.transactions[message.transaction]
    if word == b"T":
        tree.commit()
    return _OK


def _domain_path(connection: Connection, message: Message, tree: Tree) -> bytes:
    return _names([home(Domid(_number(_strings(message, 1)[0])))])


_HANDLERS: Mapping[int, Handler] = {
    XsMessage.DIRECTORY: _directory, XsMessage.DIRECTORY_PART: _directory_part, XsMessage.READ: _read,
    XsMessage.WRITE: _write, XsMessage.MKDIR: _mkdir, XsMessage.RM: _rm, XsMessage.GET_PERMS: _get_perms,
    XsMessage.SET_PERMS: _set_perms, XsMessage.WATCH: _watch, XsMessage.UNWATCH: _unwatch,
    XsMessage.RESET_WATCHES: _reset_watches, XsMessage.TRANSACTION_START: _start, XsMessage.TRANSACTION_END: _end,
    XsMessage.GET_DOMAIN_PATH: _domain_path}


def _names(names: "tuple[str, ...] | list[str]") -> bytes:
    return b"".join(name.encode() + b"\0" for name in names)


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
