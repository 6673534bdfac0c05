"""What happens on the link between nodes, and what goes wrong with it."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Received(NamedTuple):
    """A message of a peer: what msgpack makes of it."""

    peer: int
    message: Any


class PeerJoined(NamedTuple):
    """A node has proved that it belongs to the run, and can be sent to."""

    peer: int


class PeerLost(NamedTuple):
    """The link to a node has ended; what it had sent before has been received.  `reason` is one line."""

    peer: int
    reason: str


class Rung(NamedTuple):
    """There is something in a file that the endpoint watches."""

    file: int


Event = Received | PeerJoined | PeerLost | Rung


class LinkError(Exception):
    """The link cannot do what was asked.  One line."""


class PeerLostError(LinkError):
    """There is no link to that node, or not any more."""

    def __init__(self, peer: int, reason: str) -> None:
        super().__init__(f"node {peer}: {reason}")
        self.peer = peer


class HandshakeError(LinkError):
    """Whoever is at the other end has not proved that it belongs to this run."""


class FrameError(LinkError):
    """Bytes that are no frame, or no message."""


@dataclass
class Traffic:
    """What went to and from one node, in messages and in bytes with their frames."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
