"""The actor that owns the memory of a node other than the first, as a plain class: see `toolstack.actor`."""

import os
import time
from collections.abc import Mapping

from domains.seat import HYPERVISOR
from hypervisor.tables import DomainState
from toolstack.actor import Attachment, Keep, Member, attachment, buffer_size
from toolstack.checkpoint import Checkpoint
from toolstack.checkpointer import forget_absent, restore_host
from toolstack.errors import CheckpointError, HostError
from toolstack.jobs import LOOK
from toolstack.link import Address
from toolstack.node_agent import PairTraffic, make_bell
from toolstack.node_setup import join_nodes, make_agent
from toolstack.plan import HostPlan
from toolstack.session import create_domains


class NodeActor(Member):
    """Makes the host's memory on node `number`, and is its agent.  Raises HostError."""

    def __init__(self, plan: HostPlan, number: int, keep: Keep, saved: Checkpoint | None = None) -> None:
        size = buffer_size(plan)
        self._number = number
        self.file = os.memfd_create(f"domus-{plan.name}-{number}")
        os.ftruncate(self.file, size)
        self._saved = saved
        self._failure: CheckpointError | None = None
        try:
            self._boot = time.monotonic_ns() if saved is None else restore_host(saved, self.file, traced=keep.trace)
        except CheckpointError as error:  # who raised it here would be one of Ray's that died
            self._failure = error
            return
        self._bell = make_bell()
        super().__init__(plan, self.file, HYPERVISOR, self._boot, keep, number=number, bell=self._bell[1])
        if saved is None:
            create_domains(self.hv, plan)
        forget_absent(self.hv, plan)
        self._seat_domains()

    def attachment(self) -> Attachment:
        """What domain actors of this node attach with.  Raises CheckpointError where it could not be restored."""
        if self._failure is not None:
            raise self._failure
        return attachment(self.file, self._boot, self._number, self._bell[1])

    def listen(self, host: str, secret: bytes) -> Address:
        """Where this node listens to the others.  Raises HostError."""
        self._agent = make_agent(self, self._number, self._bell[0], host, secret)
        return self._agent.address

    def join(self, addresses: Mapping[int, Address]) -> None:
        """Make the links to the other nodes.  Raises HostError."""
        if self._saved is not None:  # before what the other nodes send is in the memory that this gives back
            self._agent.images.restored()
        join_nodes(self._agent, addresses)

    def run(self) -> None:
        """This node's domains are loaded: serve until the run has ended.  Raises HostError."""
        self._agent.built()
        try:
            self._agent.wait()
        finally:
            self._leave()
            self._agent.close()
        if self._agent.failure:
            raise HostError(self._agent.failure)

    def lost(self, process: int) -> None:
        """A domain actor of this node died: see to it that nobody waits for it, until its domains are buried."""
        domids = self.domids_of(process)
        while not self.hv.host.outcome[0] and any(self.hv.domains.state[domid] != DomainState.DEAD for domid in domids):
            self.baton.take_from_the_dead()
            self._agent.search()
            time.sleep(LOOK)

    def traffic(self) -> dict[int, PairTraffic]:
        """What this node sent to others."""
        return self._agent.traffic()
