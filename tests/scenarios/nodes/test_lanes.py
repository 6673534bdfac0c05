"""Batons that go from process to process: what comes out is what comes out on one node."""

import pytest
from test_lost_nodes import pair, plan
from test_lost_processes import Nowhere

from experiments import node_processes
from toolstack import local
from toolstack.load import from_data
from toolstack.runtime import RunOptions


def straight(report):
    """By the nodes that batons went from and to, how many went straight."""
    return {(link.source, link.target): link.direct for link in report.links}


def both(found):
    return local.run(found, RunOptions(timeout=60), Nowhere()), node_processes.run(found, RunOptions(timeout=60),
                                                                                   Nowhere())


@pytest.mark.parametrize("second", [1, 2])
def test_pairs_across_nodes(configs, second):
    """One pair on the first node and another; one on two that are not the first; one of each node with the others."""
    placed = pair(1000, 0, second) | pair(1000, 1, 2, "other-") | pair(1000, 2, 0, "third-")
    usual, spread = both(plan(configs, placed))
    assert spread.digest == usual.digest
    found = straight(spread)
    assert found[1, 2] > 500
    assert found[2, 1] > 500
    assert found[0, 2] > 500
    assert found[2, 0] > 500


@pytest.mark.parametrize(("backend", "clients"), [
    (0, (1, 1)), (0, (0, 1)), (0, (1, 2)), (1, (2, 2)), (1, (1, 2)), (2, (0, 1)), (1, (0, 2, 1, 2))])
def test_one_group_of_several_processes(configs, backend, clients):
    domains = {"backend": {"kernel": "star", "memory": "8MiB", "placement": {"node": backend},
                           "cmdline": f"role=backend first=${{client0.domid}} count={len(clients)}"}}
    for index, node in enumerate(clients):
        domains[f"client{index}"] = {"kernel": "star", "memory": "8MiB", "placement": {"node": node},
                                     "cmdline": "role=client peer=${backend.domid} requests=300"}
    usual, spread = both(from_data({"domains": domains}, configs).plan())
    assert {domain.exit for domain in spread.domains.values()} == {"poweroff"}
    assert spread.digest == usual.digest
    often = [link for link in spread.links if link.hand_overs > 100]
    assert len(often) >= 2
    for link in often:
        assert link.direct > 0.9 * link.hand_overs


def test_pages_and_rows(configs):
    """64 KiB of pages, of which one is written by each in its turn."""
    domains = {}
    for role, peer, node in (("ping", "pong", 0), ("pong", "ping", 1)):
        domains[role] = {"kernel": "passing", "memory": "8MiB", "placement": {"node": node},
                         "cmdline": f"role={role} peer=${{{peer}.domid}} rounds=600 pages=16"}
    usual, spread = both(from_data({"domains": domains}, configs).plan())
    assert spread.digest == usual.digest
    assert straight(spread)[0, 1] > 300
    assert straight(spread)[1, 0] > 300
    for link in spread.links:
        assert link.bytes / link.hand_overs < 6 << 10
        assert link.messages / link.hand_overs < 2


def test_without_native_code(configs, monkeypatch):
    """There are no lanes then, and it is the same."""
    monkeypatch.setenv("DOMUS_FAST_PATH", "0")
    usual, spread = both(plan(configs, pair(100, 0, 1)))
    assert spread.digest == usual.digest
    assert set(straight(spread).values()) == {0}
