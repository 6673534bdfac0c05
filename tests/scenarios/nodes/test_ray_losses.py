"""A node of a Ray cluster is gone, or an actor on one, while a host runs there: what is left, and what can be restored.
"""

import dataclasses
import threading
import time
from collections.abc import Iterator

import pytest
from going_on import Silent
from test_lost_nodes import pair, plan

from toolstack import local
from toolstack.checkpoint import read, written
from toolstack.plan import CheckpointPlan
from toolstack.runtime import RunOptions, load_runtime

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::ResourceWarning")]  # Ray's own


@pytest.fixture
def cluster() -> Iterator[object]:
    import toolstack.ray_environment  # noqa: F401 - before Ray

    # isort: split
    import ray
    from ray.cluster_utils import Cluster

    from toolstack.ray_names import NAMESPACE

    ray.shutdown()
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 << 20})
    for _ in range(2):
        found.add_node(num_cpus=2, object_store_memory=80 << 20)
    ray.init(address=found.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    yield found
    ray.shutdown()
    found.shutdown()


def lines_of(folder) -> int:
    return len(written(folder)) if folder.exists() else 0


def test_a_host_goes_on_when_an_actor_and_then_a_node_are_gone_and_whole_from_a_checkpoint(cluster, configs, tmp_path):
    import ray
    from ray.util import placement_group_table

    placed = pair(3000, 0, 1) | pair(40_000, 0, 2, "far-") | pair(40_000, 1, 0, "lost-")
    whole = plan(configs, placed)
    usual = local.run(whole, RunOptions(timeout=60), Silent())
    folder = tmp_path / "kept"
    wanted = dataclasses.replace(whole, name="losses", checkpoint=CheckpointPlan(100_000, folder, 10 ** 6))

    def kill() -> None:
        while lines_of(folder) < 2:
            time.sleep(0.02)
        ray.kill(ray.get_actor("losses/lost-ping"))
        number = lines_of(folder)
        while lines_of(folder) < number + 2:
            time.sleep(0.02)
        (group,) = (each for each in placement_group_table().values() if each["name"] == "losses")
        last = group["bundles_to_node_id"][2]
        gone = next(node for node in cluster.worker_nodes if node.node_id == last)
        cluster.remove_node(gone, allow_graceful=False)

    thread = threading.Thread(target=kill)
    options = RunOptions(timeout=100, started=lambda running: thread.start())
    report = load_runtime("ray").run(wanted, options, Silent())
    thread.join()
    exits = {name: domain.exit for name, domain in report.domains.items()}
    assert report.outcome in ("finished", "deadlock")  # whose peer is gone may wait for it for ever
    assert (exits["lost-ping"], exits["far-pong"]) == ("crash", "crash")
    assert (exits["ping"], exits["pong"]) == ("poweroff", "poweroff")
    assert "actor died" in report.domains["lost-ping"].exit_detail
    assert "its node is lost" in report.domains["far-pong"].exit_detail
    checkpoint = read(written(folder)[-1])  # the first: all were there
    again = local.run(dataclasses.replace(checkpoint.plan, checkpoint=None),
                      RunOptions(timeout=60, restore=checkpoint), Silent())
    assert {name: domain.digest for name, domain in again.domains.items()} == \
        {name: domain.digest for name, domain in usual.domains.items()}
