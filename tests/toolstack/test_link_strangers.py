"""Who does not know the run's secret is dropped with one line, and keeps nobody waiting."""

import io
import os
import socket
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_nodes import HOST, SECRET, closed, message, nodes, stranger, wait_until

from toolstack.link import Endpoint
from toolstack.link_events import HandshakeError, LinkError, PeerLost, Received
from toolstack.link_frames import whole
from toolstack.link_handshake import answer, greet, new_secret, welcome
from toolstack.log import log


def pair(secret: bytes, other: bytes, wanted: int = 0, seconds: float = 3.0) -> tuple[object, object]:
    """A handshake of node 1 with node 0: what either side makes of it."""
    near, far = socket.socketpair()
    results: list[object] = [None]

    def listen() -> None:
        try:
            results[0] = answer(far, other, 0, seconds)
            welcome(far)
        except HandshakeError as error:
            results[0] = str(error)
        far.close()

    thread = threading.Thread(target=listen)
    thread.start()
    mine: object = None
    try:
        greet(near, secret, 1, wanted, seconds)
    except HandshakeError as error:
        mine = str(error)
    near.close()
    thread.join()
    return mine, results[0]


def test_two_who_know_the_secret_agree() -> None:
    assert pair(SECRET, SECRET) == (None, 1)


def test_neither_is_believed_without_the_secret() -> None:
    mine, theirs = pair(SECRET, new_secret())
    assert mine == "the listener does not know this run's secret"
    assert theirs == "it closed the connection"


def test_somebody_who_believes_every_listener_is_not_believed() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"DOMUSLK1" + bytes([1, 0, 0, 0]) + bytes(4) + os.urandom(32) + bytes(32))
        with pytest.raises(HandshakeError, match="it does not know this run's secret"):
            answer(far, SECRET, 0)


def test_a_listener_s_proof_is_none_of_a_connector_s() -> None:
    """Played back to whom it came from."""
    near, far = socket.socketpair()
    with near, far:
        failures: list[str] = []

        def listen() -> None:
            try:
                answer(far, SECRET, 0)
            except HandshakeError as error:
                failures.append(str(error))

        thread = threading.Thread(target=listen)
        thread.start()
        near.sendall(b"DOMUSLK1" + bytes([1, 0, 0, 0]) + bytes(4) + os.urandom(32))
        reply = b""
        while len(reply) < 64:
            reply += near.recv(64)
        near.sendall(reply[32:])
        thread.join()
        assert failures == ["it does not know this run's secret"]


def test_a_node_that_looks_for_another_is_refused() -> None:
    assert pair(SECRET, SECRET, wanted=5)[1] == "it is node 1 and looks for node 5; this is node 0"


def test_who_says_nothing_is_dropped_in_time() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(HandshakeError, match="it took too long"):
        answer(far, SECRET, 0, 0.05)


@pytest.fixture(scope="module")
def listening() -> "list[object]":
    """An endpoint, and the lines that it reports."""
    lines: list[str] = []
    end = Endpoint(0, HOST, SECRET, report=lines.append)
    yield end, lines
    end.close()


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda data: b"DOMUSLK1" + data),
                 st.binary(min_size=72, max_size=72).map(lambda data: b"DOMUSLK1" + data)))
def test_random_bytes_are_dropped_with_one_line(listening: "tuple[Endpoint, list[str]]", data: bytes) -> None:
    end, lines = listening
    lines.clear()
    with stranger(end) as sock:
        with suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        assert closed(sock)
    wait_until(lambda: bool(lines))
    assert len(lines) == 1
    assert lines[0].startswith("127.0.0.1, port ")
    assert end.peers == []


def test_strangers_who_say_nothing_keep_nobody_waiting() -> None:
    lines: list[str] = []
    with Endpoint(0, HOST, SECRET, report=lines.append) as end, Endpoint(1, HOST, SECRET) as friend:
        silent = [socket.create_connection(end.address) for _ in range(200)]
        friend.connect(0, end.address, 5)
        friend.send(0, "hello")
        assert end.receive(5) == (1,)
        assert message(end.receive(5)) == "hello"
        wait_until(lambda: len(lines) >= 136)
        for sock in silent:
            sock.close()
        wait_until(lambda: len(lines) == 200)
    assert all("was refused" in line for line in lines)


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.binary(min_size=1, max_size=300), st.binary(max_size=100).map(whole)))
def test_a_node_that_talks_nonsense_is_lost_and_nobody_else(data: bytes) -> None:
    """It has the secret, and then sends anything."""
    with nodes(2) as (end, friend), stranger(end) as sock:
        greet(sock, SECRET, 7, 0)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert end.receive(5) == (7,)
        events: list[object] = []
        while not isinstance(events[-1:] and events[-1], PeerLost):
            events.append(end.receive(5))
        assert all(isinstance(event, Received) and event.peer == 7 for event in events[:-1])
        assert closed(sock)
        friend.send(0, "still here")
        assert message(end.receive(5)) == "still here"


def test_a_wrong_secret_is_said_on_both_sides() -> None:
    lines: list[str] = []
    with Endpoint(0, HOST, SECRET, report=lines.append) as end, Endpoint(1, HOST, new_secret()) as other:
        with pytest.raises(LinkError, match=r"node 0 at .*: the listener does not know this run's secret"):
            other.connect(0, end.address)
        wait_until(lambda: bool(lines))
    assert len(lines) == 1
    assert "was refused: it closed the connection" in lines[0]


def test_a_second_link_to_the_same_node_is_refused() -> None:
    lines: list[str] = []
    with Endpoint(0, HOST, SECRET, report=lines.append) as end, Endpoint(1, HOST, SECRET) as one, \
            Endpoint(1, HOST, SECRET) as two:
        one.connect(0, end.address)
        with pytest.raises(LinkError, match="closed the connection"):
            two.connect(0, end.address)
        wait_until(lambda: bool(lines))
        assert "there is a link to node 1 already" in lines[0]
        one.send(0, "still here")
        assert end.receive(5) == (1,)
        assert message(end.receive(5)) == "still here"


def test_the_program_s_log_has_the_line() -> None:
    shown = io.StringIO()
    log.configure(stream=shown)
    try:
        with Endpoint(0, HOST, SECRET) as end, stranger(end) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(40))
            assert closed(sock)
            wait_until(lambda: "\n" in shown.getvalue())
    finally:
        log.configure()
    assert shown.getvalue().count("\n") == 1
    assert "it does not speak this protocol" in shown.getvalue()
