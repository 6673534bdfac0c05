"""One run of `experiments.scaling`, in a process of its own: `python -m experiments.scaling_child FILE < request`.

The request is JSON: a point, and how to run it.  FILE gets what was measured, or what went wrong.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.footprint import Memory, actors_of, descendants, domain_actors, memory_of, processes
from experiments.scaling_cluster import cluster
from experiments.scaling_point import Measured, Point
from experiments.scaling_shapes import ENDLESS, SHAPES, Shape
from experiments.scaling_watch import Progress, Watch
from experiments.startup import build
from experiments.stopwatch import MeasurementError
from toolstack.config import PlacementConfig
from toolstack.errors import ConfigError, HostError
from toolstack.load import from_data
from toolstack.plan import HostPlan
from toolstack.report import RunReport
from toolstack.runtime import RunOptions, load_runtime
from toolstack.stop import Stop

_PR_SET_PDEATHSIG = 1
_SETTLE = 0.3
"""Seconds that domains run before their memory is looked at: translated code is a part of it."""


def measure(point: Point, *, address: str | None, timeout: float, spawned: float, stop: Stop) -> list[Measured]:
    """Run `point`.  `spawned`: when the user's command was given, on the monotonic clock.

    Raises MeasurementError, ConfigError, HostError.
    """
    shape = SHAPES[point.shape]
    for program in shape.programs:
        build(program)
    plan = _plan(shape, point)
    watch = Watch(point.domains)
    options = RunOptions(timeout=timeout, stop=stop)
    with cluster(point, address):
        if point.purpose == "memory":
            return _memory(point, plan, options, watch, address)
        return _speed(shape, point, plan, options, watch, spawned)


def configuration(shape: Shape, point: Point) -> dict[str, Any]:
    """The host that a point boots.  What is as it would be anyhow is not said."""
    amount = ENDLESS * shape.amount if point.purpose == "memory" else point.amount
    data: dict[str, Any] = {"domains": shape.describe(point.domains, amount)}
    if point.pcpus:
        data["machine"] = {"pcpus": point.pcpus}
    placement = {}
    if point.domains_per_actor > 1:
        placement["domains_per_actor"] = point.domains_per_actor
    if point.nodes > 1 and "nodes" in PlacementConfig.model_fields:
        placement["nodes"] = point.nodes
    return {**data, "placement": placement} if placement else data


def _plan(shape: Shape, point: Point) -> HostPlan:
    return from_data(configuration(shape, point), Path(), name="scaling").plan()


def _speed(shape: Shape, point: Point, plan: HostPlan, options: RunOptions, watch: Watch,
           spawned: float) -> list[Measured]:
    progress = Progress(watch, shape.peers(point.domains))
    up: list[float] = []

    def started(running: Any) -> None:
        up.append(time.monotonic())
        if point.domains > 1:
            progress.begin(running)

    options.started = started
    began = time.monotonic()
    report = load_runtime(point.runtime).run(plan, options, watch)
    _check(report, watch)
    if watch.all_up is None or not up:
        raise MeasurementError("not all domains said something")
    found = [Measured("startup", watch.all_up - spawned, "s"), Measured("creation", up[0] - began, "s")]
    return found + speed(shape, point.domains, watch, report.to_json(), progress.spreads)


def speed(shape: Shape, domains: int, watch: Watch, report: Mapping[str, Any],
          spreads: list[float]) -> list[Measured]:
    """What the marks and the report of a finished run say."""
    seconds, operations = watch.seconds, sum(watch.operations.values())
    found = [Measured("window", seconds, "s"), Measured("throughput", operations / seconds, shape.unit)]
    if shape.operation == "instructions":
        found.append(Measured("instructions_per_s", operations / seconds, "instructions/s"))
    if shape.operations_per_round_trip is not None:
        round_trips = operations / shape.operations_per_round_trip(domains)
        found.append(Measured("round_trips_per_s", round_trips / seconds, "round trips/s"))
    if shape.messages is not None:
        found.append(Measured("messages_per_s", operations * shape.messages / seconds, "messages/s"))
    found += _hand_overs(shape, seconds, operations, report)
    work = sum(domain["work"] for domain in report["domains"].values())
    found.append(Measured("guest_code", work, "B"))
    if spreads:
        found.append(Measured("virtual_spread", max(spreads), "s"))
    if watch.spread is not None:
        found.append(Measured("finish_spread", watch.spread, "of the time"))
    return found


def _hand_overs(shape: Shape, seconds: float, operations: int, report: Mapping[str, Any]) -> list[Measured]:
    """By the report's counts, where it has any; else by what the protocol says.  Across nodes only by counts."""
    found = []
    links = report.get("links") or []
    counted = sum(link["hand_overs"] for link in links)
    count = counted or operations * (shape.hand_overs or 0)
    if count:
        found.append(Measured("handover", seconds / count, "s"))
    for key, unit in (("bytes", "B"), ("messages", "messages")):
        if counted:
            found.append(Measured(f"{key}_per_handover", sum(link[key] for link in links) / counted, unit))
    return found


