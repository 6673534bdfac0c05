"""Ways to get a message from one process to another and one back: the link, and what it is compared with.

Each wire is used in two processes.  `ping` sends what `make` gives and hands what comes back to `take`, `count` times;
`pong` answers until it is told to stop.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

import msgpack

from toolstack.link import Endpoint
from toolstack.link_events import Received

Make = Callable[[], Any]
Take = Callable[[Any], None]
HOST = "127.0.0.1"
STOP = None
"""The message that ends a `pong`."""
_SECRET = bytes(32)
_LENGTH = Struct("<I")


class Wire(Protocol):
    """One process' end."""

    def listen(self) -> tuple[str, int]:
        """Be node 1; where the other finds it."""

    def accept(self) -> None:
        """Wait for the other."""

    def connect(self, address: tuple[str, int]) -> None:
        """Be node 0."""

    def ping(self, count: int, make: Make, take: Take) -> list[float]:
        """The seconds of each round trip."""

    def pong(self, make: Make, take: Take) -> None:
        """Answer until STOP comes."""

    def close(self) -> None:
        """Let go."""


def _ping(count: int, send: Callable[[Any], None], receive: Callable[[], Any], make: Make, take: Take) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        send(make())
        take(receive())
        times.append(time.perf_counter() - started)
    return times


def _pong(send: Callable[[Any], None], receive: Callable[[], Any], make: Make, take: Take) -> None:
    while (message := receive()) is not STOP:
        take(message)
        send(make())


class LinkWire:
    """The link itself; `look`: for how many seconds it looks before it sleeps (None: the link's own)."""

    def __init__(self, look: float | None) -> None:
        self._look = look

    def listen(self) -> tuple[str, int]:
        self._me, self._peer = Endpoint(1, HOST, _SECRET, look=self._look), 0
        return self._me.address

    def accept(self) -> None:
        self._me.receive()

    def connect(self, address: tuple[str, int]) -> None:
        self._me, self._peer = Endpoint(0, HOST, _SECRET, look=self._look), 1
        self._me.connect(1, address)
        self._me.receive()

    def ping(self, count: int, make: Make, take: Take) -> list[float]:
        return _ping(count, self._send, self._receive, make, take)

    def pong(self, make: Make, take: Take) -> None:
        _pong(self._send, self._receive, make, take)

    def close(self) -> None:
        self._send(STOP)
        self._me.close()

    def traffic(self) -> tuple[int, int]:
        """Messages and bytes sent so far."""
        traffic = self._me.traffic[self._peer]
        return traffic.sent, traffic.sent_bytes

    def _send(self, message: Any) -> None:
        self._me.send(self._peer, message)

    def _receive(self) -> Any:
        event = self._me.receive()
        return event.message if isinstance(event, Received) else STOP


class SocketWire:
    """Nothing but a TCP socket, with a length before each message; `look` as above."""

    def __init__(self, look: float) -> None:
        self._look = look

    def listen(self) -> tuple[str, int]:
        self._server = socket.create_server((HOST, 0))
        return HOST, self._server.getsockname()[1]

    def accept(self) -> None:
        self._begin(self._server.accept()[0])
        self._server.close()

    def connect(self, address: tuple[str, int]) -> None:
        self._begin(socket.create_connection(address))

    def _begin(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._buffer = sock, bytearray(256 << 10)

    def ping(self, count: int, make: Make, take: Take) -> list[float]:
        return _ping(count, self._send, self._receive, make, take)

    def pong(self, make: Make, take: Take) -> None:
        _pong(self._send, self._receive, make, take)

    def close(self) -> None:
        self._send(STOP)
        self._socket.close()

    def _send(self, message: Any) -> None:
        payload = msgpack.packb(message)
        self._socket.sendall(_LENGTH.pack(len(payload)) + payload)

    def _receive(self) -> Any:
        view, have, end = memoryview(self._buffer), 0, time.perf_counter() + self._look
        while have < _LENGTH.size or have < _LENGTH.size + _LENGTH.unpack_from(view)[0]:
            try:
                have += self._socket.recv_into(view[have:], 0, socket.MSG_DONTWAIT if self._look else 0)
            except BlockingIOError:
                if time.perf_counter() > end:
                    have += self._socket.recv_into(view[have:])
        return msgpack.unpackb(view[_LENGTH.size:have], strict_map_key=False)


class AsyncioWire:
    """asyncio's streams: everything in one event loop."""

    def listen(self) -> tuple[str, int]:
        self._listener = socket.create_server((HOST, 0))
        return HOST, self._listener.getsockname()[1]

    def accept(self) -> None:
        self._socket = self._listener.accept()[0]
        self._listener.close()

    def connect(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)

    def ping(self, count: int, make: Make, take: Take) -> list[float]:
        return asyncio.run(self._ping(count, make, take))

    def pong(self, make: Make, take: Take) -> None:
        asyncio.run(self._pong(make, take))

    def close(self) -> None:
        self._socket.close()

    async def _ping(self, count: int, make: Make, take: Take) -> list[float]:
        reader, writer = await asyncio.open_connection(sock=self._socket)
        times = []
        for _ in range(count):
            started = time.perf_counter()
            await _write(writer, make())
            take(await _read(reader))
            times.append(time.perf_counter() - started)
        await _write(writer, STOP)
        writer.close()
        return times

    async def _pong(self, make: Make, take: Take) -> None:
        reader, writer = await asyncio.open_connection(sock=self._socket)
        while (message := await _read(reader)) is not STOP:
            take(message)
            await _write(writer, make())
        writer.close()


async def _write(writer: asyncio.StreamWriter, message: Any) -> None:
    payload = msgpack.packb(message)
    writer.write(_LENGTH.pack(len(payload)) + payload)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Any:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return msgpack.unpackb(await reader.readexactly(length), strict_map_key=False)
