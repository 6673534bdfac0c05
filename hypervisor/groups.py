"""Sharing groups: which domains may touch each other's memory and event channels, hence take turns with one baton.

Two domains are linked by an interdomain event channel, or by a grant of one that the other has mapped.  A group is what
hangs together by links; its name is its lowest domid.  Groups change between rounds alone (`hypervisor.rounds`): who
needs another group's domain says so and waits until the two have become one group.  A group that may have lost a link
is looked through a while later, and falls apart into what hangs together.

Domain 0's seat belongs to no group: it has no vCPU that runs, and its end of a channel is touched by the guest that is
at the other end, or between rounds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy

from abi.types import NEVER, Domid, VcpuRow
from grants.tables import GrantDomainTable, MaptrackTable
from hypervisor.event_channel_tables import PORTS, ChannelState, EventChannelTable, PortSpaceTable
from hypervisor.tables import DomainState, DomainTable, VcpuTable
from state.table import Table

HOST = Domid(0)
_ONE = numpy.uint64(1)
_ENDED = (int(DomainState.FREE), int(DomainState.DEAD))


class GroupTable(Table):
    """Row = domid."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"leader": "H", "loosened": "Q", "store": "Q", "ended": "Q"}
    leader: "memoryview[int]"
    """The lowest domid of the group that the domain is in."""
    loosened: "memoryview[int]"
    """When the domain's group is to be looked through, or 0: a link of the domain may have gone, or the group was
    joined for a call that may leave no link."""
    store: "memoryview[int]"
    """When the store is to serve the domain, or 0."""
    ended: "memoryview[int]"
    """When others are to know that the domain has ended, or 0."""


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
        self._dues = numpy.frombuffer(vcpus.due, numpy.uint64)
        self._times = [numpy.frombuffer(column, numpy.uint64) for column in (table.loosened, table.store, table.ended)]
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
        # One that has ended and left nothing to this group is not: several groups may ask for it at once.
        if self.reach is not None and 0 < other < len(leader) and (not domid or leader[other] == leader[domid]):
            self.reach(other)

    def together(self, domid: Domid, other: Domid) -> bool:
        """Whether two domains are in one group."""
        return self._leader[domid] == self._leader[other]

    def wish(self, row: VcpuRow, other: Domid) -> None:
        """A vCPU waits for its group and `other`'s to become one."""
        self._vcpus.wish[row] = other

    def loosen(self, domid: Domid, when: int) -> None:
        """A link of the domain may have gone: its group is looked through at `when`."""
        if not self._loosened[domid]:
            self._loosened[domid] = when

    def members(self, leader: int) -> list[Domid]:
        """The domains of a group, in order, dead ones that others have mapped pages of included."""
        return [Domid(domid) for domid in numpy.flatnonzero(self._leaders() == leader).tolist() if domid != HOST]

    def living(self) -> int:
        """How many groups have a domain that has not ended."""
        states = numpy.frombuffer(self._domains.state, numpy.uint8)
        alive = ~numpy.isin(states, _ENDED)
        alive[HOST] = False
        return len(numpy.unique(self._leaders()[alive]))

    def next_event(self) -> int:
        """The first time at which something is to be done between groups; NEVER where nothing is."""
        # Less one, what is not due (0) is later than everything else; this is done at each round's end.
        event = min(NEVER, 1 + min(int((column - _ONE).min()) for column in self._times))
        if self.wished():
            event = min(event, int(self._dues[self._wishes != 0].min()))
        return event

    def wished(self) -> bool:
        """Whether any vCPU waits for two groups to become one, or did so when it was put down."""
        return bool(self._wishes.any())

    def regroup(self, now: int, later: int) -> bool:
        """Split what no longer hangs together, join what was wished for by `now`; `later` is when to look again.

        Has any group changed?
        """
        before = bytes(self._leader)
        # Who was put down, or whose domain ended, while he waited does not wait any more; he would ask again.
        self._wishes[numpy.frombuffer(self._vcpus.due, numpy.uint64) == NEVER] = 0
        wishers = numpy.frombuffer(self._vcpus.domid, numpy.uint16)[self._wishes != 0]
        self._split(now, later, set(self._leaders()[wishers].tolist()))
        for row in numpy.flatnonzero(self._wishes).tolist():
            domid, other = Domid(self._vcpus.domid[row]), self._vcpus.wish[row]
            if self._vcpus.due[row] > now:
                continue
            self._vcpus.wish[row] = 0
            if self._domains.state[domid] not in _ENDED and self._domains.state[other] not in _ENDED:
                self._join(self._leader[domid], self._leader[other])
                self.loosen(domid, later)  # what is wished for may leave no link behind
        return bytes(self._leader) != before

    def form_anew(self) -> None:
        """Somebody died while he joined or split groups: they are what hangs together, as at the end of a round."""
        states = numpy.frombuffer(self._domains.state, numpy.uint8)
        known = [Domid(domid) for domid in numpy.flatnonzero(states != DomainState.FREE).tolist() if domid != HOST]
        leaders = self._leaders()
        for part in self._components(known):
            leaders[part] = part[0]
            for domid in part:
                self._loosened[domid] = 1

    def _join(self, one: int, other: int) -> None:
        if one != other:
            leaders = self._leaders()
            leaders[leaders == max(one, other)] = min(one, other)

    def _split(self, now: int, later: int, spared: set[int]) -> None:
        """Look through the groups that may have lost a link, but for those where somebody waits for one more domain:
        his call may need all that it has asked for by and by at the same time."""
        loosened = numpy.frombuffer(self._loosened, numpy.uint64)
        suspects = numpy.flatnonzero((loosened != 0) & (loosened <= now))
        if not len(suspects):
            return
        leaders = self._leaders()
        for leader in set(leaders[suspects].tolist()) - {HOST}:
            members = self.members(leader)
            due = [domid for domid in members if 0 < loosened[domid] <= now]
            loosened[due] = later if leader in spared else 0
            if len(members) > 1 and leader not in spared:
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
