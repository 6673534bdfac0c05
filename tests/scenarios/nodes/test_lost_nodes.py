"""A node dies at any moment: its domains count as crashed, and the others go on."""

import random
import time

import pytest

from experiments.node_processes import Session
from toolstack.load import from_data


def plan(configs, placed):
    domains = {}
    for name, (node, settings) in placed.items():
        domains[name] = {"kernel": "pingpong", "memory": "8MiB", "placement": {"node": node}} | settings
    return from_data({"domains": domains}, configs).plan()


def pair(rounds, first, second, stem=""):
    """Two that ping-pong, each on a node."""
    ping, pong = f"{stem}ping", f"{stem}pong"
    return {ping: (first, {"cmdline": f"role=ping peer=${{{pong}.domid}} rounds={rounds}"}),
            pong: (second, {"cmdline": f"role=pong peer=${{{ping}.domid}} rounds={rounds}"})}


def kill_node(session, number):
    for index, actor in enumerate(session.plan.actors):
        if actor.node == number:
            session.actors[index].kill()
    session.nodes[number].kill()


def reports(session):
    """What is known of all domains when the run has ended."""
    found = {}
    for index, actor in enumerate(session.plan.actors):
        for domid in actor.domids:
            try:
                report = session.results[index].result(20)[0].report
            except ProcessLookupError:
                report = session.nodes[0].call("report", domid).result(5)
            found[report.name] = report
    return found


@pytest.mark.parametrize("seed", range(4))
def test_other_domains_go_on(configs, seed):
    noise = random.Random(seed)
    lost = noise.choice((1, 2))
    placed = pair(100_000_000, 0, lost) | pair(300, 0, 3 - lost, "other-") | \
        {"busy": (0, {"kernel": "abuse/spin", "cmdline": "for=30"})}
    session = Session(plan(configs, placed))
    try:
        session.start()
        time.sleep(noise.uniform(0.0, 0.8))
        kill_node(session, lost)
        session.finish(60)
        found = reports(session)
        exits = {name: report.exit for name, report in found.items() if name != "ping"}
        assert exits == {"pong": "crash", "other-ping": "poweroff", "other-pong": "poweroff", "busy": "poweroff"}
        assert "its node is lost" in found["pong"].exit_detail
        assert found["ping"].exit != "poweroff"
    finally:
        session.close()
