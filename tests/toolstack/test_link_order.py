"""Any messages of any size between any nodes: all arrive, small ones in order, large ones in order."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from link_nodes import nodes

from toolstack.link import Endpoint
from toolstack.link_events import Received
from toolstack.link_frames import PAYLOAD

NODES = 3
SIZES = st.sampled_from([0, 1, 300, 4096, PAYLOAD - 40, PAYLOAD, 200_000, 3_000_000])
PLANS = st.lists(st.tuples(st.integers(0, NODES - 1), st.integers(1, NODES - 1), SIZES, st.booleans()), max_size=25)
Came = dict[tuple[int, bool], list[int]]


def talk(end: Endpoint, mine: list[tuple[int, int, int, bool]], expected: int, came: Came) -> None:
    """Send this node's messages, and receive as many as are meant for it."""
    for number, peer, size, bulk in mine:
        end.send(peer, [number, bulk or size >= PAYLOAD - 30, bytes([number]) * size], bulk=bulk)
    while expected:
        event = end.receive(30)
        assert isinstance(event, Received), event
        number, slow, content = event.message
        assert content == bytes([number]) * len(content)
        came.setdefault((event.peer, slow), []).append(number)
        expected -= 1
    assert end.flush(30)


@settings(max_examples=25, deadline=None)
@given(PLANS)
def test_everything_arrives_in_the_order_of_its_kind(plan: list[tuple[int, int, int, bool]]) -> None:
    sent: list[list[tuple[int, int, int, bool]]] = [[] for _ in range(NODES)]
    expected: list[Came] = [{} for _ in range(NODES)]
    for number, (sender, steps, size, bulk) in enumerate(plan):
        receiver = (sender + steps) % NODES
        sent[sender].append((number, receiver, size, bulk))
        expected[receiver].setdefault((sender, bulk or size >= PAYLOAD - 30), []).append(number)
    came: list[Came] = [{} for _ in range(NODES)]
    with nodes(NODES) as ends:
        threads = [threading.Thread(target=talk, args=(
            end, sent[end.node], sum(map(len, expected[end.node].values())), came[end.node])) for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert came == expected
