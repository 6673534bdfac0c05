"""Domains that move from node to node all the time do what they do where nothing moves."""

import pytest
from moving import Nodes, wander

from toolstack import local
from toolstack.testing import Host

MEMBERS = 3


def build(host):
    """Pairs, a ring, all to all, and who writes all of its memory; kinds mixed."""
    host.domain("pingpong", name="ping", cmdline="role=ping peer=${pong.domid} rounds=6000 mode=block", memory="8MiB")
    host.domain("pingpong", name="pong", type="pv", cmdline="role=pong peer=${ping.domid} mode=block", memory="8MiB")
    host.domain("passing", name="here", type="pv", bits=32, memory="8MiB",
                cmdline="role=ping peer=${there.domid} rounds=500 pages=4")
    host.domain("passing", name="there", cmdline="role=pong peer=${here.domid} rounds=500 pages=4", memory="8MiB")
    for kernel, work in (("ring", "laps=3000"), ("broadcast", "rounds=200")):
        for index in range(MEMBERS):
            host.domain(kernel, name=f"{kernel}{index}", memory="8MiB",
                        cmdline=f"first=${{{kernel}0.domid}} count={MEMBERS} index={index} {work}")
    host.domain("traveller", cmdline="laps=20", memory="8MiB")
    return host


@pytest.mark.parametrize("seed", range(3))
def test_digests_are_those_of_a_host_where_nothing_moves(configs, seed):
    usual = build(Host(local, configs)).run(timeout=60)
    runtime = Nodes(3, wander(seed, range(1, 12), 3))
    host = build(Host(runtime, configs))
    report = host.run(timeout=100)
    assert (host.failures, runtime.errors) == ([], [])
    assert report.migrations  # how many they are depends on the machine
    assert report.digest == usual.digest
