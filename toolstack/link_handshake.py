"""Two nodes prove to each other that they know the run's secret, before a byte of theirs is believed.

    who connects:  magic, its node, the node it wants, a nonce                           48 bytes
    who listens:   a nonce, MAC("listener", all of the above and this nonce)             64
    who connects:  MAC("connector", the same)                                            32
    who listens:   one byte: welcome                                                      1

All lengths are fixed, and all of it has to be done in a few seconds.  The MAC is HMAC-SHA-256; the two roles' differ,
so that nothing can be played back to whom it came from.  What follows is not encrypted: the link is for a cluster's
own network.
"""

import hmac
import secrets
import socket
import time
from struct import Struct

from toolstack.link_events import HandshakeError

_HELLO = Struct("<8sII32s")
_MAGIC = b"DOMUSLK1"
_NONCE, _MAC = 32, 32
_WELCOME = b"\x01"
SECRET_BYTES = 32
SECONDS = 3.0
"""How long a handshake may take."""


def new_secret() -> bytes:
    """A secret for a run, to be given to its nodes by a way that nobody else sees."""
    return secrets.token_bytes(SECRET_BYTES)


def greet(sock: socket.socket, secret: bytes, me: int, peer: int, seconds: float = SECONDS) -> None:
    """Prove to the listener at the other end that this is node `me`, and let it prove that it is `peer`.

    Raises HandshakeError.
    """
    end = time.monotonic() + seconds
    hello = _HELLO.pack(_MAGIC, me, peer, secrets.token_bytes(_NONCE))
    try:
        _send(sock, hello, end)
        reply = _read(sock, _NONCE + _MAC, end)
        said = hello + reply[:_NONCE]
        if not hmac.compare_digest(reply[_NONCE:], _mac(secret, b"listener", said)):
            raise HandshakeError("the listener does not know this run's secret")
        _send(sock, _mac(secret, b"connector", said), end)
        if _read(sock, 1, end) != _WELCOME:
            raise HandshakeError("it answered with something else")
    except OSError as error:
        raise _broken(error) from error


def answer(sock: socket.socket, secret: bytes, me: int, seconds: float = SECONDS) -> int:
    """The same at the listener's end: the node that has connected.  `welcome` lets it in.  Raises HandshakeError."""
    end = time.monotonic() + seconds
    try:
        hello = _read(sock, _HELLO.size, end)
        magic, peer, wanted, _ = _HELLO.unpack(hello)
        if magic != _MAGIC:
            raise HandshakeError("it does not speak this protocol")
        said = hello + secrets.token_bytes(_NONCE)
        _send(sock, said[_HELLO.size:] + _mac(secret, b"listener", said), end)
        if not hmac.compare_digest(_read(sock, _MAC, end), _mac(secret, b"connector", said)):
            raise HandshakeError("it does not know this run's secret")
    except OSError as error:
        raise _broken(error) from error
    if wanted != me or peer == me:
        raise HandshakeError(f"it is node {peer} and looks for node {wanted}; this is node {me}")
    return int(peer)


def welcome(sock: socket.socket, seconds: float = SECONDS) -> None:
    """The last byte of `answer`'s side.  Raises HandshakeError."""
    try:
        _send(sock, _WELCOME, time.monotonic() + seconds)
    except OSError as error:
        raise _broken(error) from error


def _mac(secret: bytes, role: bytes, said: bytes) -> bytes:
    return hmac.digest(secret, role + b"\0" + said, "sha256")


def _send(sock: socket.socket, data: bytes, end: float) -> None:
    sock.settimeout(_left(end))
    sock.sendall(data)


def _read(sock: socket.socket, count: int, end: float) -> bytes:
    data = b""
    while len(data) < count:
        sock.settimeout(_left(end))
        more = sock.recv(count - len(data))
        if not more:
            raise HandshakeError("it closed the connection")
        data += more
    return data


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _broken(error: OSError) -> HandshakeError:
    if isinstance(error, TimeoutError):
        return HandshakeError("it took too long")
    return HandshakeError(error.strerror or type(error).__name__)
