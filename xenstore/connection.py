"""One guest's connection: messages out of a stream of bytes, answers into it, its watches and its transactions."""

from typing import NamedTuple

from abi.types import Domid
from abi.xenstore import XENSTORE_PAYLOAD_MAX, XSD_SOCKMSG, XenstoreError, XsMessage
from xenstore.ring import RingError, StoreRing
from xenstore.transaction import Transaction
from xenstore.tree import home

_HEADER = XSD_SOCKMSG.at(64)
MOST_WATCHES, MOST_TRANSACTIONS = 128, 10
"""Of a guest (the C daemon's --watch-nb and --transaction)."""
MOST_HELD = 1 << 20
"""Bytes that the store holds for a connection; who makes it hold more is not listened to any more."""
MOST_WAITING = 1 << 16
"""Bytes that may wait for a guest to read: then its requests wait, and what its watches have to say is lost."""


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


class Connection:
    """What the store keeps of a guest; the ring in the guest's page is given to those who need it."""

    def __init__(self, domid: Domid) -> None:
        self.domid = domid
        self.watches: list[Watch] = []
        self.transactions: dict[int, Transaction] = {}
        self.next_transaction = 1
        self.received, self.waiting = b"", b""
        """Bytes of a message that is not there as a whole; bytes that the guest has not taken."""
        self.broken = False
        self.positions = (0, 0)
        """Of the ring, when the store kept its state last."""

    def next(self, ring: StoreRing) -> Message | None:
        """The next message that is there as a whole.  One that is too long ends the connection."""
        if self.broken or len(self.waiting) >= MOST_WAITING:
            return None
        if self._missing():
            try:
                self.received += ring.take()
            except RingError:
                self.broken = True
            if self.broken or self._missing():
                return None
        kind, request, transaction, size = _HEADER.unpack(self.received[:_HEADER.size])
        if size > XENSTORE_PAYLOAD_MAX:
            self.broken = True
            ring.fail(XenstoreError.PROTO)
            return None
        end = _HEADER.size + size
        payload, self.received = self.received[_HEADER.size:end], self.received[end:]
        return Message(kind, request, transaction, payload)

    def end_if_excessive(self, ring: StoreRing) -> None:
        """Watches and transactions may take only so much of the store's memory."""
        held = sum(len(watch.path) + len(watch.token) + 16 for watch in self.watches)
        if held + sum(transaction.size for transaction in self.transactions.values()) > MOST_HELD:
            self.broken = True
            self.watches, self.transactions = [], {}
            ring.fail(XenstoreError.COMM)

    def _missing(self) -> bool:
        if len(self.received) < _HEADER.size:
            return True
        size: int = _HEADER.unpack(self.received[:_HEADER.size])[3]
        return size <= XENSTORE_PAYLOAD_MAX and len(self.received) < _HEADER.size + size

    def answer(self, message: Message, payload: bytes, kind: int | None = None) -> None:
        """Answer a message, with its own kind or another."""
        self.waiting += _HEADER.pack(message.kind if kind is None else kind, message.request, message.transaction,
                                     len(payload)) + payload

    def fire(self, watch: Watch, path: str) -> None:
        """Tell the guest that something has changed at or below `path`."""
        if watch.relative:
            path = path[len(home(self.domid)) + 1:]
        payload = path.encode() + b"\0" + watch.token + b"\0"
        if len(self.waiting) < MOST_WAITING:
            self.waiting += _HEADER.pack(XsMessage.WATCH_EVENT, 0, 0, len(payload)) + payload

    def flush(self, ring: StoreRing) -> bool:
        """Give the guest what fits.  Whether that was anything."""
        if not self.waiting or self.broken:
            return False
        try:
            count = ring.give(self.waiting)
        except RingError:
            self.broken = True
            return False
        self.waiting = self.waiting[count:]
        return count > 0
