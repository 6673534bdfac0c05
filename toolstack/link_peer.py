"""One end of a link between two nodes: the socket, what waits to be sent, and what has come in part."""

import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from toolstack.link_events import FrameError, Traffic
from toolstack.link_frames import PAYLOAD, Decoder, frames, size_of, whole

_IDLE, _INTERVAL, _PROBES = 1, 1, 3
"""Seconds of silence before the kernel asks whether the other machine is there, between two questions, and how many."""
_UNANSWERED = 4000
"""Milliseconds after which bytes that nobody acknowledges end the link."""


class Peer:
    """The link to node `number` over a connected socket, which is this object's from now on."""

    def __init__(self, number: int, sock: socket.socket, traffic: Traffic) -> None:
        self.number, self.traffic = number, traffic
        self.lock = threading.Lock()
        """For `send` and `flush`, which threads may call at the same time."""
        self.broken = ""
        """Why nothing more can be sent, once that is so."""
        self.waiting = 0
        """Bytes that wait to be sent."""
        self._sock = sock
        self._decoder = Decoder()
        self._current = memoryview(b"")
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[Iterator[bytes]] = deque()
        sock.setblocking(False)
        _tune(sock)

    def fileno(self) -> int:
        """The socket's."""
        return self._sock.fileno()

    def send(self, payload: bytes, bulk: bool) -> bool:
        """Queue a message and send what can be sent; False where something is left.  With the lock."""
        size = size_of(payload)
        self.traffic.sent += 1
        self.traffic.sent_bytes += size
        if bulk or len(payload) > PAYLOAD:
            self._bulk.append(frames(payload))
        else:
            frame = whole(payload)
            if not self.waiting:
                return self._straight(frame)
            self._urgent.append(frame)
        self.waiting += size
        return self.flush()

    def _straight(self, frame: bytes) -> bool:
        """Nothing waits: to the kernel with it."""
        try:
            sent = self._sock.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._break(error)
            return True
        if sent < len(frame):
            self._current = memoryview(frame)[sent:]
            self.waiting = len(self._current)
        return not self.waiting

    def flush(self) -> bool:
        """Send what can be sent now; False where something is left.  With the lock."""
        while self.waiting:
            if not self._current:
                self._current = memoryview(self._next())
            try:
                sent = self._sock.send(self._current)
            except BlockingIOError:
                return False
            except OSError as error:
                self._break(error)
                return True
            self._current = self._current[sent:]
            self.waiting -= sent
        return True

    def _next(self) -> bytes:
        """The next frame: messages that fit into one go before parts of large ones."""
        if self._urgent:
            return self._urgent.popleft()
        frame = next(self._bulk[0], None)
        while frame is None:
            self._bulk.popleft()
            frame = next(self._bulk[0], None)
        return frame

    def _break(self, error: OSError) -> None:
        self.broken = error.strerror or type(error).__name__
        self.waiting = 0
        self._current = memoryview(b"")
        self._urgent.clear()
        self._bulk.clear()

    def read(self, into: "deque[Any]") -> str | None:
        """Append the messages that have come to `into`; why the link has ended, None where it goes on."""
        decoder, traffic = self._decoder, self.traffic
        try:
            count = self._sock.recv_into(decoder.space())
        except BlockingIOError:
            return None
        except OSError as error:
            return error.strerror or type(error).__name__
        if not count:
            return self.broken or "it closed the link"
        traffic.received_bytes += count
        decoder.filled(count)
        try:
            while (message := decoder.take()) is not None:
                traffic.received += 1
                into.append(message[0])
        except FrameError as error:
            return str(error)
        return None

    def close(self) -> None:
        """End the link."""
        self._sock.close()


def _tune(sock: socket.socket) -> None:
    for level, option, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED)):
        sock.setsockopt(level, option, value)
