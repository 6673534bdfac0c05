"""What is lost with a node, or with a process: on the first node, where the batons are that it may have had.

A process that dies on a node that lives may have had a baton that its node's tables do not show: one that was on its
way to it from another node, or from it, without the agents (`domains.lanes`).  So then all are asked, too.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from domains.baton import Baton
from domains.travel import HOST, Travellers
from hypervisor.host_state import HostTable
from toolstack.link import Endpoint
from toolstack.node_lanes import NodeLanes
from toolstack.node_members import Members
from toolstack.node_messages import FIRST, Kind

_DOUBT = 0.6
"""Seconds after which a team that nobody has is asked for again: its baton may have been on its way, to a process that
the machine had no time for."""
NOBODY = -2
"""No node's number: what was lost is not gone with one."""
_SEARCH = NOBODY - 1
"""In place of a node's number, where a process died; the next one is one less."""


@dataclass
class Loss:
    """A node or a process that is gone, and what is known of the teams that were not on the first node then."""

    node: int
    """The node; a number below -1 where it is a process."""
    asked: bool = False
    due: float = 0.0
    sure: bool = False
    """They were asked twice."""
    settled: bool = False
    heard: dict[int, list[int]] = field(default_factory=dict)
    """By node that is left, the teams that it has."""
    teams: dict[int, dict[int, int]] = field(default_factory=dict)
    """By team and node, how recent the state there is."""
    suspects: dict[int, int] = field(default_factory=dict)
    """Teams that nobody had when they were last asked, and how recent the latest state was."""


class Sends(Protocol):
    """An agent's ways to send."""

    def send(self, peer: int, kind: Kind, *rest: object) -> None:
        """A message in its turn."""

    def send_last(self, peer: int, kind: Kind, *rest: object) -> None:
        """A message that arrives after all that was sent before, however large that is."""


class Losses:
    """The losses that node `number` knows of, and what it does when the first node has settled one.

    `lives_here(domid)` says whether a domain does; `end_teams(teams)` that teams whose batons are here are through.
    """

    def __init__(self, number: int, baton: Baton, travellers: Travellers, members: Members, endpoint: Endpoint,
                 sends: Sends, lives_here: Callable[[int], bool], end_teams: Callable[[list[int]], None],
                 lanes: NodeLanes, host: HostTable) -> None:
        self._number, self._baton, self._travellers, self._members = number, baton, travellers, members
        self._endpoint, self._sends, self._lives_here, self._end_teams = endpoint, sends, lives_here, end_teams
        self._lanes, self._host = lanes, host
        self._open: list[Loss] = []
        self._next, self._wanted = _SEARCH, threading.Event()
        self._closed: dict[int, int] = {}
        self._told: dict[int, tuple[int, int]] = {}
        """On the first node: by team that was given up, in which round, and the node that was told to go on with it."""

    def __bool__(self) -> bool:
        return bool(self._open) or self._wanted.is_set()

    def search(self) -> None:
        """A process of this node died.  In any thread; to be called again as long as its domains are not buried."""
        self._wanted.set()

    def searched(self) -> None:
        """On the first node: a process of another one died."""
        if all(loss.node >= 0 for loss in self._open):
            self._open.append(Loss(self._next))
            self._next -= 1

    def closed(self, team: int, number: int) -> bool:
        """Whether a team has been given up for round `number`: a baton of it that comes yet is of no use."""
        return self._closed.get(team) == number

    def add(self, node: int) -> None:
        """On the first node: this one is gone."""
        self._open.append(Loss(node))

    def look(self) -> None:
        """Which teams' batons were on nodes that are gone, or with processes?  The first node asks all."""
        if self._wanted.is_set():
            self._wanted.clear()
            if self._number == FIRST:
                self.searched()
            else:
                self._sends.send(FIRST, Kind.SEARCH)
        for loss in self._open:
            if not loss.asked and time.monotonic() >= loss.due:
                loss.asked, loss.heard = True, {FIRST: []}
                loss.teams = {team: {FIRST: self._turns(team)} for team in self._baton.away()}
                for peer in self._endpoint.peers:
                    self._sends.send_last(peer, Kind.WHERE, loss.node, list(loss.teams))
            if loss.asked and loss.heard.keys() >= {FIRST, *self._endpoint.peers}:
                self._settle(loss)
        self._open = [loss for loss in self._open if not loss.settled]

    def asked(self, lost: int, teams: list[int]) -> None:
        """The first node asks where these teams are."""
        self._lanes.lost(lost)
        turns = {team: self._turns(team) for team in teams}
        self._sends.send_last(FIRST, Kind.HERE, lost, self._baton.here(), turns)

    def heard(self, peer: int, lost: int, here: list[int], turns: dict[int, int]) -> None:
        """On the first node: what a node answers."""
        for loss in self._open:
            if loss.node == lost and loss.asked:
                loss.heard[peer] = here
                for team, turn in turns.items():
                    loss.teams[team][peer] = turn

    def forget(self, team: int, domids: list[int], lost: int) -> None:
        """What a node that is gone had borrowed of this one goes on from what is here; the team is given up."""
        self._lanes.drop(team)
        self._closed[team] = self._host.round[0]
        for domid in (*domids, *((HOST,) if self._number == FIRST else ())):
            if self._lives_here(domid):
                self._travellers.reclaim_cold(domid, lost)

    def reclaim(self, team: int, domids: list[int], lost: int) -> None:
        """This node has the latest state of a team: it goes on from there, through with the round."""
        for domid in domids:
            self._travellers.reclaim(domid, lost)
        self._end_teams([team])

    def _turns(self, team: int) -> int:
        """How recent the state is that this node has of a team."""
        return sum(self._travellers.turn(domid) for domid in self._members.of([team]))

    def _settle(self, loss: Loss) -> None:
        """All that are left have said which teams they have: the others' go on from what somebody has."""
        known = {team for here in loss.heard.values() for team in here}
        away = {team for team in self._baton.away() if not self._goes_on(team)}
        gone = {team: max(turns.values()) for team, turns in loss.teams.items() if team not in known and team in away}
        moves = any(loss.suspects.get(team) != turn for team, turn in gone.items())
        if moves or not loss.sure:
            loss.suspects, loss.sure, loss.asked, loss.due = gone, True, False, time.monotonic() + _DOUBT
            return
        loss.settled = True
        for team in sorted(gone):
            domids = self._members.of([team])
            for peer in self._endpoint.peers:
                self._sends.send(peer, Kind.FORGET, team, domids, loss.node)
            self.forget(team, domids, loss.node)
            best = max(loss.teams[team], key=lambda node: (loss.teams[team][node], -node))
            self._told[team] = self._host.round[0], best
            if best == FIRST:
                self.reclaim(team, domids, loss.node)
            else:
                self._sends.send(best, Kind.RECLAIM, team, domids, loss.node)

    def _goes_on(self, team: int) -> bool:
        """Whether a node that lives has been told to go on with a team, and to end this round for it."""
        number, node = self._told.get(team, (-1, FIRST))
        return number == self._host.round[0] and node in (FIRST, *self._endpoint.peers)
