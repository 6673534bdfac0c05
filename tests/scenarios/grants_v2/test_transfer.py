"""Paravirtual guests give pages away, to guests of every kind with tables of either version, near and far."""

import dataclasses

import pytest

from experiments import node_processes
from toolstack.testing import Host

KINDS = {"pvh64": {"type": "pvh"}, "pv64": {"type": "pv"}, "pv32": {"type": "pv", "bits": 32}}


def build(host, giver, taker, version):
    host.domain("transfer", name="giver", cmdline="role=giver peer=${taker.domid} pages=8", memory=16, **KINDS[giver])
    return host.domain("transfer", name="taker", cmdline=f"role=taker peer=${{giver.domid}} version={version}",
                       memory=16, **KINDS[taker])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("giver", "taker"), [
    ("pv64", "pvh64"), ("pv64", "pv64"), ("pv32", "pvh64"), ("pv64", "pv32"), ("pv32", "pv64")])
def test_pages_change_hands_twice_the_same(local_host, tmp_path, giver, taker, version):
    digests = []
    for _ in range(2):
        host = local_host(tmp_path)
        guest = build(host, giver, taker, version)
        assert host.run(timeout=30).outcome == "finished"
        assert host.failures == []
        assert f"PASS 8 transfers completed, by entries of version {version}" in guest.console
        assert "PASS 32768 bytes came, 0 wrong" in guest.console
        digests.append(host.report.digest)
    assert digests[0] == digests[1]


class TwoNodes:
    """A runtime that puts the two domains on a node each."""

    def run(self, plan, options, sink):
        actors = tuple(dataclasses.replace(actor, node=index) for index, actor in enumerate(plan.actors))
        return node_processes.run(dataclasses.replace(plan, actors=actors), options, sink)


@pytest.mark.parametrize(("taker", "version"), [("pvh64", 2), ("pv64", 1)])
def test_pages_go_to_other_nodes(local_host, tmp_path, taker, version):
    digests = []
    for host in (local_host(tmp_path), Host(TwoNodes(), tmp_path)):
        guest = build(host, "pv64", taker, version)
        digests.append(host.run(timeout=60).digest)
        assert host.failures == []
        assert "PASS 32768 bytes came, 0 wrong" in guest.console
    assert digests[0] == digests[1]
