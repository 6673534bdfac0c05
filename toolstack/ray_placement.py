"""The nodes of Ray's cluster that a host lies on, reserved by a placement group: a bundle for each of the host's nodes.

A bundle asks for the memory that the domains there have, those included that the timeline has move there.  The first
is on this process's node, where the configuration's files are; which nodes the others are on is Ray's choice.  Other
programs on the cluster see the group, and so does whatever makes the cluster grow.  It ends with the run.

(Behaviour and names are those of `ray.util.placement_group`.)
"""

import time
from collections.abc import Callable
from typing import Any

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

# isort: split
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from toolstack.errors import HostError
from toolstack.plan import HostPlan
from toolstack.quantities import show_size

_PATIENCE = 10.0
"""Seconds: so long Ray may take to find the nodes."""
_LOOK = 0.05
_ID = "ray.io/node-id"
_LEAST = 1 << 20
"""Bytes: what a node is asked for where no domain begins."""


class RayPlacement:
    """Where in Ray's cluster the nodes of `plan`'s host are.  `stopped()`: the user has asked for the end.

    Raises HostError where the cluster has too few nodes, or they have too little memory left; KeyboardInterrupt.
    """

    def __init__(self, plan: HostPlan, stopped: Callable[[], bool]) -> None:
        self._here = ray.get_runtime_context().get_node_id()
        self._group: Any = None
        self._nodes = [self._here]
        if plan.nodes > 1:
            _count_nodes(plan.nodes)
            self._reserve(plan.name, memory_by_node(plan), stopped)

    def _reserve(self, name: str, memory: list[int], stopped: Callable[[], bool]) -> None:
        # Ray places the largest bundles first and does not go back: it has to know that the first node is taken.
        selectors = [{_ID: self._here}, *({_ID: f"!{self._here}"} for _ in memory[1:])]
        self._group = placement_group([{"memory": float(size)} for size in memory], strategy="STRICT_SPREAD", name=name,
                                      bundle_label_selector=selectors)
        deadline = time.monotonic() + _PATIENCE
        while not self._group.wait(_LOOK):
            if stopped():
                self.close()
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                self.close()
                sizes = ", ".join(show_size(size) for size in memory)
                raise HostError(f"Ray has no {len(memory)} nodes that have {sizes} of memory left: add nodes to the "
                                "cluster, or place the domains otherwise (`ray list placement-groups` has who has it)")
        found = placement_group_table(self._group)["bundles_to_node_id"]
        self._nodes = [found[number] for number in range(len(memory))]

    def options(self, number: int) -> dict[str, Any]:
        """What puts an actor on node `number`."""
        if self._group is None:
            return {"scheduling_strategy": NodeAffinitySchedulingStrategy(self._here, soft=False)}
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._group, number)}

    def addresses(self) -> list[str]:
        """Of each node, in the cluster."""
        known = {node["NodeID"]: str(node["NodeManagerAddress"]) for node in ray.nodes()}
        return [known[node] for node in self._nodes]

    def close(self) -> None:
        """Give back what was reserved."""
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None


def memory_by_node(plan: HostPlan) -> list[int]:
    """Bytes of the domains that begin on each node of the host, or move there by the timeline."""
    there = {(actor.node, domid) for actor in plan.actors for domid in actor.domids}
    there |= {(move.node, move.domid) for move in plan.timeline}
    memory = [0] * plan.nodes
    for node, domid in there:
        memory[node] += plan.domain(domid).memory
    return [max(size, _LEAST) for size in memory]


def _count_nodes(wanted: int) -> None:
    found = sum(node["Alive"] for node in ray.nodes())
    if found < wanted:
        have = f"{found} node{'s'[:found != 1]}"
        raise HostError(f"the domains are to be on {wanted} nodes, and Ray has {have}: add nodes to the cluster, or "
                        "ask for fewer in `placement`")
