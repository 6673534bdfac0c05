"""The actor that owns the memory of a node other than the first, as a plain class: see `toolstack.actor`."""

import time

from hypervisor.tables import DomainState
from toolstack.errors import HostError
from toolstack.jobs import LOOK
from toolstack.memory_owner import MemoryOwner


class NodeActor(MemoryOwner):
    """Has the host's memory on its node, and is its agent."""

    def run(self) -> None:
        """This node's domains are loaded: serve until the run has ended.  Raises HostError."""
        assert self.agent is not None
        self.agent.built()
        try:
            self.agent.wait()
        finally:
            self._leave()
            self.agent.close()
        if self.agent.failure:
            raise HostError(self.agent.failure)

    def lost(self, process: int) -> None:
        """A domain actor of this node died: see to it that nobody waits for it, until its domains are buried."""
        assert self.agent is not None
        domids = self.domids_of(process)
        while not self.hv.host.outcome[0] and any(self.hv.domains.state[domid] != DomainState.DEAD for domid in domids):
            self.baton.take_from_the_dead()
            self.agent.search()
            time.sleep(LOOK)
