"""Endpoints of some nodes in one process, and strangers that connect to them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from toolstack.link import Endpoint
from toolstack.link_events import Event, PeerJoined, PeerLost, Received

HOST = "127.0.0.1"
SECRET = b"the secret of the run, 32 bytes."


@contextmanager
def nodes(count: int) -> Iterator[list[Endpoint]]:
    """Nodes 0 to `count - 1`, all linked; what they report goes to `reports` of each."""
    with ExitStack() as stack:
        ends = [stack.enter_context(Endpoint(node, HOST, SECRET, report=lambda line: None)) for node in range(count)]
        addresses = {end.node: end.address for end in ends}
        threads = [threading.Thread(target=end.join, args=(addresses, 10)) for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for end in ends:
            joined = [end.receive(5) for _ in range(count - 1)]
            assert {event.peer for event in joined if isinstance(event, PeerJoined)} == set(range(count)) - {end.node}
        yield ends


def message(event: Event | None) -> object:
    """What a message says."""
    assert isinstance(event, Received), event
    return event.message


def lost(event: Event | None) -> tuple[int, str]:
    """Who was lost, and why."""
    assert isinstance(event, PeerLost), event
    return event.peer, event.reason


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something holds that another thread brings about."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@contextmanager
def stranger(end: Endpoint) -> Iterator[socket.socket]:
    """Somebody who connects to an endpoint and knows nothing."""
    with socket.create_connection(end.address, timeout=10) as sock:
        yield sock


def closed(sock: socket.socket) -> bool:
    """The other side has closed the connection, after whatever it had said."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True
