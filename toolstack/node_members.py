"""Which domains are a team's, as a node's agent asks at each hand-over."""

from collections.abc import Iterable

from domains.baton import Baton
from hypervisor.groups import GroupTable
from hypervisor.host_state import HostState, HostTable
from hypervisor.tables import DomainState, DomainTable, VcpuTable

_ENDED = (int(DomainState.FREE), int(DomainState.DEAD))


class Members:
    """The members of all teams of a host over `state` with domids 1 to `most`; `baton` has the teams."""

    def __init__(self, state: HostState, most: int, baton: Baton) -> None:
        self._host, self._domains = state.table(HostTable), state.table(DomainTable)
        self._vcpus, self._leader = state.table(VcpuTable), state.table(GroupTable).leader
        self._baton, self._domids = baton, range(1, most + 1)
        self._known: tuple[int, dict[int, list[int]]] = -1, {}

    def of(self, teams: Iterable[int]) -> list[int]:
        """The domains of some teams, those included that have ended and that others have pages of."""
        topology = self._host.topology[0]
        if self._known[0] != topology:
            self._known = topology, self._look()
        return [domid for team in teams for domid in self._known[1].get(team, ())]

    def _look(self) -> dict[int, list[int]]:
        team_of, process, states = self._baton.team_of(), self._vcpus.process, self._domains.state
        by_group = {self._leader[domid]: team_of[process[self._domains.vcpu_base[domid]]]
                    for domid in self._domids if states[domid] not in _ENDED}
        members: dict[int, list[int]] = {}
        for domid in self._domids:
            team = by_group.get(self._leader[domid])
            if team is not None:
                members.setdefault(team, []).append(domid)
        return members
