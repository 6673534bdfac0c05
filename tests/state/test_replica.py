"""What travels with the baton: what the next node lacks, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replica_cluster import SIZE, Cluster

from domains.native_cells import cells_factory
from state.cells import ENTRY, Cells, PythonCells
from state.replica import Delta, DeltaError, NotHolderError, Replica

NATIVE = cells_factory()
PAGE = 4096

pytestmark = pytest.mark.parametrize("cells", [PythonCells, NATIVE], ids=["python", "native"])


def test_the_native_cells_are_native(cells: object) -> None:
    assert NATIVE is not PythonCells


def test_a_new_node_gets_everything_and_then_only_what_changed(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(PAGE, 4 * PAGE)
    assert len(cluster.hand_over(1).data) == 4 * PAGE
    assert cluster.hand_over(0).data == b""
    cluster.write(2 * PAGE + 100, b"hello")
    delta = cluster.hand_over(1)
    assert (delta.pieces, len(delta.data)) == (1, 64)
    assert cluster.buffers[1][2 * PAGE + 100:2 * PAGE + 105] == b"hello"


def test_cells_side_by_side_are_one_piece(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(0, 16 * PAGE)
    cluster.hand_over(1)
    cluster.write(3 * PAGE, b"x" * PAGE)
    cluster.write(5 * PAGE, b"x")
    delta = cluster.hand_over(0)
    assert (delta.pieces, len(delta.data)) == (2, PAGE + 64)


def test_one_changed_page_of_a_large_set_is_little_more_than_the_page(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells], size=1 << 20)
    cluster.share(0, 64 * 1024)
    for row in range(100):
        cluster.share(100_000 + 1000 * row, 200)
    cluster.hand_over(1)
    cluster.write(PAGE, bytes(range(256)) * 16)
    for row in range(20):
        cluster.write(100_000 + 1000 * row + 8, b"12345678")
    cluster.hand_over(0)
    assert len(cluster.messages[-1]) < 6 * 1024


def test_bytes_beside_a_range_stay_what_they_are(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(1001, 3)
    cluster.share(1007, 65)
    cluster.write(1001, b"abc")
    cluster.write(1007, b"z" * 65)
    cluster.hand_over(1)
    expected = bytearray(cluster.private[1])
    expected[1001:1004], expected[1007:1072] = b"abc", b"z" * 65
    assert cluster.buffers[1] == expected


def test_the_third_node_gets_what_it_missed_and_the_first_nothing_twice(cells: type[Cells]) -> None:
    cluster = Cluster(3, [cells])
    cluster.share(0, 8 * PAGE)
    for node in (1, 2, 0):
        cluster.hand_over(node)
    cluster.write(0, b"by 0")
    assert len(cluster.hand_over(1).data) == 64
    cluster.write(PAGE, b"by 1")
    assert len(cluster.hand_over(2).data) == 128
    cluster.write(2 * PAGE, b"by 2")
    assert len(cluster.hand_over(0).data) == 128
    assert cluster.agrees()
    assert len(cluster.hand_over(1).data) == 64


def test_a_range_of_which_the_peer_has_the_bytes_is_not_shipped(cells: type[Cells]) -> None:
    cluster = Cluster(3, [cells])
    cluster.hand_over(1)
    cluster.hand_over(0)
    cluster.buffers[0][PAGE:2 * PAGE] = cluster.buffers[1][PAGE:2 * PAGE]
    cluster.share(PAGE, PAGE, home=1)
    cluster.write(PAGE, b"new")
    assert len(cluster.hand_over(1).data) == 64
    assert cluster.agrees()
    assert len(cluster.hand_over(2).data) == PAGE
    assert cluster.agrees()


def test_a_range_that_is_shared_twice_is_shared_until_it_is_unshared_twice(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(PAGE, PAGE)
    cluster.share(PAGE, PAGE)
    cluster.hand_over(1)
    cluster.unshare(PAGE, PAGE)
    cluster.hand_over(0)
    cluster.write(PAGE, b"still")
    assert len(cluster.hand_over(1).data) == 64
    cluster.unshare(PAGE, PAGE)
    cluster.hand_over(0)
    assert not len(cluster.replica.ranges)
    with pytest.raises(ValueError, match="not shared"):
        cluster.unshare(PAGE, PAGE)


def test_a_node_that_missed_a_range_s_whole_life_follows(cells: type[Cells]) -> None:
    cluster = Cluster(3, [cells])
    for node in (1, 2, 0):
        cluster.hand_over(node)
    cluster.share(PAGE, PAGE)
    cluster.hand_over(1)
    cluster.unshare(PAGE, PAGE)
    cluster.share(9 * PAGE, 100)
    cluster.share(PAGE, PAGE)
    cluster.write(PAGE, b"later")
    cluster.hand_over(2)
    assert cluster.agrees()
    cluster.hand_over(0)
    assert cluster.agrees()


def test_what_changed_is_forgotten_once_everybody_knows(cells: type[Cells]) -> None:
    cluster = Cluster(3, [cells])
    for turn in range(300):
        cluster.share(PAGE, PAGE)
        cluster.hand_over((cluster.holder + 1 + turn % 2) % 3)
        cluster.unshare(PAGE, PAGE)
        cluster.hand_over((cluster.holder + 1) % 3)
    for replica in cluster.replicas:
        assert len(replica._log) < 30
        assert len(replica._fresh) <= 1


def test_only_the_holder_changes_ranges_and_hands_over(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    other = cluster.replicas[1]
    for step in (lambda: other.add(0, 1), lambda: other.remove(0, 1), lambda: other.collect(0),
                 lambda: other.forget(0)):
        with pytest.raises(NotHolderError, match="node 1 does not have the baton"):
            step()


def test_a_delta_that_comes_twice_or_out_of_order_is_refused(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(0, PAGE)
    delta = cluster.hand_over(1)
    with pytest.raises(DeltaError, match="cannot take a baton of turn 1"):
        cluster.replicas[1].apply(delta)
    cluster.hand_over(0)
    with pytest.raises(DeltaError, match="cannot take a baton of turn 1"):
        cluster.replicas[1].apply(delta)


@pytest.mark.parametrize("change", [
    {"cells": ENTRY.pack(0, 1, 0)}, {"cells": ENTRY.pack(0, 2, 0)[:-1]}, {"cells": ENTRY.pack(64, 1, 0)},
    {"cells": ENTRY.pack((1 << 32) - 1, (1 << 32) - 1, 0)}, {"cells": ENTRY.pack(0, 1, 4000)}, {"data": b"x"},
    {"changes": b"x"}, {"changes": b"\xff" * 40}, {"changes": bytes(40)}, {"seen": {}}], ids=str)
def test_a_delta_that_does_not_fit_is_refused_and_writes_nothing(cells: type[Cells], change: dict[str, object]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(0, PAGE)
    cluster.hand_over(1)
    delta = cluster.replica.collect(0)._replace(**change)
    before = bytes(cluster.buffers[0])
    with pytest.raises(DeltaError):
        cluster.replicas[0].apply(delta)
    assert bytes(cluster.buffers[0]) == before


@settings(max_examples=150, deadline=None)
@given(messages=st.one_of(
    st.lists(st.none() | st.integers() | st.binary(max_size=90), max_size=8),
    st.tuples(st.integers(-2, 5), st.booleans(), st.dictionaries(st.integers(-1, 2), st.integers(-1, 4), max_size=3),
              st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=36), st.binary(max_size=130))))
def test_no_message_does_anything_but_harm_its_sender(cells: type[Cells], messages: object) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(PAGE, 100)
    cluster.hand_over(1)
    cluster.hand_over(0)
    before = bytes(cluster.buffers[1])
    try:
        cluster.replicas[1].apply(Delta.read(messages))
    except DeltaError:
        assert bytes(cluster.buffers[1]) == before


def test_who_is_left_goes_on_from_what_it_last_had(cells: type[Cells]) -> None:
    cluster = Cluster(3, [cells])
    cluster.share(0, PAGE)
    for node in (1, 2, 0):
        cluster.hand_over(node)
    cluster.write(0, b"known")
    cluster.hand_over(1)
    known = bytes(cluster.one_memory)
    cluster.write(64, b"lost with node 1")
    latest = max((cluster.replicas[0], cluster.replicas[2]), key=lambda replica: replica.turn)
    assert latest is cluster.replicas[0]
    latest.reclaim(lost=1)
    cluster.holder, cluster.one_memory = 0, bytearray(known)
    assert cluster.agrees()
    cluster.write(128, b"on")
    cluster.hand_over(2)
    assert cluster.agrees()


def test_a_node_that_was_forgotten_comes_back_to_everything(cells: type[Cells]) -> None:
    cluster = Cluster(2, [cells])
    cluster.share(0, PAGE, home=1)
    cluster.buffers[1][:PAGE] = cluster.buffers[0][:PAGE]
    cluster.hand_over(1)
    cluster.hand_over(0)
    cluster.replica.forget(1)
    cluster.buffers[1][:] = bytes(SIZE)
    cluster.replicas[1] = Replica(memoryview(cluster.buffers[1]), 1, holding=False, cells=cells)
    delta = cluster.hand_over(1)
    assert delta.whole
    assert len(delta.data) == PAGE
    assert cluster.agrees()
