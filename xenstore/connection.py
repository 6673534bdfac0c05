"""One guest's connection: messages out of a stream of bytes, answers into it, its watches and its transactions."""

from collections.abc import Iterator
from typing import NamedTuple

from abi.types import Domid
from abi.xenstore import XENSTORE_PAYLOAD_MAX, XSD_SOCKMSG, XsMessage
from xenstore.ring import StoreRing
from xenstore.tree import Tree, home

_HEADER = XSD_SOCKMSG.at(64)
MOST_WATCHES, MOST_TRANSACTIONS = 128, 10
"""Of a guest (quota-watches, quota-transactions)."""
_MOST_QUEUED = 1 << 16


class Message(NamedTuple):
    kind: int
    request: int
    transaction: int
    payload: bytes


class Watch(NamedTuple):
    path: str
    token: bytes
    relative: bool
    """The guest gave a path below its home, and hears of such paths."""


class Transaction(NamedTuple):
    tree: Tree
    began: int
    """The store's generation then."""


class Connection:
    """`ring` is the guest's page."""

    def __init__(self, domid: Domid, ring: StoreRing) -> None:
        self.domid, self._ring = domid, ring
        self.watches: list[Watch] = []
        self.transactions: dict[int, Transaction] = {}
        self.next_transaction = 1
        self._in, self._out = b"", b""
        self.broken = False

    def messages(self) -> Iterator[Message]:
        """What has arrived whole.  A message that is too long ends the connection."""
        if self.broken:
            return
        self._in += self._ring.take()
        while len(self._in) >= _HEADER.size:
            kind, request, transaction, size = _HEADER.unpack(self._in[:_HEADER.size])
            if size > XENSTORE_PAYLOAD_MAX:
                self.broken = True
                self._ring.fail()
                return
            if len(self._in) < _HEADER.size + size:
                return
            payload, self._in = self._in[_HEADER.size:_HEADER.size + size], self._in[_HEADER.size + size:]
            yield Message(kind, request, transaction, payload)

    def answer(self, message: Message, payload: bytes, kind: int | None = None) -> None:
        """Answer a message, with its own kind or another."""
        self._queue(_HEADER.pack(message.kind if kind is None else kind, message.request, message.transaction,
                                 len(payload)) + payload)

    def fire(self, watch: Watch, path: str) -> None:
        """Tell the guest that something has changed at or below `path`."""
        if watch.relative:
            path = path[len(home(self.domid)) + 1:]
        payload = path.encode() + b"\0" + watch.token + b"\0"
        self._queue(_HEADER.pack(XsMessage.WATCH_EVENT, 0, 0, len(payload)) + payload)

    def _queue(self, data: bytes) -> None:
        if len(self._out) < _MOST_QUEUED:  # who never reads loses what comes after that
            self._out += data

    def flush(self) -> bool:
        """Give the guest what fits.  Whether that was anything."""
        if not self._out or self.broken:
            return False
        count = self._ring.give(self._out)
        self._out = self._out[count:]
        return count > 0
