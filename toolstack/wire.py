"""The links of a process that runs domains to such processes on other nodes: `domains.lanes.Wire` by `toolstack.link`.

A message is bytes; whoever sends is known by the number of its row in the baton's table.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from toolstack.link import Endpoint
from toolstack.link_events import LinkError, PeerLost, PeerLostError, Received
from toolstack.link_look import Look

_LOOK = 300e-6
"""Seconds to look for a baton: somewhat longer than another's short turn takes, with the way there and back."""
_FAREWELL = b"end"
_CONNECT = 2.0
"""Seconds that making a link may take."""


class LinkWire:
    """The links of process `me`; `settings` are the address to listen at, and the run's secret.  Raises OSError."""

    def __init__(self, me: int, settings: Any) -> None:
        host, secret = settings
        try:
            self._endpoint = Endpoint(me, host, secret, look=0)
        except LinkError as error:
            raise OSError(str(error)) from error
        self._broken = False
        self._leaving: set[int] = set()
        """Processes that end, and have no baton."""
        self._reading, self.bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._endpoint.watch(self._reading)
        self.port = self._endpoint.address[1]
        self._look = Look(_LOOK if (os.cpu_count() or 1) > 1 else 0)
        self._vain = False
        """The last look was: one in vain is the end of a round, and says nothing of the next."""
        self._tried: dict[int, Any] = {}
        """By process, where it was when a link to it was made, or could not be."""

    def reaches(self, process: int, address: Any) -> bool:
        """See `Wire`."""
        endpoint = self._endpoint
        endpoint.glance()  # somebody may be gone
        if endpoint.linked(process):
            return bool(self._tried.setdefault(process, address) == address)
        if process in self._tried and self._tried[process] == address:
            return False
        self._tried[process] = address
        try:
            endpoint.connect(process, tuple(address), _CONNECT)
        except LinkError:
            return False
        return True

    def send(self, process: int, message: bytes) -> None:
        """See `Wire`."""
        with suppress(PeerLostError):  # it is dead, and the nodes' agents will look for the baton
            self._endpoint.send(process, message)

    def look(self, stop: Callable[[], int]) -> bytes | None:
        """See `Wire`."""
        message = self.receive(0)
        if message is not None or not self._look.wanted():
            return message
        started = last = time.perf_counter()
        end, gap = started + self._look.seconds, 0.0
        while message is None and last < end and not stop():
            message = self.receive(0)
            now = time.perf_counter()
            if now - last > gap:
                gap = now - last
            last = now
        found = message is not None or bool(stop())
        self._look.ended(found or not self._vain, gap)
        self._vain = not found
        return message

    def receive(self, seconds: float) -> bytes | None:
        """See `Wire`."""
        event = self._endpoint.receive(seconds)
        while event is not None:
            if isinstance(event, Received) and event.message == _FAREWELL:
                self._leaving.add(event.peer)
            elif isinstance(event, Received):
                return event.message if isinstance(event.message, bytes) else b""
            elif isinstance(event, PeerLost) and event.peer in self._leaving:
                self._leaving.discard(event.peer)
            else:
                self._broken |= isinstance(event, PeerLost)
            event = self._endpoint.receive(0) if self._endpoint.pending else None
        return None

    def close(self) -> None:
        """See `Wire`."""
        for process in self._endpoint.peers:
            self.send(process, _FAREWELL)
        self._endpoint.close()

    def broken(self) -> bool:
        """See `Wire`."""
        broken, self._broken = self._broken, False
        return broken
