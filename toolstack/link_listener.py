"""Who connects to a node: let in where it proves that it belongs to the run, else dropped with one line of log.

Each connection has a thread of its own for the few milliseconds of its handshake, so that one that says nothing keeps
nobody waiting.  Where very many wait, the one that has waited longest goes.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from toolstack.link_events import HandshakeError, LinkError
from toolstack.link_handshake import answer

_BACKLOG = 1024
_UNPROVEN = 64
"""Connections that may be in their handshake at once."""


class Listener:
    """Listens at `address` (host, port; port 0: any), for node `me`.  Raises LinkError.

    `arrived(node, socket)` is called in the connection's thread, and says it is not wanted with HandshakeError.
    `report(line)` is told of everybody who is dropped.
    """

    def __init__(self, address: tuple[str, int], me: int, secret: bytes,
                 arrived: Callable[[int, socket.socket], None], report: Callable[[str], None]) -> None:
        self._me, self._secret, self._arrived, self._report = me, secret, arrived, report
        self._lock = threading.Lock()
        self._unproven: dict[socket.socket, str] = {}
        self._closed = False
        host, port = address
        try:
            found = ipaddress.ip_address(host)
        except ValueError:
            raise LinkError(f"listen at {host!r}: expected the address of one of this machine's networks") from None
        if found.is_unspecified or found.is_multicast:
            raise LinkError(f"listen at {host}: the link is for the cluster's own network, give this node's address")
        family = socket.AF_INET6 if found.version == 6 else socket.AF_INET
        try:
            self._sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise LinkError(f"listen at {host}, port {port}: {error.strerror}") from error
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        """Where others find it."""
        threading.Thread(target=self._accept, name="link-listener", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, address = self._sock.accept()
            except OSError:
                if self._closed:
                    return
                threading.Event().wait(0.1)  # no file descriptors left, it may be
                continue
            self._admit(sock, f"{address[0]}, port {address[1]}")

    def _admit(self, sock: socket.socket, where: str) -> None:
        with self._lock:
            if self._closed:
                sock.close()
                return
            if len(self._unproven) >= _UNPROVEN:
                oldest = next(iter(self._unproven))
                del self._unproven[oldest]
                _shut(oldest)
            self._unproven[sock] = where
        try:
            threading.Thread(target=self._prove, args=(sock, where), name="link-handshake", daemon=True).start()
        except RuntimeError:  # no thread to be had
            self._drop(sock)

    def _prove(self, sock: socket.socket, where: str) -> None:
        try:
            node = answer(sock, self._secret, self._me)
            with self._lock:
                self._unproven.pop(sock, None)
            self._arrived(node, sock)
        except HandshakeError as error:
            self._drop(sock)
            if not self._closed:
                self._report(f"{where} was refused: {error}")

    def _drop(self, sock: socket.socket) -> None:
        with self._lock:
            self._unproven.pop(sock, None)
        sock.close()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._lock:
            self._closed = True
            for sock in self._unproven:
                _shut(sock)
        _shut(self._sock)
        self._sock.close()


def _shut(sock: socket.socket) -> None:
    """Wake whoever reads from a socket, with its end."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
