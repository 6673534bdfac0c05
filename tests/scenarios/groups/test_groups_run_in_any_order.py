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


def pair(host):
    host.domain("writer", name="w0", cmdline="peer=${r0.domid} pages=2", memory="16MiB")
    host.domain("reader", name="r0", type="pv", cmdline="peer=${w0.domid} pages=2", memory="16MiB")
    host.configure(hypercalls=["hypercalls/greet.py"])


@pytest.mark.parametrize("neighbours", [
    {"abuse/void": "where=stack"}, {"abuse/spin": "for=30"}, {"first_steps": "", "abuse/flood": ""}])
def test_what_a_group_sees_does_not_depend_on_others(local_host, configs, neighbours):
    digests = []
    for beside in ({}, neighbours):
        host = local_host(configs)
        pair(host)
        for kernel, cmdline in beside.items():
            host.domain(kernel, name=kernel.split("/")[-1], cmdline=cmdline, memory="16MiB")
        report = host.run(timeout=60)
        digests.append([report.domains[name].digest for name in ("w0", "r0")])
    assert digests[0] == digests[1]
