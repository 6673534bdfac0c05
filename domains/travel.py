"""What a node has of the host's domains, and what goes to another node with a baton.

Each domain's hot part is a `state.replica.Replica`, and it goes wherever its team's baton goes.  Its cold part is
another one, which is at home; a node that has the baton may borrow it, and then it travels, too, until the baton is at
the domain's home again.  Pages that another node has mapped, or copied from or to, are in the hot part for as long.

`hypervisor.node_ranges` says which bytes these are.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid
from domains.native_cells import cells_factory
from domains.travel_parts import HotPart, Part
from grants.tables import ActiveTable, GrantDomainTable, MaptrackTable
from hypervisor.host_state import HostState
from hypervisor.node_ranges import NodeRanges
from hypervisor.place import PlaceTable
from state.replica import Delta, Replica

HOST = Domid(0)
Parcel = tuple[int, Any, Any]
"""What travels of one domain: its domid, the hot part's delta, the cold part's; None where it does not travel."""


class Travellers:
    """Node `node`'s part of a host over `state`, whose domains have been created on every node alike.

    `homes` says by domid on which node a domain lives; only there has it been built.  It is changed when one moves.
    """

    def __init__(self, state: HostState, node: int, homes: "list[int]") -> None:
        self._node, self._homes, self._buffer = node, homes, state.arena.u8
        self._born = tuple(homes)
        self._place, self._ranges, self._make_cells = state.table(PlaceTable), NodeRanges(state), cells_factory()
        self._memory = state.shape.frames * PAGE_SIZE
        grants, track, active = state.table(GrantDomainTable), state.table(MaptrackTable), state.table(ActiveTable)
        self._mapped = numpy.frombuffer(grants.mapped, numpy.uint64)
        self._unmapped = numpy.frombuffer(grants.unmapped, numpy.uint64)
        self._limit, self._active = grants.maptrack_limit, active.mfn
        self._flags = numpy.frombuffer(track.flags, numpy.uint16)
        self._granters = numpy.frombuffer(track.domid.cast("B"), numpy.uint16)
        self._refs = numpy.frombuffer(track.ref.cast("B"), numpy.uint32)
        self._handles, self._share = track.rows // grants.rows, active.rows // grants.rows
        self._hot: dict[int, HotPart] = {}
        self._cold: dict[int, Part] = {}
        self._looked: dict[int, tuple[Any, set[int]]] = {}
        self._elsewhere = self._strangers()
        """Domains that live on other nodes."""

    # -- with the baton

    def collect(self, domids: Iterable[int], peer: int) -> list[Parcel]:
        """Hand on what this node has of some domains, all of one baton, to node `peer`."""
        parcels: list[Parcel] = []
        for domid in domids:
            hot = self._hot_of(domid).collect(peer)
            parcels.append((domid, hot, self._lent(domid, peer)))
        store = self._lent(HOST, peer)
        if store is not None:
            parcels.append((HOST, None, store))
        return parcels

    def _lent(self, domid: int, peer: int) -> Delta | None:
        """The cold part, where it is only borrowed."""
        if self._homes[domid] == self._node or domid not in self._cold or not self._cold[domid].replica.holding:
            return None
        self._place.here[domid] = 0
        return self._cold[domid].collect(peer)

    def apply(self, parcels: Iterable[Any]) -> list[int]:
        """Take what came from another node; of which domains that was.  Raises DeltaError."""
        domids = []
        for domid, hot, cold in parcels:
            if hot is not None:
                part, delta = self._hot_of(domid), Delta.read(hot)
                part.replica.apply(delta)
                if delta.changes or delta.whole:
                    part.look()
                domids.append(domid)
            if cold is not None:
                self.borrowed(domid, cold)
        for domid in domids:
            if self._homes[domid] == self._node and self._hot[domid].fetched:
                self._drop_pages(domid)
        return domids

    def _drop_pages(self, domid: int) -> None:
        """Let pages of a domain that lives here travel no more which nobody elsewhere has mapped any more."""
        key = (self._mapped.tobytes(), self._unmapped.tobytes())
        looked = self._looked.get(domid)
        part = self._hot[domid]
        if looked is not None and looked[0] == key and looked[1] == part.fetched:
            return
        used: set[int] = set()
        for other in self._elsewhere:
            used |= self._mapped_by(other, domid)
        part.keep(used)
        self._looked[domid] = key, set(part.fetched)

    def _mapped_by(self, domid: int, granter: int) -> set[int]:
        """Addresses of pages of `granter`, which lives here, that a domain has mapped."""
        rows = slice(domid * self._handles, domid * self._handles + self._limit[domid])
        mine = (self._flags[rows] != 0) & (self._granters[rows] == granter)
        return {self._active[granter * self._share + ref] << PAGE_SHIFT for ref in self._refs[rows][mine].tolist()}

    def _strangers(self) -> list[int]:
        return [domid for domid in range(1, len(self._homes)) if self._homes[domid] != self._node]

    # -- who moves

    def share_for_move(self, domid: int, target: int, group: Iterable[int]) -> None:
        """A domain that lives here is about to live on `target`: what the two have mapped of each other's who is not
        there has to travel.  This node has the batons, and the cold parts, of all of `group`.
        """
        self._cold_of(domid)  # so that it goes along, even if nobody has asked for it yet
        for other in group:
            if other == domid:
                continue
            if self._homes[other] != target:
                for address in self._mapped_by(other, domid):
                    self._hot_of(domid).share(address, -1)
            if self._homes[other] == self._node:
                for address in self._mapped_by(domid, other):
                    self._hot_of(other).share(address, -1)

    def share_mapped(self) -> None:
        """Nobody has run yet, and each node has all bytes of the host: what others have mapped of domains that live
        here travels from now on."""
        for domid in range(1, len(self._homes)):
            if self._homes[domid] == self._node:
                for other in self._elsewhere:
                    for address in self._mapped_by(other, domid):
                        self._hot_of(domid).share(address, -1)

    def moved(self, domid: int, node: int) -> None:
        """A domain lives on another node from now on."""
        self._homes[domid] = node
        self._place.home[domid] = node
        self._elsewhere = self._strangers()
        self._looked.clear()

    def memory(self, domid: int) -> list[tuple[int, int]]:
        """What of a domain never travels with batons: (offset, length), of which some bytes may travel nevertheless."""
        return self._ranges.memory(Domid(domid))

    def own_pages(self, domid: int) -> set[int]:
        """Addresses of pages of the domain's memory of which anything travels with batons."""
        return {entry.offset & -PAGE_SIZE for entry in self._hot_of(domid).replica.ranges.within(0, self._memory)}

    def put_memory(self, domid: int, offset: int, data: Any) -> None:
        """Bytes of a domain that is moving here.  What travels with batons stays as it is: that has its own way."""
        end = offset + len(data)
        for start, stop in self._gaps(domid, offset, end):
            self._buffer[start:stop] = data[start - offset:stop - offset]

    def _gaps(self, domid: int, offset: int, end: int) -> Iterator[tuple[int, int]]:
        """What of these bytes is in neither part of a domain."""
        parts = [self._hot_of(domid), *((self._cold[domid],) if domid in self._cold else ())]
        known = sorted(entry for part in parts for entry in part.replica.ranges.overlapping(offset, end - offset))
        for entry in known:
            if offset < entry.offset:
                yield offset, entry.offset
            offset = max(offset, entry.offset + entry.length)
        if offset < end:
            yield offset, end

    # -- for lanes

    def hot(self, domid: int) -> HotPart:
        """The part of a domain that travels with each baton."""
        return self._hot_of(domid)

    def watched(self, domid: int) -> list[tuple[int, int]]:
        """Bytes that say, as long as they stay as they are, that nothing but bytes in ranges has changed."""
        which = Domid(domid)
        here = [] if self._homes[domid] == self._node else self._ranges.here(which)
        store = [] if self._homes[HOST] == self._node else self._ranges.here(HOST)
        return [*self._ranges.hot_words(which), *here, *store]

    # -- what is asked for

    def lend(self, domid: int, peer: int) -> Delta:
        """The cold part of a domain that lives here, for the node that has its team's baton."""
        self._place.here[domid] = 0
        return self._cold_of(domid).collect(peer)

    def borrowed(self, domid: int, message: Any) -> None:
        """It has come here.  Raises DeltaError."""
        self._cold_of(domid).replica.apply(Delta.read(message))
        self._place.here[domid] = 1

    def has_cold(self, domid: int) -> bool:
        """Whether it is here."""
        return self._cold_of(domid).replica.holding

    def page(self, address: int) -> bytes:
        """The content of a page of a domain that lives here."""
        return bytes(self._buffer[address:address + PAGE_SIZE])

    def has_page(self, domid: int, address: int) -> bool:
        """Whether a page travels already, or belongs to what always does."""
        hot = self._hot_of(domid)
        return address in hot.fetched or hot.replica.ranges.at(address) is not None

    def put_page(self, domid: int, address: int, content: bytes) -> None:
        """A page of a domain that lives elsewhere has come; it travels from now on."""
        self._buffer[address:address + PAGE_SIZE] = content
        self._hot_of(domid).share(address, self._homes[domid])

    def holds(self, domid: int) -> bool:
        """Whether the hot part's baton is here."""
        return self._hot_of(domid).replica.holding

    # -- who is lost

    def turn(self, domid: int) -> int:
        """How recent the hot part is that this node has."""
        return self._hot_of(domid).replica.turn

    def reclaim(self, domid: int, lost: int) -> None:
        """Whoever had the domain's baton is gone: go on with what is here."""
        if not self._hot_of(domid).replica.holding:
            self._hot[domid].replica.reclaim(lost)
            self._hot[domid].look()

    def reclaim_cold(self, domid: int, lost: int) -> None:
        """The same for the cold part of a domain that lives here."""
        if not self._cold_of(domid).replica.holding:
            self._cold[domid].replica.reclaim(lost)
            self._place.here[domid] = 1

    # -- parts

    def _hot_of(self, domid: int) -> HotPart:
        part = self._hot.get(domid)
        if part is None:
            which = Domid(domid)
            part = self._hot[domid] = HotPart(
                self._replica(domid), lambda: self._ranges.hot_size(which), lambda: self._ranges.hot(which),
                lambda: self._ranges.pages(which), self._memory)
        return part

    def _cold_of(self, domid: int) -> Part:
        part = self._cold.get(domid)
        if part is None:
            which = Domid(domid)
            part = self._cold[domid] = Part(
                self._replica(domid), lambda: self._ranges.cold_size(which), lambda: self._ranges.cold(which))
        return part

    def _replica(self, domid: int) -> Replica:
        return Replica(self._buffer, self._node, holding=self._born[domid] == self._node, cells=self._make_cells)
