"""The link between the nodes of a run: messages to and from the others, by number.

Each node has one `Endpoint`.  The baton and what comes with it is a small message; memory of a domain that moves is
large ones, which small ones overtake.  Nothing is ever waited for that may not come: a node that is lost is an event.

A process that waits looks for a while before it sleeps, as with the baton's word in shared memory (`domains.baton`),
where that helps (`link_look`): waking a sleeper costs as much as the way through the kernel.  docs/many-nodes.md has
the figures.
"""

import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from toolstack.link_events import (
    Event,
    HandshakeError,
    LinkError,
    PeerJoined,
    PeerLost,
    PeerLostError,
    Received,
    Rung,
    Traffic,
)
from toolstack.link_frames import encode
from toolstack.link_handshake import SECRET_BYTES, greet, welcome
from toolstack.link_listener import Listener
from toolstack.link_look import LOOK, Look
from toolstack.link_peer import Peer
from toolstack.log import log

Address = tuple[str, int]
_BACKLOG = 8 << 20
"""Bytes that may wait for one peer before `send` waits too."""
_NAP = 0.01
_RINGS = 4096
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


def _report(line: str) -> None:
    log.warning("link", problem=line)


class Endpoint:
    """Node `node`'s end of all its links.  `secret` is the run's (`link_handshake.new_secret`).

    It listens at `host`, the address that the other nodes know this one by; `address` has the port.  `send` may be
    called by any thread, `receive` by one at a time.  `look`: seconds to look before it sleeps.  Raises LinkError.
    """

    def __init__(self, node: int, host: str, secret: bytes, *, port: int = 0, look: float | None = None,
                 report: Callable[[str], None] = _report) -> None:
        if len(secret) < SECRET_BYTES:
            raise LinkError(f"the run's secret has {len(secret)} bytes, expected {SECRET_BYTES}")
        self.node = node
        self.traffic: dict[int, Traffic] = {}
        """By node, also of those that are lost."""
        self._secret, self._report = secret, report
        self._look = Look((LOOK if (os.cpu_count() or 1) > 1 else 0) if look is None else look)
        self._peers: dict[int, Peer] = {}
        self._inbox: deque[Event] = deque()
        self._messages: deque[Any] = deque()
        self._reading = threading.Lock()
        self._receivers = 0
        self._joined, self._room = threading.Condition(), threading.Condition()
        self._by_file: dict[int, Peer] = {}
        self._closed = False
        self._watched: set[int] = set()
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, _IN)
        try:
            self._listener = Listener((host, port), node, secret, self._arrived, report)
        except LinkError:
            self._epoll.close()
            os.close(self._wake)
            raise
        self.address: Address = self._listener.address

    @property
    def peers(self) -> list[int]:
        """The nodes that there is a link to."""
        return sorted(self._peers)

    @property
    def pending(self) -> bool:
        """Whether an event is there already."""
        return bool(self._inbox)

    def linked(self, peer: int) -> bool:
        """Whether there is a link to node `peer`."""
        return peer in self._peers

    def glance(self) -> None:
        """Take in what has come, without waiting and without giving it."""
        with self._reading:
            if not self._closed:
                self._poll(0)

    def watch(self, file: int) -> None:
        """Let `receive` see to a pipe, too: what is written to it is thrown away, and is an event."""
        os.set_blocking(file, False)
        self._watched.add(file)
        self._epoll.register(file, _IN)

    def connect(self, peer: int, address: Address, seconds: float = 5.0) -> None:
        """Make the link to node `peer`, which listens at `address`.  Raises LinkError."""
        where = f"node {peer} at {address[0]}, port {address[1]}"
        try:
            sock = socket.create_connection(address, timeout=seconds, source_address=(self.address[0], 0))
        except OSError as error:
            raise LinkError(f"{where}: {error.strerror or 'it took too long'}") from error
        try:
            greet(sock, self._secret, self.node, peer)
            self._adopt(peer, sock)
        except HandshakeError as error:
            sock.close()
            raise LinkError(f"{where}: {error}") from error

    def join(self, addresses: Mapping[int, Address], seconds: float = 30.0) -> None:
        """Make the links to all nodes in `addresses` (which may have this one): the higher number connects.

        Raises LinkError: it names the nodes that are missing when the time is over.
        """
        for peer in sorted(addresses):
            if peer < self.node:
                self.connect(peer, addresses[peer])
        wanted = {peer for peer in addresses if peer > self.node}
        with self._joined:
            if not self._joined.wait_for(lambda: wanted <= self.traffic.keys(), seconds):
                missing = ", ".join(map(str, sorted(wanted - self.traffic.keys())))
                raise LinkError(f"node {self.node} has waited {seconds:g} s for node {missing}")

    def _arrived(self, peer: int, sock: socket.socket) -> None:
        """In a thread of the listener's: somebody has proved to be `peer`."""
        with self._joined:
            taken = peer in self._peers or self._closed
        if taken:
            raise HandshakeError(f"there is a link to node {peer} already")
        welcome(sock)
        self._adopt(peer, sock)

    def _adopt(self, number: int, sock: socket.socket) -> None:
        with self._joined:
            if self._closed or number in self._peers:
                raise HandshakeError(f"there is a link to node {number} already")
            peer = Peer(number, sock, self.traffic.setdefault(number, Traffic()))
            self._peers[number] = self._by_file[peer.fileno()] = peer
            self._inbox.append(PeerJoined(number))
            self._epoll.register(peer.fileno(), _IN)
            os.eventfd_write(self._wake, 1)
            self._joined.notify_all()

    def send(self, peer: int, message: Any, *, bulk: bool = False) -> None:
        """Send a message: anything that msgpack takes, 64 MiB at most.

        Messages of up to 64 KiB arrive in order, and before larger ones that are still on their way; larger ones, and
        those sent with `bulk`, arrive in order too.  What the kernel does not take at once goes out during `receive`
        and `flush`.  Raises PeerLostError; TypeError and FrameError for what is no message.
        """
        link = self._link(peer)
        payload = encode(message)
        with link.lock:
            if not link.send(payload, bulk):
                self._watch(link, _IN | _OUT)
        if link.waiting > _BACKLOG:
            self._wait_for_room(link, _BACKLOG, None)
        if link.broken:
            raise PeerLostError(peer, link.broken)

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until the kernel has everything; False where it has not in that time."""
        end = time.monotonic() + seconds
        return all(self._wait_for_room(link, 0, end) for link in list(self._peers.values()))

    def receive(self, timeout: float | None = None, *, look: bool = True) -> Event | None:
        """The next event; None where none has come in `timeout` seconds (None: wait for ever).

        Without `look` it sleeps at once: the caller knows that nothing can come soon.

        Raises LinkError once the endpoint is closed.
        """
        inbox = self._inbox
        if inbox:
            return inbox.popleft()
        self._receivers = 1
        with self._reading:
            try:
                self._wait_for_event(timeout, look)
            finally:
                self._receivers = 0
        if inbox:
            return inbox.popleft()
        if self._closed:
            raise LinkError("the endpoint is closed")
        return None

    def _wait_for_event(self, timeout: float | None, look: bool) -> None:
        """With `_reading`."""
        inbox, started = self._inbox, time.perf_counter()
        end = None if timeout is None else started + timeout
        if self._closed:
            return
        self._poll(0)
        if look and not inbox and timeout != 0 and self._look.wanted():
            self._glance(started)
        while not inbox and not self._closed and (end is None or time.perf_counter() < end):
            self._poll(-1 if end is None else max(0.0, end - time.perf_counter()))

    def _glance(self, started: float) -> None:
        """Look until something comes, or for as long as a look takes."""
        inbox, end, last, gap = self._inbox, started + self._look.seconds, started, 0.0
        while not inbox and last < end:
            self._poll(0)
            now = time.perf_counter()
            if now - last > gap:
                gap = now - last
            last = now
        self._look.ended(bool(inbox), gap)

    def close(self) -> None:
        """End all links, after what waits to be sent has had a second to go."""
        if self._closed:
            return
        self.flush(1.0)
        self._listener.close()
        with self._joined:
            self._closed = True
        os.eventfd_write(self._wake, 1)
        with self._reading, self._joined:
            for link in self._peers.values():
                link.close()
            self._peers.clear()
            self._by_file.clear()
            self._epoll.close()
            os.close(self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _link(self, peer: int) -> Peer:
        link = self._peers.get(peer)
        if link is None:
            raise PeerLostError(peer, "the link is lost" if peer in self.traffic else "there is no link to it")
        if link.broken:
            raise PeerLostError(peer, link.broken)
        return link

    def _poll(self, timeout: float) -> None:
        """Serve whatever is ready, waiting for it `timeout` seconds (-1: for ever).  With `_reading`."""
        for file, happened in self._epoll.poll(timeout):
            link = self._by_file.get(file)
            if link is None:
                self._woken(file)
                continue
            if happened & _OUT:
                with link.lock:
                    if link.flush():
                        self._watch(link, _IN)
                with self._room:
                    self._room.notify_all()
            if happened & ~_OUT:
                self._read(link)

    def _woken(self, file: int) -> None:
        if file == self._wake:
            os.eventfd_read(file)
        elif file in self._watched:
            os.read(file, _RINGS)
            self._inbox.append(Rung(file))

    def _read(self, link: Peer) -> None:
        ended = link.read(self._messages)
        while self._messages:
            self._inbox.append(Received(link.number, self._messages.popleft()))
        if ended is not None:
            self._lose(link, ended)

    def _lose(self, link: Peer, reason: str) -> None:
        with self._joined:
            self._epoll.unregister(link.fileno())
            del self._by_file[link.fileno()], self._peers[link.number]
        with link.lock:
            link.broken, link.waiting = reason, 0
            link.close()
        self._inbox.append(PeerLost(link.number, reason))

    def _watch(self, link: Peer, events: int) -> None:
        """With the link's lock."""
        with suppress(OSError):  # lost in this moment
            self._epoll.modify(link.fileno(), events)

    def _wait_for_room(self, link: Peer, most: int, end: float | None) -> bool:
        """Wait until at most `most` bytes wait for a peer; read meanwhile, for it may be waiting for us likewise."""
        while link.waiting > most:
            if end is not None and time.monotonic() >= end:
                return False
            if self._receivers:  # whoever is in `receive` does it
                with self._room:
                    self._room.wait(_NAP)
            elif self._reading.acquire(timeout=_NAP):
                try:
                    self._poll(_NAP)
                finally:
                    self._reading.release()
        return True
