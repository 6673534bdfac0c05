"""What a hand-over by a call of a Ray actor takes: the baseline of `experiments.node_link`."""

import time
from typing import Any

import msgpack

from experiments.node_link import Group, Row
from toolstack.ray_cluster import start_ray

# isort: split
import ray


class Node:
    """Node 1, as an actor."""

    def __init__(self, shared: int) -> None:
        self._group = Group(1, shared)

    def bare(self, message: bytes) -> bytes:
        """Nothing but the call."""
        return message

    def turn(self, message: bytes) -> bytes:
        """Take the baton and give it back."""
        self._group.take(msgpack.unpackb(message, strict_map_key=False))
        return _packed(self._group)


def measure_ray(how: str, count: int, shared: int) -> Row:
    """The same ping-pong with an actor.  Raises HostError where Ray cannot be started."""
    start_ray(2)
    try:
        actor = ray.remote(num_cpus=0)(Node).remote(shared)
        group = Group(0, shared)

        def bare() -> None:
            ray.get(actor.bare.remote(b"\1"))

        def turn() -> None:
            answer: Any = ray.get(actor.turn.remote(_packed(group)))
            group.take(msgpack.unpackb(answer, strict_map_key=False))

        measured = []
        for step in (bare, turn):
            times = []
            for _ in range(count + 20):
                started = time.perf_counter()
                step()
                times.append(time.perf_counter() - started)
            measured.append(sorted(times[20:]))
        bare_times, turn_times = measured
        return Row(how, sum(bare_times) / count, sum(turn_times) / count, turn_times[int(0.99 * count)])
    finally:
        ray.shutdown()


def _packed(group: Group) -> bytes:
    packed: bytes = msgpack.packb(group.make())
    return packed
