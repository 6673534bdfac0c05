"""A process dies while it hands batons to another node's, and takes them from there, without the nodes' agents."""

import random
import time

import pytest
from test_lost_nodes import kill_node, pair, plan, reports

from experiments.node_processes import Session
from toolstack import local
from toolstack.runtime import RunOptions

FOREVER = 100_000_000


class Nowhere:
    def console_line(self, name, text):
        pass

    def hypervisor_line(self, text):
        pass


def direct(session, nodes):
    """Hand-overs so far that went from process to process, from these nodes."""
    return sum(each.direct for node in nodes for each in session.nodes[node].call("traffic").result(10).values())


def wait_for_lanes(session, nodes):
    """Until both ends of a pair hand their batons on themselves."""
    end = time.monotonic() + 30
    while not all(direct(session, [node]) > 20 for node in nodes):
        assert time.monotonic() < end, "no baton went straight from process to process"
        time.sleep(0.01)


def kill_process(session, name):
    """Kill the process of a domain, and tell its node and the first one, as a runtime does."""
    domid = next(domain.domid for domain in session.plan.domains if domain.name == name)
    index = next(index for index, actor in enumerate(session.plan.actors) if domid in actor.domids)
    session.actors[index].kill()
    node = session.plan.actors[index].node
    session.nodes[0].call("lost", index + 1)
    if node:
        session.nodes[node].call("lost", index + 1)


@pytest.mark.parametrize("seed", range(12))
def test_others_go_on_where_an_end_dies(configs, seed):
    noise = random.Random(seed)
    first, second = noise.choice([(0, 1), (1, 0), (1, 2), (2, 1)])
    placed = pair(FOREVER, first, second) | pair(3000, second, 3 - first - second, "other-")
    usual = local.run(plan(configs, pair(10, 0, 0) | pair(3000, 0, 0, "other-")), RunOptions(timeout=60), Nowhere())
    session = Session(plan(configs, placed))
    try:
        session.start()
        wait_for_lanes(session, (first, second))
        time.sleep(noise.uniform(0.0, 0.02))
        dies, survives = noise.sample(("ping", "pong"), 2)
        kill_process(session, dies)
        session.finish(60)
        found = reports(session)
        assert found[dies].exit == "crash"
        assert "actor died" in found[dies].exit_detail
        assert found[survives].exit not in ("crash", "poweroff")
        for name in ("other-ping", "other-pong"):
            assert (found[name].exit, found[name].digest) == ("poweroff", usual.domains[name].digest)
    finally:
        session.close()


@pytest.mark.parametrize("seed", range(4))
def test_others_go_on_where_a_node_dies_too(configs, seed):
    noise = random.Random(seed)
    placed = pair(FOREVER, 1, 2) | pair(3000, 0, 1, "other-")
    session = Session(plan(configs, placed))
    try:
        session.start()
        wait_for_lanes(session, (1, 2))
        time.sleep(noise.uniform(0.0, 0.02))
        steps = [lambda: kill_process(session, "ping"), lambda: kill_node(session, 2)]
        noise.shuffle(steps)
        for step in steps:
            step()
            time.sleep(noise.uniform(0.0, 0.3))
        session.finish(60)
        found = reports(session)
        assert {name: report.exit for name, report in found.items()} == {
            "ping": "crash", "pong": "crash", "other-ping": "poweroff", "other-pong": "poweroff"}
    finally:
        session.close()
