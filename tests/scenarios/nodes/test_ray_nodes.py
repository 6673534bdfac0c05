"""Hosts on several nodes of a Ray cluster, all of them on this machine."""

import threading
import time
from collections.abc import Iterator

import pytest
from all_kinds import build

import xenctrl
from toolstack import local
from toolstack.errors import HostError
from toolstack.runtime import load_runtime
from toolstack.testing import Host

pytestmark = pytest.mark.ray
NODES = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import toolstack.ray_environment  # noqa: F401 - before Ray

    # isort: split
    import ray
    from ray.cluster_utils import Cluster

    from toolstack.ray_names import NAMESPACE

    ray.shutdown()
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 << 20})
    for _ in range(NODES - 1):
        found.add_node(num_cpus=2, object_store_memory=80 << 20)
    ray.init(address=found.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    found.shutdown()


def run(host, placement=None):
    build(host)
    if placement is not None:
        host.configure(placement=placement)
    report = host.run(timeout=120)
    assert host.failures == []
    return report


def test_one_digest(cluster, configs):
    usual = run(Host(local, configs))
    for nodes in (2, 3):
        report = run(Host(load_runtime("ray"), configs), {"nodes": nodes})
        assert report.digest == usual.digest
        assert {link.source for link in report.links} == set(range(nodes))


def test_pages_across_nodes(cluster, configs):
    digests = []
    for runtime in (local, load_runtime("ray")):
        host = Host(runtime, configs)
        for node, (name, peer) in enumerate((("writer", "reader"), ("reader", "writer"))):
            host.domain(name, cmdline=f"peer=${{{peer}.domid}} pages=3", memory="16MiB", placement={"node": node + 1})
        host.configure(hypercalls=["hypercalls/greet.py"])
        report = host.run(timeout=60)
        assert host.failures == []
        digests.append(report.digest)
    assert digests[0] == digests[1]
    across = [link for link in report.links if {link.source, link.target} == {1, 2}]
    assert [bool(link.hand_overs) for link in across] == [True, True]


def reserved(name):
    """The bundles of the placement groups of hosts called `name`, by state, and on how many nodes they are."""
    from ray.util import placement_group_table

    return [(group["state"], [int(bundle["memory"]) >> 20 for _, bundle in sorted(group["bundles"].items())],
             len(set(group["bundles_to_node_id"].values())))
            for group in placement_group_table().values() if group["name"] == name and group["state"] != "REMOVED"]


def move_the_other_one(found):
    """When the timeline has moved `ping`, move `pong` to the last node, as a program outside would."""
    from ray.util import list_named_actors

    from toolstack.ray_names import NAMESPACE, domain_name

    def actors():
        return {actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE}

    deadline = time.monotonic() + 60
    while domain_name("host", "ping@node-1") not in actors():
        assert time.monotonic() < deadline, "the timeline has moved nothing"
        time.sleep(0.05)
    with xenctrl.interface_open("host", timeout=30) as handle:
        found["told"] = xenctrl.domain_migrate(handle, 2, 2)
        found["actors"] = actors()
        found["reserved"] = reserved("host")


def test_a_pair_moves_by_the_timeline_and_from_outside(cluster, configs):
    digests, found = [], {}
    for runtime in (local, load_runtime("ray")):
        host = Host(runtime, configs)
        for name, peer in (("ping", "pong"), ("pong", "ping")):
            host.domain("passing", name=name, cmdline=f"role={name} peer=${{{peer}.domid}} rounds=40000 pages=4",
                        memory="8MiB", **({} if runtime is local else {"placement": {"node": 0}}))
        if runtime is not local:
            host.configure(placement={"nodes": NODES}, timeline=[{"at": "1ms", "migrate": "ping", "to": 1}])
            mover = threading.Thread(target=move_the_other_one, args=(found,))
            mover.start()
        report = host.run(timeout=120)
        assert host.failures == []
        digests.append(report.digest)
    mover.join()
    assert [(move.domain, move.source, move.target) for move in report.migrations] == [("ping", 0, 1), ("pong", 0, 2)]
    assert found["told"] == report.migrations[1]
    assert {"host/ping@node-1", "host/pong@node-2"} <= found["actors"]
    # Both begin on the first node, and the timeline has one move to the second.
    assert found["reserved"] == [("CREATED", [16, 8, 1], NODES)]
    assert reserved("host") == []
    assert digests[0] == digests[1]


def test_more_nodes_than_there_are(cluster, configs):
    host = Host(load_runtime("ray"), configs)
    host.domain("first_steps", memory="16MiB", placement={"node": 5})
    with pytest.raises(HostError, match="to be on 6 nodes, and Ray has 3 nodes"):
        host.run(timeout=60)


def test_more_memory_than_nodes_have(cluster, configs, monkeypatch):
    monkeypatch.setattr("toolstack.ray_placement._PATIENCE", 0.5)
    host = Host(load_runtime("ray"), configs)
    host.domain("first_steps", name="small", memory="16MiB")
    host.domain("first_steps", name="large", memory="512GiB", placement={"node": 1})
    with pytest.raises(HostError, match="no 2 nodes that have 16MiB, 512GiB of memory left: add nodes"):
        host.run(timeout=60)
    assert reserved("host") == []
