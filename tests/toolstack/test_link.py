"""Messages between nodes: small ones at once, large ones in the background, and a lost node is an event."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from link_nodes import HOST, SECRET, lost, message, nodes, wait_until

from toolstack.link import Endpoint
from toolstack.link_events import FrameError, LinkError, PeerLostError, Received
from toolstack.link_frames import LARGEST, PAYLOAD

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


def test_a_message_arrives_as_it_was_sent() -> None:
    with nodes(2) as (first, second):
        said = {"turn": 7, 3: [1, -1, None, True, 0.5], "page": bytes(4096), "name": "writer \N{SNOWMAN}"}
        first.send(1, said)
        assert message(second.receive(5)) == said
        second.send(0, "thanks")
        assert first.receive(5) == Received(1, "thanks")


def test_messages_arrive_in_order() -> None:
    with nodes(2) as (first, second):
        for number in range(2000):
            first.send(1, [number, b"x" * (number % 700)])
        assert [message(second.receive(5))[0] for _ in range(2000)] == list(range(2000))


def test_three_nodes_talk_to_each_other() -> None:
    with nodes(3) as ends:
        assert [end.peers for end in ends] == [[1, 2], [0, 2], [0, 1]]
        for end in ends:
            for peer in end.peers:
                end.send(peer, f"{end.node} to {peer}")
        for end in ends:
            assert {message(end.receive(5)) for _ in range(2)} == {f"{peer} to {end.node}" for peer in end.peers}


@pytest.mark.parametrize("size", [0, PAYLOAD - 10, PAYLOAD - 3, PAYLOAD - 2, PAYLOAD, 2 * PAYLOAD + 1, 5 * MIB])
def test_a_message_of_any_size_arrives_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    with nodes(2) as (first, second):
        first.send(1, content[:size])
        sender = threading.Thread(target=first.flush, args=(20,))
        sender.start()
        assert message(second.receive(20)) == content[:size]
        sender.join()


def test_small_messages_overtake_large_ones_and_stay_in_order() -> None:
    with nodes(2) as (first, second):
        for _ in range(7):
            first.send(1, bytes(MIB))
        for number in range(50):
            first.send(1, number)
        first.send(1, "the last page", bulk=True)
        threading.Thread(target=first.flush, args=(20,)).start()
        came = [message(second.receive(20)) for _ in range(58)]
        small = [index for index, what in enumerate(came) if isinstance(what, int)]
        assert [came[index] for index in small] == list(range(50))
        assert small[-1] < 56
        assert came[-1] == "the last page"


def test_two_nodes_may_send_large_messages_to_each_other_at_once() -> None:
    with nodes(2) as ends:
        came: list[list[int]] = [[], []]

        def work(me: int) -> None:
            for _ in range(8):
                ends[me].send(1 - me, bytes(6 * MIB))
            while len(came[me]) < 8:
                came[me].append(len(message(ends[me].receive(20))))  # type: ignore[arg-type]
            ends[me].flush(20)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert came == [[6 * MIB] * 8] * 2


def test_one_thread_may_send_while_another_receives() -> None:
    with nodes(2) as (first, second):
        came: list[object] = []
        receiver = threading.Thread(target=lambda: came.append(first.receive(20)))
        receiver.start()
        sender = threading.Thread(target=lambda: [first.send(1, bytes(4 * MIB)) for _ in range(6)])
        sender.start()
        assert [len(message(second.receive(20))) for _ in range(6)] == [4 * MIB] * 6  # type: ignore[arg-type]
        second.send(0, "done")
        receiver.join(20)
        sender.join(20)
        assert came == [Received(1, "done")]


def test_receive_waits_no_longer_than_it_is_told() -> None:
    with nodes(2) as (first, _):
        started = time.monotonic()
        assert first.receive(0) is None
        assert first.receive(0.05) is None
        assert 0.05 <= time.monotonic() - started < 5


def test_a_lost_node_is_an_event_after_its_last_message() -> None:
    with nodes(3) as (first, second, third):
        first.send(1, "my last")
        first.close()
        assert message(second.receive(5)) == "my last"
        assert lost(second.receive(5)) == (0, "it closed the link")
        assert lost(third.receive(5)) == (0, "it closed the link")
        assert second.peers == [2]
        with pytest.raises(PeerLostError, match="node 0: the link is lost"):
            second.send(0, "hello?")
        second.send(2, "we go on")
        assert message(third.receive(5)) == "we go on"


def test_who_only_sends_learns_of_a_loss_too() -> None:
    with nodes(2) as (first, second):
        second.close()

        def send_on() -> None:
            for _ in range(1000):
                first.send(1, bytes(5 * MIB))

        with pytest.raises(PeerLostError, match="node 1: "):
            send_on()
        assert lost(first.receive(5))[0] == 1


def test_a_node_that_is_killed_is_lost_at_once() -> None:
    with Endpoint(0, HOST, SECRET) as end:
        program = (f"from toolstack.link import Endpoint; import time; end = Endpoint(1, {HOST!r}, {SECRET!r}); "
                   f"end.connect(0, {end.address!r}); end.send(0, 'here'); time.sleep(60)")
        with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as process:
            assert end.receive(30) == (1,)
            assert message(end.receive(5)) == "here"
            process.kill()
            killed = time.monotonic()
            assert lost(end.receive(10))[0] == 1
            assert time.monotonic() - killed < 5


def test_a_node_that_waits_for_ever_wakes_when_its_endpoint_is_closed() -> None:
    with nodes(2) as (first, _):
        failures: list[str] = []

        def wait() -> None:
            try:
                first.receive()
            except LinkError as error:
                failures.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        first.close()
        thread.join(10)
        assert failures == ["the endpoint is closed"]
        first.close()


def test_a_node_that_was_lost_may_come_back() -> None:
    with nodes(2) as (first, second):
        second.close()
        assert lost(first.receive(5))[0] == 1
        with Endpoint(1, HOST, SECRET) as again:
            again.connect(0, first.address)
            wait_until(lambda: first.peers == [1])
            again.send(0, "I am back")
            assert first.receive(5) == (1,)
            assert message(first.receive(5)) == "I am back"


def test_traffic_is_counted_for_each_peer() -> None:
    with nodes(3) as (first, second, _):
        first.send(1, b"x" * 95)
        first.send(1, bytes(2 * PAYLOAD))
        message(second.receive(5))
        message(second.receive(5))
        sent, received = first.traffic[1], second.traffic[0]
        assert (sent.sent, sent.sent_bytes) == (2, 97 + 5 + 2 * PAYLOAD + 5 + 3 * 5)
        assert (received.received, received.received_bytes) == (sent.sent, sent.sent_bytes)
        assert first.traffic[2].sent == 0


def test_a_message_that_is_too_large_or_no_message_is_refused_before_it_is_sent() -> None:
    with nodes(2) as (first, second):
        with pytest.raises(FrameError, match="67,108,864 are the most"):
            first.send(1, bytes(LARGEST))
        with pytest.raises(TypeError):
            first.send(1, {1, 2})
        with pytest.raises(PeerLostError, match="node 9: there is no link to it"):
            first.send(9, "who?")
        first.send(1, "fine")
        assert message(second.receive(5)) == "fine"


def test_a_node_that_does_not_come_is_named() -> None:
    with Endpoint(0, HOST, SECRET) as end, pytest.raises(LinkError, match=r"node 0 has waited 0\.1 s for node 1, 2"):
        end.join({0: end.address, 1: (HOST, 1), 2: (HOST, 1)}, 0.1)


def test_a_node_that_does_not_listen_is_named() -> None:
    with Endpoint(1, HOST, SECRET) as end, pytest.raises(LinkError, match=r"node 0 at 127\.0\.0\.1, port 1: .*refused"):
        end.join({0: (HOST, 1)})


@pytest.mark.parametrize(("host", "text"), [
    ("0.0.0.0", "own network"), ("::", "own network"), ("", "expected the address"), ("localhost", "expected the"),
    ("192.0.2.1", "listen at 192.0.2.1, port 0: "), ("224.0.0.1", "own network")])
def test_only_an_address_of_this_node_s_is_listened_at(host: str, text: str) -> None:
    with pytest.raises(LinkError, match=text):
        Endpoint(0, host, SECRET)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(LinkError, match="has 5 bytes, expected 32"):
        Endpoint(0, HOST, b"short")
