"""Sharing groups: which domains may touch each other's memory and event channels, hence take turns with one baton.

Two domains are linked by an interdomain event channel, or by a grant of one that the other has mapped.  A group is what
hangs together by links; its name is its lowest domid.  Groups change between rounds alone (`hypervisor.rounds`): who
needs another group's domain says so and waits for the end of the round, where the two become one group.  A group that
may have lost a link is looked through at the end of the round, and falls apart into what hangs together.

Domain 0's seat belongs to no group: it has no vCPU that runs, and its end of a channel is touched by the guest that is
at the other end, or between rounds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy

from abi.types import Domid, VcpuRow
from grants.tables import GrantDomainTable, MaptrackTable
from hypervisor.event_channel_tables import PORTS, ChannelState, EventChannelTable, PortSpaceTable
from hypervisor.tables import DomainState, DomainTable, VcpuTable
from state.table import Table

HOST = Domid(0)
_ENDED = (int(DomainState.FREE), int(DomainState.DEAD))


class GroupTable(Table):
    """Row = domid."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"leader": "H", "loosened": "B", "unmapped": "Q", "store": "Q"}
    leader: "memoryview[int]"
    """The lowest domid of the group that the domain is in."""
    loosened: "memoryview[int]"
    """A link of the domain may have gone, or its group was joined for a call that may leave no link."""
    unmapped: "memoryview[int]"
    """`GrantDomainTable.unmapped` when the group was looked through last."""
    store: "memoryview[int]"
    """The time, plus one, at which the domain asked for something of the store that the end of the round gives it."""


class Apart(Exception):  # noqa: N818 (it is not an error)
    """A call needs domain `other`, which is in another group: it has to be made again when they are one group."""

    def __init__(self, other: Domid) -> None:
        super().__init__(other)
        self.other = other


class Groups:
    """The groups of one host, over its tables."""

    def __init__(self, table: GroupTable, domains: DomainTable, vcpus: VcpuTable, channels: EventChannelTable,
                 spaces: PortSpaceTable, grants: GrantDomainTable, maptrack: MaptrackTable) -> None:
        self.table, self._domains, self._vcpus, self._channels, self._spaces = table, domains, vcpus, channels, spaces
        self._grants, self._maptrack = grants, maptrack
        self._leader, self._loosened = table.leader, table.loosened
        self._wishes = numpy.frombuffer(vcpus.wish, numpy.uint16)
        self._handles = maptrack.rows // grants.rows
        self.reach: Callable[[int], None] | None = None
        """On a host of several nodes: have what is another domain's on this one, before it is touched."""

    def add_domain(self, domid: Domid) -> None:
        """A new domain is a group of its own."""
        self._leader[domid] = domid
        self._loosened[domid] = 0

    def require(self, domid: Domid, other: int) -> None:
        """The current vCPU, of `domid`, is about to touch what is `other`'s.  Raises Apart, before anything was done.

        Domids that are none, or no longer, pass: what there is to say of them is the same at any time.
        """
        leader = self._leader
        if other < len(leader) and domid and other and leader[other] != leader[domid] \
                and self._domains.state[other] not in _ENDED:
            raise Apart(Domid(other))
        if self.reach is not None and 0 < other < len(leader):
            self.reach(other)

    def together(self, domid: Domid, other: Domid) -> bool:
        """Whether two domains are in one group."""
        return self._leader[domid] == self._leader[other]

    def wish(self, row: VcpuRow, other: Domid) -> None:
        """A vCPU waits for its group and `other`'s to become one."""
        self._vcpus.wish[row] = other

    def loosen(self, domid: Domid) -> None:
        """A link of the domain may have gone."""
        self._loosened[domid] = 1

    def members(self, leader: int) -> list[Domid]:
        """The domains of a group, in order, dead ones that others have mapped pages of included."""
        return [Domid(domid) for domid in numpy.flatnonzero(self._leaders() == leader).tolist() if domid != HOST]

    def living(self) -> int:
        """How many groups have a domain that has not ended."""
        states = numpy.frombuffer(self._domains.state, numpy.uint8)
        alive = ~numpy.isin(states, _ENDED)
        alive[HOST] = False
        return len(numpy.unique(self._leaders()[alive]))

    def regroup(self) -> bool:
        """The end of a round: split what no longer hangs together, join what was wished for.  Has any group changed?"""
        before = bytes(self._leader)
        wishers = numpy.frombuffer(self._vcpus.domid, numpy.uint16)[self._wishes != 0]
        self._split(set(self._leaders()[wishers].tolist()))
        for row in numpy.flatnonzero(self._wishes).tolist():
            domid, other = self._vcpus.domid[row], self._vcpus.wish[row]
            self._vcpus.wish[row] = 0
            if self._domains.state[domid] not in _ENDED and self._domains.state[other] not in _ENDED:
                self._join(self._leader[domid], self._leader[other])
                self._loosened[domid] = 1  # what is wished for may leave no link behind
        return bytes(self._leader) != before

    def _join(self, one: int, other: int) -> None:
        if one != other:
            leaders = self._leaders()
            leaders[leaders == max(one, other)] = min(one, other)

    def _split(self, spared: set[int]) -> None:
        """Look through the groups that may have lost a link, but for those where somebody waits for one more domain:
        his call may need all that it has asked for by and by at the same time."""
        unmapped = numpy.frombuffer(self._grants.unmapped, numpy.uint64)
        seen = numpy.frombuffer(self.table.unmapped, numpy.uint64)
        loosened = numpy.frombuffer(self._loosened, numpy.uint8)
        suspects = numpy.flatnonzero((unmapped != seen) | (loosened != 0))
        if not len(suspects):
            return
        leaders = self._leaders()
        for leader in set(leaders[suspects].tolist()) - spared - {HOST}:
            members = self.members(leader)
            seen[members] = unmapped[members]
            loosened[members] = 0
            if len(members) > 1:
                for part in self._components(members):
                    leaders[part] = part[0]

    def _components(self, members: list[Domid]) -> list[list[Domid]]:
        """What hangs together of `members`, each part in ascending order."""
        part = {domid: domid for domid in members}

        def find(domid: Domid) -> Domid:
            while part[domid] != domid:
                domid = part[domid]
            return domid

        for domid in members:
            for peer in self.links(domid):
                if peer in part:
                    one, other = sorted((find(domid), find(Domid(peer))))
                    part[other] = one
        found: dict[Domid, list[Domid]] = {}
        for domid in members:
            found.setdefault(find(domid), []).append(domid)
        return list(found.values())

    def links(self, domid: Domid) -> Iterable[int]:
        """The domains that a domain is linked to by what is its own: its channels' peers, and who granted to it."""
        ports = slice(domid * PORTS, domid * PORTS + self._spaces.valid[domid])
        connected = numpy.frombuffer(self._channels.state, numpy.uint8)[ports] == ChannelState.INTERDOMAIN
        peers = numpy.frombuffer(self._channels.remote_dom.cast("B"), numpy.uint16)[ports][connected]
        handles = slice(domid * self._handles, domid * self._handles + self._grants.maptrack_limit[domid])
        mapped = numpy.frombuffer(self._maptrack.flags, numpy.uint16)[handles] != 0
        granters = numpy.frombuffer(self._maptrack.domid.cast("B"), numpy.uint16)[handles][mapped]
        return set(peers.tolist()) | set(granters.tolist()) - {HOST, domid}

    def _leaders(self) -> "numpy.typing.NDArray[numpy.uint16]":
        return numpy.frombuffer(self._leader, numpy.uint16)
