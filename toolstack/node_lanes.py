"""The lanes of a node: a team whose baton goes to and fro between processes of two nodes does without the agents.

A lane is made when the agent has carried a team's baton some times, and used once the agent of the other node has one
too, and both know where the other's processes listen.  It is taken down when what it holds has to be moved.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from domains.baton import Baton
from domains.lane import Lane, Watch
from domains.native_cells import NativeCells
from domains.seat import BatonTable
from domains.travel import Travellers
from hypervisor.host_state import HostState, HostTable
from state.standing import OwnStanding
from toolstack.log import log
from toolstack.node_members import Members
from toolstack.node_messages import Kind

_OFTEN = 4
"""Hand-overs to one node, from which on a team gets its first lane.  Each time it has to be taken down, the next takes
twice as many."""
_SELDOM = 256
_SPARE = 256
"""Cells more than there are that a lane has room for, and again as many as there are."""


class Sends(Protocol):
    """An agent's way to send."""

    def send(self, peer: int, kind: Kind, *rest: object) -> None:
        """A message in its turn."""


@dataclass
class Direct:
    """What the processes of this node handed to one node without the agent."""

    hand_overs: int = 0
    bytes: int = 0


@dataclass
class Made:
    """A lane, and the cells that it keeps, by domid."""

    lane: Lane
    parts: dict[int, NativeCells]


