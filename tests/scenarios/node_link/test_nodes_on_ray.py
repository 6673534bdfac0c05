"""Three Ray nodes with an actor each: the baton goes round with what changed, and a node that dies is noticed."""

import hashlib
import random
import sys
import time

import pytest

import toolstack.ray_environment  # noqa: F401 - before Ray
from domains.native_cells import cells_factory
from state.replica import Delta, Replica
from toolstack.link import Endpoint
from toolstack.link_events import PeerJoined, PeerLost, Received
from toolstack.link_handshake import new_secret

pytestmark = pytest.mark.ray

NODES, PAGE = 3, 4096
RANGES = [(8 * PAGE * page, PAGE) for page in range(16)] + [(3 * PAGE + 100 * row, 41) for row in range(40)]


def write(memory, noise):
    """What a guest's turn does to the shared bytes."""
    for _ in range(20):
        offset, length = noise.choice(RANGES)
        at = noise.randrange(length)
        data = noise.randbytes(noise.randrange(1, 300))[:length - at]
        memory[offset + at:offset + at + len(data)] = data


def shared_digest(memory):
    """One number for all shared bytes."""
    return hashlib.sha256(b"".join(memory[offset:offset + length] for offset, length in RANGES)).hexdigest()


class Member:
    """A node's actor: its arena, its replica, and its end of the link."""

    def __init__(self, node, secret):
        import ray

        self.node = node
        self.memory = memoryview(bytearray(random.Random(node).randbytes(1 << 20)))
        self.replica = Replica(self.memory, node, holding=node == 0, cells=cells_factory())
        if node == 0:
            for span in RANGES:
                self.replica.add(*span)
        self.end = Endpoint(node, ray.util.get_node_ip_address(), secret)

    def where(self):
        import ray

        return ray.get_runtime_context().get_node_id(), self.end.address

    def join(self, addresses):
        self.end.join(addresses)
        assert {self.next_event(PeerJoined).peer for _ in range(NODES - 1)} == set(range(NODES)) - {self.node}

    def next_event(self, kind):
        event = self.end.receive(20)
        assert isinstance(event, kind), event
        return event

    def play(self, way):
        """Have the baton at the turns of `way` that name this node; the digest at the end, and the bytes sent."""
        for turn, (holder, after) in enumerate(zip(way, [*way[1:], None], strict=True)):
            if holder != self.node:
                continue
            if not self.replica.holding:
                self.replica.apply(Delta.read(self.next_event(Received).message))
            if turn < len(way) - NODES:
                write(self.memory, random.Random(turn))
            if after is not None:
                self.end.send(after, self.replica.collect(after))
        return shared_digest(self.memory), sum(traffic.sent_bytes for traffic in self.end.traffic.values())

    def turn(self):
        return self.replica.turn

    def lost(self):
        """Wait for the loss of a node: who, and when."""
        event = self.next_event(PeerLost)
        return event.peer, time.time()

    def go_on_without(self, lost):
        """The baton was at the lost node: who is left goes on from what it last had."""
        self.replica.reclaim(lost)
        self.memory[:5] = b"alive"
        other = self.end.peers[0]
        self.end.send(other, self.replica.collect(other))
        return shared_digest(self.memory)

    def take(self):
        self.replica.apply(Delta.read(self.next_event(Received).message))
        return shared_digest(self.memory)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of three nodes; what starts late on a busy machine has time."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # what other tests share
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20,
                                                         "include_dashboard": False})
    try:
        made.extra = [made.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(NODES - 1)]
        ray.init(address=made.address, log_to_driver=False, configure_logging=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def started(cluster, secret):
    """An actor on each node, linked to the others."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ids = [cluster.head_node.node_id, *(node.node_id for node in cluster.extra)]
    members = [ray.remote(num_cpus=0)(Member).options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)).remote(node, secret)
        for node, node_id in enumerate(ids)]
    places = ray.get([member.where.remote() for member in members])
    assert [place[0] for place in places] == ids
    ray.get([member.join.remote({node: place[1] for node, place in enumerate(places)}) for member in members])
    return members


def test_all_nodes_end_with_the_bytes_of_one_and_a_lost_node_is_noticed(cluster):
    import ray

    members = started(cluster, new_secret())
    noise, way = random.Random(1), [0]
    while len(way) < 300 or way[-1] == 0:
        way.append((way[-1] + noise.randrange(1, NODES)) % NODES)
    way += range(NODES)  # and once round, without writing
    one = bytearray(random.Random(0).randbytes(1 << 20))
    for turn in range(len(way) - NODES):
        write(one, random.Random(turn))

    results = ray.get([member.play.remote(way) for member in members], timeout=60)
    assert {digest for digest, _ in results} == {shared_digest(one)}
    everything = sum(length for _, length in RANGES) * len(way)
    assert sum(sent for _, sent in results) < everything / 4

    victim = way[-1]
    began = time.time()
    waiting = [members[node].lost.remote() for node in range(victim)]
    cluster.remove_node(cluster.extra[victim - 1], allow_graceful=False)
    for peer, when in ray.get(waiting, timeout=30):
        assert peer == victim
        assert when - began < 10
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(members[victim].where.remote(), timeout=30)

    turns = ray.get([members[node].turn.remote() for node in range(victim)])
    latest = turns.index(max(turns))
    assert latest == way[-2]
    digest = ray.get(members[latest].go_on_without.remote(victim))
    assert digest != shared_digest(one)
    assert ray.get(members[1 - latest].take.remote()) == digest
