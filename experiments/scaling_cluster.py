"""The Ray that a run of `experiments.scaling` is on: its own, several nodes on this machine, or one that is there."""

from collections.abc import Iterator
from contextlib import contextmanager

from experiments.scaling_point import Point
from toolstack.errors import HostError

_OBJECT_STORE = 80 << 20
"""Bytes, Ray's minimum: nothing large goes through it."""


@contextmanager
def cluster(point: Point, address: str | None) -> Iterator[None]:
    """While inside, this process is connected to a Ray, unless the runtime is to start its own.

    `address`: of a cluster that runs, `auto` for the one of this machine.  Raises HostError.
    """
    if point.runtime != "ray" or (point.nodes == 1 and address is None):
        yield
        return
    import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

    # isort: split
    import ray

    from toolstack.ray_names import NAMESPACE

    nodes = None
    try:
        if address is None:
            from ray.cluster_utils import Cluster

            processes = point.domains + 1
            arguments = {"num_cpus": processes, "object_store_memory": _OBJECT_STORE}
            nodes = Cluster(initialize_head=True, head_node_args={**arguments, "include_dashboard": False})
            for _ in range(point.nodes - 1):
                nodes.add_node(**arguments)
            address = nodes.address
        ray.init(address=address, namespace=NAMESPACE, configure_logging=False, log_to_driver=False)
        alive = sum(node["Alive"] for node in ray.nodes())
        if alive != point.nodes:
            raise HostError(f"the cluster has {alive} nodes, not {point.nodes}: say --nodes {alive}")
        yield
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise HostError(f"Ray cannot be reached: {' '.join(str(error).split())}") from error
    finally:
        ray.shutdown()
        if nodes is not None:
            nodes.shutdown()
