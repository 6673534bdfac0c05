"""Hosts on several nodes of a Ray cluster, all of them on this machine."""

from collections.abc import Iterator

import pytest
from all_kinds import build

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


def test_more_nodes_than_there_are(cluster, configs):
    host = Host(load_runtime("ray"), configs)
    host.domain("first_steps", memory="16MiB", placement={"node": 5})
    with pytest.raises(HostError, match="to be on 6 nodes, and Ray has 3 nodes"):
        host.run(timeout=60)
