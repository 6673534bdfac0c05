"""What the actors that own the memory of a node have in common: they make it or restore it, and have its agent."""

import os
import time
from collections.abc import Mapping

from domains.seat import HYPERVISOR
from toolstack.actor import Attachment, Keep, Member, attachment, buffer_size
from toolstack.checkpoint import Checkpoint
from toolstack.checkpointer import forget_absent, restore_host
from toolstack.errors import CheckpointError
from toolstack.link import Address
from toolstack.node_agent import Agent, PairTraffic, make_bell
from toolstack.node_setup import join_nodes, make_agent
from toolstack.plan import HostPlan
from toolstack.session import create_domains


class MemoryOwner(Member):
    """Owns the host's memory on node `number`, in which all domains have been created, or restored from `saved`.

    Where it cannot be restored only `failure` is there, which `attachment` raises: an exception in an actor's
    constructor would be one of Ray's that died.  Methods raise HostError.
    """

    def __init__(self, plan: HostPlan, number: int, keep: Keep, saved: Checkpoint | None) -> None:
        self.file = os.memfd_create(f"domus-{plan.name}" + (f"-{number}" if number else ""))
        os.ftruncate(self.file, buffer_size(plan))
        self._number, self._saved = number, saved
        self.agent: Agent | None = None
        """Only on a host of several nodes, once it listens."""
        self.failure: CheckpointError | None = None
        try:
            self._boot = time.monotonic_ns() if saved is None else restore_host(saved, self.file, traced=keep.trace)
        except CheckpointError as error:
            self.failure = error
            return
        self._bell = make_bell() if plan.nodes > 1 else (-1, -1)
        super().__init__(plan, self.file, HYPERVISOR, self._boot, keep, number=number, bell=self._bell[1])
        if saved is None:
            create_domains(self.hv, plan)
        forget_absent(self.hv, plan)
        self._seat_domains()

    def attachment(self) -> Attachment:
        """What domain actors of this node attach with.  Raises CheckpointError where it could not be restored."""
        if self.failure is not None:
            raise self.failure
        return attachment(self.file, self._boot, self._number, self._bell[1])

    def listen(self, host: str, secret: bytes) -> Address:
        """On a host of several nodes: where this one listens to the others."""
        self.agent = make_agent(self, self._number, self._bell[0], host, secret, self._node_lost)
        return self.agent.address

    def join(self, addresses: Mapping[int, Address]) -> None:
        """Make the links to the other nodes."""
        assert self.agent is not None
        if self._saved is not None:  # before what the other nodes send is in the memory that this gives back
            self.agent.images.restored()
        join_nodes(self.agent, addresses)

    def traffic(self) -> dict[int, PairTraffic]:
        """What this node sent to others."""
        return {} if self.agent is None else self.agent.traffic()

    def _node_lost(self, node: int) -> None:
        """In the agent's thread, on the first node: all processes of `node` are gone."""
