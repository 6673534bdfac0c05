"""Domains that lie on several nodes do what they do on one; the nodes are processes with memory of their own."""

import dataclasses

import pytest
from all_kinds import build
from shipped import CONFIGS, missing

from experiments import node_processes
from toolstack import local
from toolstack.load import load
from toolstack.runtime import RunOptions
from toolstack.testing import Host


class Spread:
    """A runtime that deals a plan's actors out to so many nodes, in turn."""

    def __init__(self, nodes):
        self._nodes = nodes

    def plan(self, plan):
        return dataclasses.replace(plan, actors=tuple(
            dataclasses.replace(actor, node=index % self._nodes) for index, actor in enumerate(plan.actors)))

    def run(self, plan, options, sink):
        return node_processes.run(self.plan(plan), options, sink)


class Nowhere:
    def console_line(self, name, text):
        pass

    def hypervisor_line(self, text):
        pass


@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("name", ["two_guests", "pingpong", "mixed", "ring_demo", "abuse_revoke", "grants_v2"])
def test_shipped_configurations(name, nodes):
    if absent := missing(name):
        pytest.skip(f"not here: {', '.join(absent)}")
    plan = load(str(CONFIGS / f"{name}.yaml")).plan()
    usual = local.run(plan, RunOptions(timeout=60), Nowhere())
    spread = Spread(nodes).run(plan, RunOptions(timeout=60), Nowhere())
    assert {name: (domain.exit, domain.console) for name, domain in spread.domains.items()} == \
           {name: (domain.exit, domain.console) for name, domain in usual.domains.items()}
    assert spread.digest == usual.digest


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_groups_of_all_kinds(configs, nodes):
    digests = []
    for runtime in (local, Spread(nodes)):
        host = Host(runtime, configs)
        build(host)
        digests.append(host.run(timeout=60).digest)
        assert host.failures == []
    assert digests[0] == digests[1]
