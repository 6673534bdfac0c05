"""Groups run side by side, and nobody can tell in which order the host ran them."""

import random

import pytest
from all_kinds import build

from domains.runner import Runner


def run(host):
    build(host)
    report = host.run(timeout=60)
    assert host.failures == []
    return report


@pytest.mark.parametrize("seed", range(6))
def test_in_any_order(local_host, configs, monkeypatch, seed):
    usual = run(local_host(configs))
    in_order, shuffler = Runner._team_queues, random.Random(seed)

    def shuffled(self):
        queues = list(in_order(self))
        shuffler.shuffle(queues)
        return queues

    monkeypatch.setattr(Runner, "_team_queues", shuffled)
    other = run(local_host(configs))
    assert {name: domain.console for name, domain in other.domains.items()} == \
           {name: domain.console for name, domain in usual.domains.items()}
    assert other.digest == usual.digest


@pytest.mark.ray
@pytest.mark.parametrize(("placement", "pcpus"), [({}, 2), ({}, 5), ({"domains_per_actor": 3}, 1),
                                                  ({"domains_per_actor": 3}, 2)])
def test_on_any_number_of_processors_and_in_any_placement(ray_host, local_host, configs, placement, pcpus):
    usual = run(local_host(configs))
    host = ray_host(configs)
    host.configure(placement=placement, machine={"pcpus": pcpus})
    assert run(host).digest == usual.digest
