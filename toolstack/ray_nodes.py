"""A host on several nodes of Ray's cluster: the actors that own their memory, the links between them."""

from collections.abc import Callable
from typing import Any

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

# isort: split
import ray
from ray.exceptions import RayActorError

from toolstack.actor import Attachment, Keep
from toolstack.checkpoint import Checkpoint
from toolstack.link_handshake import new_secret
from toolstack.node_actor import NodeActor
from toolstack.plan import HostPlan
from toolstack.ray_names import node_name
from toolstack.ray_placement import RayPlacement
from toolstack.report import LinkReport


class RayNodes:
    """The nodes of a plan's host.  `make` is `ray.remote` with what all of the run's actors have.

    `stopped()` and what is raised: as `RayPlacement`.
    """

    def __init__(self, plan: HostPlan, make: Callable[[type], Any], keep: Keep, saved: Checkpoint | None,
                 stopped: Callable[[], bool]) -> None:
        self._plan, self._many = plan, plan.nodes > 1
        self._placement = RayPlacement(plan, stopped)
        self.options = self._placement.options
        """What puts an actor on a node, by its number."""
        self._actors: list[Any] = [
            make(NodeActor).options(name=node_name(plan.name, number), **self.options(number)).remote(
                plan, number, keep, saved)
            for number in range(1, plan.nodes)]
        self._runs: dict[Any, int] = {}
        self._lost: set[int] = set()
        self._first: Any = None

    def close(self) -> None:
        """Leave no actor behind, and nothing reserved."""
        for actor in self._actors:
            ray.kill(actor)
        self._placement.close()

    def join(self, hypervisor: Any, get: Callable[[Any], Any]) -> list[Attachment]:
        """Make the links between the nodes, and give what actors attach with, by node."""
        self._first = hypervisor
        members = [hypervisor, *self._actors]
        attachments: list[Attachment] = get([member.attachment.remote() for member in members])
        if self._many:
            secret = new_secret()
            addresses = dict(enumerate(get([
                member.listen.remote(host, secret)
                for member, host in zip(members, self._placement.addresses(), strict=True)])))
            get([member.join.remote(addresses) for member in members])
        return attachments

    def run(self) -> None:
        """All domains are loaded: let the nodes serve."""
        self._runs = {actor.run.remote(): number for number, actor in enumerate(self._actors, 1)}

    def look(self) -> list[int]:
        """Nodes whose actor has died since the last call."""
        if not self._runs:
            return []
        ready, _ = ray.wait(list(self._runs), num_returns=len(self._runs), timeout=0)
        found = []
        for reference in ready:
            number = self._runs.pop(reference)
            try:
                ray.get(reference)
            except RayActorError:
                found.append(number)
        self._lost.update(found)
        return found

    def lost(self, process: int, number: int) -> None:
        """A domain actor on node `number` died."""
        if number and number not in self._lost:
            self._actors[number - 1].lost.remote(process)

    def outputs(self) -> list[Any]:
        """The actors."""
        return list(self._actors)

    def traffic(self) -> list[LinkReport]:
        """What went over the links, by pair of nodes."""
        links = []
        for number, actor in enumerate([self._first, *self._actors] if self._many else []):
            if number in self._lost:
                continue
            try:
                sent = ray.get(actor.traffic.remote(), timeout=5)
            except (RayActorError, ray.exceptions.GetTimeoutError):
                continue
            links += [LinkReport(number, peer, each.hand_overs, each.messages, each.bytes, each.direct)
                      for peer, each in sorted(sent.items())]
        return links
