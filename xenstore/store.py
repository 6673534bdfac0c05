"""The store of one host: it serves the guests' connections, and tells of what has changed.

All of its state is in bytes that the host's processes share.  A request is served in the process of the guest that
makes it; other guests' pages are written to from there, as all memory is within reach of who has the baton.
"""

from collections.abc import Mapping

from abi.errno import XenError
from abi.hvm import HvmParam
from abi.types import Domid, Port
from abi.xenstore import XsMessage
from hypervisor.host_state import StoreTable
from hypervisor.hypervisor import Hypervisor
from hypervisor.place import PlaceTable
from hypervisor.tables import DomainState
from hypervisor.xen_version import domain_handle
from xenstore.connection import Connection, Message
from xenstore.initial import Introduced, Rings, introduce, withdraw
from xenstore.requests import named_watch, serve
from xenstore.ring import StoreRing
from xenstore.shared import SharedState
from xenstore.tree import READ, Change, Tree, may

__all__ = ["Introduced", "Store"]


class Store:
    """Serves the `domains` of `hv`."""

    def __init__(self, hv: Hypervisor, domains: Mapping[Domid, Introduced]) -> None:
        self._hv, self._domains = hv, domains
        self._shared = SharedState(hv.state.table(StoreTable).data.cast("B"))
        self._tree = Tree()
        self._connections: dict[Domid, Connection] = {}
        self._rings: dict[Domid, StoreRing] = {}
        self._place = hv.state.table(PlaceTable)
        hv.serve_store = self.serve
        hv.recover_store = self.recover
        hv.destroyed.append(self.release)
        hv.keepers["store"] = self

    def serve(self, domid: Domid) -> None:
        """The guest has notified the store."""
        if self._hv.domains.state[domid] != DomainState.RUNNING:
            return  # it is being built: its page is not there yet
        self._attach()
        connection, ring = self._connections.get(domid), self._ring(domid)
        if connection is None or ring is None:
            return
        heard: set[Domid] = set()
        self._flush(heard)
        waited = len(connection.received)
        while (message := connection.next(ring)) is not None:
            heard.add(domid)
            self._serve(connection, message, ring)
            self._tell()
            self._flush(heard)
        if len(connection.received) != waited:
            heard.add(domid)
        self._keep()
        for other in sorted(heard):  # there is something to read, or room to write
            self._hv.events.notify_guest(other, Port(self._param(other, HvmParam.STORE_EVTCHN)))

    def release(self, domid: Domid) -> None:
        """A domain has ended: its nodes, watches and transactions go, and others may hear of it."""
        if not self._shared.version or domid not in self._domains:
            return
        self._attach()
        self._connections.pop(domid, None)
        withdraw(self._tree, domid, domain_handle(domid))
        self._tell()
        heard: set[Domid] = set()
        self._flush(heard)
        self._keep()
        for other in sorted(heard):
            self._hv.events.notify_guest(other, Port(self._param(other, HvmParam.STORE_EVTCHN)))

    def save(self, domid: Domid) -> int:
        """Where the guest's rings are, 0 where nobody has looked: see `hypervisor.host_io.Keeper`."""
        ring = self._rings.get(domid)
        return 0 if ring is None else ring.page

    def restore(self, domid: Domid, saved: int) -> None:
        """The guest's rings are there, whatever it has put in their place since."""
        if saved:
            self._rings[domid] = StoreRing(self._hv.arena, saved)

    def recover(self) -> None:
        """Somebody died who may have been serving: what he took and gave since the state was kept was for nothing.

        No guest has run since.  Each hears once more that there may be something, which it may have missed.
        """
        if self._shared.version:
            self._attach()
        for domid in self._domains:
            connection, ring = self._connections.get(domid), self._ring(domid)
            if self._hv.domains.state[domid] != DomainState.RUNNING or ring is None:
                continue
            if not self._shared.version:
                ring.rewind(0, 0)
            elif connection is not None and not connection.broken:
                ring.rewind(*connection.positions)
                self._hv.events.notify_guest(domid, Port(self._param(domid, HvmParam.STORE_EVTCHN)))
            if ring.asked:
                self._hv.groups.table.store[domid] = self._hv.groups.table.store[domid] or 1

    # Steps of these.

    def _keep(self) -> None:
        for domid, connection in self._connections.items():
            ring = self._ring(domid)
            if ring is not None:
                connection.positions = ring.positions()
        self._shared.keep(self._tree, self._connections)

    def _attach(self) -> None:
        """Take over what other processes have done, or begin."""
        found = self._shared.load()
        if found is not None:
            self._tree, self._connections = found
        elif not self._shared.version:
            for domid, facts in self._domains.items():
                if self._hv.domains.state[domid] == DomainState.RUNNING:
                    self._introduce(domid, facts)
            self._tree.changed.clear()

    def _introduce(self, domid: Domid, facts: Introduced) -> None:
        rings = Rings(*(self._param(domid, param) for param in (
            HvmParam.STORE_EVTCHN, HvmParam.STORE_PFN, HvmParam.CONSOLE_EVTCHN, HvmParam.CONSOLE_PFN)))
        introduce(self._tree, domid, facts, domain_handle(domid), rings)
        ring = self._ring(domid)
        if ring is not None:
            ring.announce()
            self._connections[domid] = Connection(domid)

    def _ring(self, domid: Domid) -> StoreRing | None:
        ring = self._rings.get(domid)
        if ring is None and self._place.store_ring[domid]:
            ring = self._rings[domid] = StoreRing(self._hv.arena, self._place.store_ring[domid])
        if ring is None:
            found = self._hv.memory.find(domid, self._param(domid, HvmParam.STORE_PFN))
            if found is None:
                return None
            ring = self._rings[domid] = StoreRing(self._hv.arena, found[0] << 12)
        return ring

    def _param(self, domid: Domid, param: HvmParam) -> int:
        return self._hv.params.get(domid, param)

    def _serve(self, connection: Connection, message: Message, ring: StoreRing) -> None:
        try:
            answer = serve(connection, message, self._tree)
        except XenError as error:
            connection.answer(message, error.errno.name.encode() + b"\0", XsMessage.ERROR)
            return
        connection.answer(message, answer)
        if message.kind == XsMessage.WATCH:  # it fires at once
            watch = named_watch(connection, message)
            connection.fire(watch, watch.path)
        connection.end_if_excessive(ring)

    def _tell(self) -> None:
        """Tell of what has changed in the tree."""
        changes, self._tree.changed = self._tree.changed, []
        listening = [connection for connection in self._connections.values() if connection.watches]
        for change in changes:
            for connection in listening:
                if may(connection.domid, change.node, READ):
                    for watch in connection.watches:
                        if _concerns(change, watch.path):
                            connection.fire(watch, change.path)

    def _flush(self, heard: set[Domid]) -> None:
        for domid, connection in self._connections.items():
            if connection.waiting:
                ring = self._ring(domid)
                if ring is not None and connection.flush(ring):
                    heard.add(domid)


def _concerns(change: Change, watched: str) -> bool:
    if change.path == watched:
        return True
    return not change.exact and change.path.startswith(watched.rstrip("/") + "/")
