"""A host on several nodes goes on from its checkpoints: on as many nodes, on one, and a part of it."""

import dataclasses

import pytest
from all_kinds import build
from going_on import Silent, several
from moving import Nodes, wander

from experiments import node_processes
from toolstack import local
from toolstack.checkpoint import read, written
from toolstack.plan import CheckpointPlan
from toolstack.runtime import RunOptions
from toolstack.testing import Host

NODES = 3


def resume(checkpoint, runtime=node_processes):
    plan = dataclasses.replace(checkpoint.plan, checkpoint=None)
    return runtime.run(plan, RunOptions(timeout=60, restore=checkpoint), Silent())


class Checkpointed(Nodes):
    """`Nodes` that takes checkpoints, one every so many nanoseconds."""

    def __init__(self, folder, every, busy=None):
        super().__init__(NODES, busy)
        self._checkpoint = CheckpointPlan(every, folder, 10 ** 6)

    def run(self, plan, options, sink):
        return super().run(dataclasses.replace(plan, checkpoint=self._checkpoint), options, sink)


@pytest.mark.parametrize("moves", [False, True])
def test_every_checkpoint_is_gone_on_from_on_nodes_and_on_one(configs, tmp_path, moves):
    host = Host(local, configs)
    build(host)
    usual = host.run(timeout=60)
    runtime = Checkpointed(tmp_path, 500_000, wander(1, range(1, 10), NODES) if moves else None)
    host = Host(runtime, configs)
    build(host)
    report = host.run(timeout=100)
    assert (report.digest, runtime.errors) == (usual.digest, [])
    assert bool(report.migrations) == moves
    assert len(written(tmp_path)) > 4
    for checkpoint in several(tmp_path):
        assert resume(checkpoint).digest == usual.digest, checkpoint.path.name
        assert resume(checkpoint, local).digest == usual.digest, checkpoint.path.name


def test_a_group_goes_on_alone(configs, tmp_path):
    host = Host(Checkpointed(tmp_path, 500_000), configs)
    build(host)
    whole = host.run(timeout=100)
    ping, pong = whole.domains["ping"].domid, whole.domains["pong"].domid
    checkpoint = next(each for each in map(read, written(tmp_path)[::-1])
                      if each.body["groups"][pong] == each.body["groups"][ping] == ping)
    part = resume(checkpoint.only(["ping"]))
    assert set(part.domains) == {"ping", "pong"}
    assert {name: domain.digest for name, domain in part.domains.items()} == \
        {name: whole.domains[name].digest for name in part.domains}