def _memory(point: Point, plan: HostPlan, options: RunOptions, watch: Watch, address: str | None) -> list[Measured]:
    """Let the domains work without end; look at their processes; stop them."""
    found: list[Measured] = []
    problems: list[str] = []

    def look() -> None:
        if not watch.going.wait(options.timeout):
            return
        time.sleep(_SETTLE)
        try:
            found.extend(_look_at_memory(point, address))
        except (MeasurementError, OSError) as error:
            problems.append(str(error))
        options.stop.request()

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    report = load_runtime(point.runtime).run(plan, options, watch)
    if problems:
        raise MeasurementError(problems[0])
    if report.outcome != "interrupted" or not found:
        raise MeasurementError(f"{report.outcome} before memory could be looked at; the last line was: {watch.latest}")
    return found


def _look_at_memory(point: Point, address: str | None) -> list[Measured]:
    me = os.getpid()
    mine = [me, *descendants(me)]
    # A cluster that was there is nobody's descendant; how much of it is ours, but for the actors, cannot be told.
    actors = actors_of(me) if address is None else domain_actors(processes())
    sizes: dict[int, Memory] = {pid: memory_of(pid) for pid in dict.fromkeys((*mine, *actors))}
    found = [Measured("total_pss", sum(size.pss for size in sizes.values()), "B")]
    if len(actors) == -(-point.domains // point.domains_per_actor):
        total = [sizes[actor] for actor in actors]
        found.append(Measured("actor_pss", sum(size.pss for size in total) / len(total), "B"))
        found.append(Measured("actor_own", sum(size.own for size in total) / len(total), "B"))
    return found


def _check(report: RunReport, watch: Watch) -> None:
    exits = sorted({domain.exit for domain in report.domains.values()})
    if report.outcome != "finished" or exits != ["poweroff"] or not watch.complete:
        raise MeasurementError(f"{report.outcome}, {', '.join(exits)}; the last line was: {watch.latest}")


def main() -> int:
    """Do what standard input asks for; the exit status."""
    stop = Stop()
    with stop.on_signals():
        # Who waits for us may be killed: then nobody wants this any more.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        text = sys.stdin.read()
        if not text or os.getppid() != (request := json.loads(text))["parent"]:
            return 1
        try:
            measured = measure(Point(**request["point"]), address=request["address"], timeout=request["timeout"],
                               spawned=request["spawned"], stop=stop)
            answer: dict[str, Any] = {"measured": [list(each) for each in measured]}
        except ConfigError as error:
            answer = {"error": "; ".join(error.lines())}
        except (MeasurementError, HostError, OSError) as error:
            answer = {"error": str(error)}
    Path(sys.argv[1]).write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
