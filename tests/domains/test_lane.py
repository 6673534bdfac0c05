"""What a process that hands a baton to another node does with its lane: what the agents would do, or nothing."""

import os

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_nodes import RANGES, TEAM, WATCHED, NodeWithLane, nodes_with_lanes

from state.standing import OwnStanding

SPANS = [span for ranges in RANGES.values() for span in ranges]


@pytest.fixture
def pair() -> list[NodeWithLane]:
    return nodes_with_lanes(2, os.getpid())


def test_a_message_is_what_the_agents_would_send(pair: list[NodeWithLane]) -> None:
    first, second = pair
    first.buffer[4096:4104] = b"abcdefgh"
    first.buffer[300] = 9
    message = first.lanes.collect(second.row)
    assert message is not None
    number, team, process, parcels = msgpack.unpackb(message, strict_map_key=False)
    assert (number, team, process) == (3, TEAM, second.row)
    second.apply(parcels)
    assert second.buffer[4096:4104] == b"abcdefgh"
    assert second.buffer[300] == 9
    assert [replica.holding for node in pair for replica in node.replicas.values()] == [False, False, True, True]


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 4), data=st.data())
def test_both_ways_one_memory(count: int, data: st.DataObject) -> None:
    """Random writes, and random hand-overs by the lanes and by the agents: who has the baton sees all of it."""
    nodes = nodes_with_lanes(count, os.getpid())
    model, holder, straight = bytearray(nodes[0].buffer), nodes[0], 0
    for _ in range(data.draw(st.integers(1, 25))):
        for offset, length in data.draw(st.lists(st.sampled_from(SPANS), max_size=3)):
            at = offset + data.draw(st.integers(0, length - 1))
            model[at] = holder.buffer[at] = data.draw(st.integers(0, 255))
        target = data.draw(st.sampled_from([node for node in nodes if node is not holder]))
        message = holder.lanes.collect(target.row) if data.draw(st.booleans()) else None
        if message is None:
            target.apply(msgpack.unpackb(holder.collect(target.number), strict_map_key=False))
        elif data.draw(st.booleans()):
            assert target.lanes.take(message)
            straight += 1
        else:
            target.apply(msgpack.unpackb(message, strict_map_key=False)[3])
        holder = target
        assert holder.buffer == model
    assert sum(node.lane.sent(peer).hand_overs for node in nodes for peer in range(count)) >= straight


def test_only_what_changed_goes(pair: list[NodeWithLane]) -> None:
    first, second = pair
    first.buffer[4096:8192] = bytes(range(256)) * 16
    message = first.lanes.collect(second.row)
    assert message is not None
    assert len(message) < 4096 + 400
    assert second.lanes.take(message)
    back = second.lanes.collect(first.row)
    assert back is not None
    assert len(back) < 400


@pytest.mark.parametrize("spoil", [
    lambda node: node.buffer.__setitem__(WATCHED + 7, 1),
    lambda node: node.buffer.__setitem__(WATCHED + 20, 1),
    lambda node: node.replicas[2].add(30_000, 10),
    lambda node: node.replicas[1].forget(1),
    lambda node: node.lane.set_ready(1, {}),
    lambda node: node.lane.invalidate(),
    lambda node: node.replicas[1].add(32_768, 16_384),
    lambda node: node.table.told.__setitem__(0, 2),
    lambda node: node.host.topology.__setitem__(0, 8),
    lambda node: node.table.topology.__setitem__(0, 8),
    lambda node: setattr(node.lanes.wire, "links", False),
    lambda node: node.replicas[1].collect(1),
], ids=["a word", "a byte", "a range", "forgotten", "peer has none", "taken down", "outgrown", "round", "topology",
        "teams", "no link", "not here"])
def test_what_is_not_plain_is_the_agents(pair: list[NodeWithLane], spoil: object) -> None:
    first, second = pair
    spoil(first)  # type: ignore[operator]
    before = first.state()
    assert first.lanes.collect(second.row) is None
    assert first.state() == before


def test_what_does_not_fit_is_forwarded_and_changes_nothing(pair: list[NodeWithLane]) -> None:
    first, second = pair
    first.buffer[4096:4104], first.buffer[8192] = b"abcdefgh", 1
    message = first.lanes.collect(second.row)
    assert message is not None
    before = second.state()
    wrong = [message[:length] for length in range(len(message))] + [message + b"\0", b"\xc0" * len(message)]
    for each in wrong:
        assert not second.lanes.take(each)
        assert second.state() == before
    assert second.forwarded == wrong
    assert second.lanes.take(message)
    assert not second.lanes.take(message)  # twice


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_byte_that_is_wrong(at: float, value: int) -> None:
    """The message is refused as a whole, or it is one that could have been sent."""
    first, second = nodes_with_lanes(2, os.getpid())
    first.buffer[4096:4104], first.buffer[300] = b"abcdefgh", 9
    message = bytearray(first.lanes.collect(second.row) or b"")
    message[int(at * len(message))] = value
    before = second.state()
    if not second.lanes.take(bytes(message)):
        assert second.state() == before
    else:
        msgpack.unpackb(bytes(message), strict_map_key=False)
        assert all(replica.holding for replica in second.replicas.values())


def test_a_round_that_only_one_has_heard_of(pair: list[NodeWithLane]) -> None:
    first, second = pair
    first.round(4)
    message = first.lanes.collect(second.row)
    assert message is not None
    assert not second.lanes.take(message)
    second.round(4)
    assert second.lanes.take(message)


def test_who_died_while_writing_is_not_the_latest(pair: list[NodeWithLane]) -> None:
    """Bytes that were written in part are written again by whoever goes on."""
    first, second = pair
    first.buffer[4096:4104] = b"abcdefgh"
    message = first.lanes.collect(second.row)
    assert message is not None
    second.buffer[4096:4100] = b"abcd"  # and no more
    assert all(one.turn > other.turn for one, other in
               zip(first.replicas.values(), second.replicas.values(), strict=True))
    for replica in first.replicas.values():
        replica.reclaim(-2)
    again = first.lanes.collect(second.row)
    assert again is not None
    assert second.lanes.take(again)
    assert second.buffer[4096:4104] == b"abcdefgh"


def test_a_lane_that_is_taken_down_leaves_all_as_it_was(pair: list[NodeWithLane]) -> None:
    first, second = pair
    message = first.lanes.collect(second.row)
    assert message is not None
    assert second.lanes.take(message)
    for node in pair:
        node.lane.valid = False
        for replica in node.replicas.values():
            replica.keep_in(OwnStanding())
            replica.cells.keep_here()  # type: ignore[attr-defined]
    second.buffer[310] = 77
    assert second.lanes.collect(first.row) is None
    first.apply(msgpack.unpackb(second.collect(0), strict_map_key=False))
    assert first.buffer[310] == 77