class NodeLanes:
    """The lanes of node `number`.  `settings` is what its processes make their links with: an address, and a secret."""

    def __init__(self, state: HostState, number: int, batons: BatonTable, baton: Baton, travellers: Travellers,
                 members: Members, settings: tuple[str, bytes], sends: Sends) -> None:
        self._number, self._table, self._baton = number, batons, baton
        self._travellers, self._members, self._settings, self._sends = travellers, members, settings, sends
        self._host, self._buffer = state.table(HostTable), state.arena.u8
        self._lanes: dict[int, Made] = {}
        self._counts: dict[tuple[int, int], int] = {}
        self._often: dict[int, int] = {}
        """By team, how many hand-overs to one node it takes to have a lane, the next time."""
        self._untold: set[int] = set()
        self._theirs: dict[tuple[int, int], tuple[int, dict[int, Any]]] = {}
        """By team and node, the topology of its lane there, and by process where it listens."""
        self._done: dict[int, Direct] = {}

    # -- for the agent

    def collected(self, peer: int, teams: Sequence[int]) -> None:
        """The agent has just found what node `peer` lacks of these teams, and is going to send it."""
        if self._lanes:
            self._look()
        for team in teams:
            made = self._lanes.get(team)
            if made is not None:
                made.lane.remember(self._buffer)
            else:
                count = self._counts[team, peer] = self._counts.get((team, peer), 0) + 1
                if count >= self._often.get(team, _OFTEN):
                    self._counts[team, peer] = 0
                    self._often[team] = min(2 * self._often.get(team, _OFTEN), _SELDOM)
                    self._make(team)

    def tell(self) -> None:
        """Let the other nodes know of lanes whose processes listen by now."""
        for team in list(self._untold):
            self._tell(team, self._lanes[team].lane)

    def applied(self) -> None:
        """Something has come by the agents, which may have made ranges more than there is room for."""
        if self._lanes:
            self._look()

    def heard(self, peer: int, team: int, topology: int, addresses: dict[int, Any]) -> None:
        """Node `peer` has a lane for a team, and its processes listen; without addresses: it has none any more."""
        self._theirs[team, peer] = topology, addresses
        made = self._lanes.get(team)
        if made is not None and made.lane.topology == topology:
            made.lane.set_ready(peer, addresses)

    def lost(self, node: int) -> None:
        """A node is gone: no process is to send anything there."""
        for made in self._lanes.values():
            made.lane.set_ready(node, {})
        for team, peer in list(self._theirs):
            if peer == node:
                del self._theirs[team, peer]

    def round(self) -> None:
        """A round begins: lanes of teams that are not as they were are of no use."""
        self._look()

    def drop_all(self) -> None:
        """Take all lanes down: the structure changes.  They come again.

        For the agent's thread, or while it does nothing, and no baton is on its way between two processes.
        """
        for team in list(self._lanes):
            self.drop(team)
        self._counts.clear()
        self._often.clear()

    def drop(self, team: int) -> None:
        """Take a team's lane down, if it has one."""
        made = self._lanes.pop(team, None)
        if made is None:
            return
        lane = made.lane
        lane.valid = False
        for row in range(1, self._table.rows):
            if self._table.lane[row] == lane.file:
                self._table.lane[row] = 0
                self._table.made[row] += 1
        for domid, cells in made.parts.items():
            self._travellers.hot(domid).replica.keep_in(OwnStanding())
            cells.keep_here()
        for node in range(lane.nodes):
            sent, done = lane.sent(node), self._done.setdefault(node, Direct())
            done.hand_overs += sent.hand_overs
            done.bytes += sent.bytes
        os.close(lane.file)
        if team in self._untold:
            self._untold.discard(team)
        else:
            for peer in self._others(team):
                self._sends.send(peer, Kind.LANE, team, lane.topology, {})

    def direct(self, node: int) -> Direct:
        """What this node's processes handed to that one."""
        done = self._done.get(node, Direct())
        sent = [made.lane.sent(node) for made in list(self._lanes.values())]
        return Direct(done.hand_overs + sum(each.hand_overs for each in sent),
                      done.bytes + sum(each.bytes for each in sent))

    # -- making them

    def _look(self) -> None:
        """Take down what cannot be used any more."""
        for team, made in list(self._lanes.items()):
            if made.lane.topology != self._host.topology[0] or any(
                    self._travellers.hot(domid).replica.cells is not cells or not cells.kept_elsewhere
                    for domid, cells in made.parts.items()):
                self.drop(team)

    def _make(self, team: int) -> None:
        parts: dict[int, NativeCells] = {}
        for domid in self._members.of([team]):
            cells = self._travellers.hot(domid).replica.cells
            if not isinstance(cells, NativeCells):
                return
            parts[domid] = cells
        rows = self._rows(team)
        if not parts or not rows:
            return
        nodes = set(self._table.node).union(*(self._travellers.hot(domid).replica.nodes for domid in parts))
        watched = [Watch(*found) for domid in parts for found in self._travellers.watched(domid)]
        try:
            lane = Lane.make(self._number, team, 1 + max(nodes), self._host.topology[0],
                             {domid: cells.room + _SPARE for domid, cells in parts.items()}, watched, self._settings)
        except OSError as error:
            log.warning("lane", problem=f"node {self._number} makes none: {error}")
            return
        for index, (domid, cells) in enumerate(parts.items()):
            cells.keep_in(lane.columns(index), lane.room(index), lane.counter(index), lane.invalidate)
            self._travellers.hot(domid).replica.keep_in(lane.standing(index))
        lane.remember(self._buffer)
        lane.valid = True
        self._lanes[team] = Made(lane, parts)
        self._untold.add(team)
        for row in rows:
            self._table.lane[row] = lane.file
            self._table.made[row] += 1
            self._baton.wake(row)
        for peer in self._others(team):
            topology, addresses = self._theirs.get((team, peer), (-1, {}))
            if topology == lane.topology:
                lane.set_ready(peer, addresses)

    def _tell(self, team: int, lane: Lane) -> None:
        """Let the other nodes know of a lane once all its processes here listen."""
        rows = self._rows(team)
        if not all(self._table.port[row] for row in rows):
            return
        self._untold.discard(team)
        addresses = {row: [self._settings[0], self._table.port[row]] for row in rows}
        for peer in self._others(team):
            self._sends.send(peer, Kind.LANE, team, lane.topology, addresses)

    def _rows(self, team: int) -> list[int]:
        """The team's processes on this node."""
        teams, table = self._baton.team_of(), self._table
        return [row for row in range(1, table.rows)
                if teams[row] == team and table.node[row] == self._number and table.pid[row]]

    def _others(self, team: int) -> set[int]:
        """The other nodes that have processes of the team."""
        teams, table = self._baton.team_of(), self._table
        return {table.node[row] for row in range(1, table.rows) if teams[row] == team} - {self._number}
