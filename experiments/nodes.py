"""Measures two domains that take turns, on one node and on two: round trips, and what goes over the link.

    python -m experiments.nodes [--rounds 5000] [--runs 3] [--ray]

`pingpong` has one page and changes a word of it, `passing` has 64 KiB of pages and writes one of them whole.  The nodes
are processes of this machine that share no memory; with `--ray` they are nodes of a Ray cluster, on this machine too.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from experiments.node_processes import Session
from experiments.results import load
from experiments.stopwatch import MeasurementError, Stopwatch
from toolstack.load import from_data
from toolstack.plan import HostPlan
from toolstack.report import LinkReport
from toolstack.runtime import RunOptions, load_runtime

_LIMIT = 120.0
GUESTS = {"pingpong": "", "passing": " pages=16"}


class Turns(NamedTuple):
    """One guest on so many nodes: round trips a second, and of one hand-over messages and bytes."""

    guest: str
    nodes: int
    rate: float
    hand_overs: int = 0
    messages: float = 0.0
    bytes: float = 0.0


def pair(guest: str, nodes: int, rounds: int) -> HostPlan:
    """A `guest` on the first node, and one on the last."""
    domains: dict[str, dict[str, Any]] = {}
    for role, peer, node in (("ping", "pong", 0), ("pong", "ping", nodes - 1)):
        line = f"role={role} peer=${{{peer}.domid}} rounds={rounds}{GUESTS[guest]}"
        domains[role] = {"kernel": guest, "cmdline": line, "memory": "8MiB", "placement": {"node": node}}
    return from_data({"domains": domains}, Path(), name=f"{guest}-{nodes}").plan()


def measure(guest: str, nodes: int, rounds: int) -> Turns:
    """In processes of this machine.  Raises MeasurementError."""
    session = Session(pair(guest, nodes, rounds))
    try:
        started = time.perf_counter()
        session.start()
        session.finish(_LIMIT)
        seconds = time.perf_counter() - started
        exits = [result.report.exit for actor in session.results for result in actor.result(_LIMIT)]
        if exits != ["poweroff", "poweroff"]:
            raise MeasurementError(f"{guest} on {nodes} nodes: {', '.join(exits)}")
        return _turns(guest, nodes, rounds / seconds, session.traffic())
    finally:
        session.close()


def measure_ray(guest: str, nodes: int, rounds: int) -> Turns:
    """On the nodes of the Ray cluster that this process is connected to.  Raises MeasurementError, HostError."""
    watch = Stopwatch()
    report = load_runtime("ray").run(pair(guest, nodes, rounds), RunOptions(timeout=_LIMIT), watch)
    if report.outcome != "finished" or watch.seconds is None:
        raise MeasurementError(f"{guest} on {nodes} nodes: {report.outcome}; the last line was: {watch.latest}")
    return _turns(guest, nodes, watch.operations / watch.seconds, report.links)


def _turns(guest: str, nodes: int, rate: float, links: Sequence[LinkReport]) -> Turns:
    turns = sum(link.hand_overs for link in links)
    each = max(turns, 1)
    return Turns(guest, nodes, rate, turns, sum(link.messages for link in links) / each,
                 sum(link.bytes for link in links) / each)


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """A Ray cluster of so many nodes on this machine, to which this process is connected meanwhile."""
    import toolstack.ray_environment  # noqa: F401 - before Ray

    # isort: split
    import ray
    from ray.cluster_utils import Cluster  # type: ignore[attr-defined, unused-ignore]

    from toolstack.ray_names import NAMESPACE

    store = 80 << 20
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": store})
    for _ in range(nodes - 1):
        found.add_node(num_cpus=2, object_store_memory=store)
    ray.init(address=found.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()
        found.shutdown()


def _table(how: Callable[[str, int, int], Turns], rounds: int, runs: int) -> None:
    print("guest     nodes  round trips/s  hand-overs  messages each  bytes each")
    print("-" * 66)
    for guest in GUESTS:
        for nodes in (1, 2):
            found = [how(guest, nodes, rounds) for _ in range(runs)]
            rate, last = median(turns.rate for turns in found), found[-1]
            line = f"{guest:8}  {nodes:5}  {rate:13,.0f}"
            if nodes > 1:
                line += f"  {last.hand_overs:10,}  {last.messages:13.2f}  {last.bytes:10,.0f}"
            print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.nodes", description="Two domains that take turns, on "
                                     "one node and on two.")
    parser.add_argument("--rounds", type=int, default=5000, help="round trips of a run (5000)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts (3)")
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster of two nodes")
    options = parser.parse_args(argv)
    try:
        if options.ray:
            with cluster(2):
                _table(measure_ray, options.rounds, options.runs)
        else:
            _table(measure, options.rounds, options.runs)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"programs that wanted each processor in the last minute: {load():.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
