"""What is lost with a node: on the first node, where the teams' batons are that it may have had, and who goes on."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from domains.baton import Baton
from domains.travel import HOST, Travellers
from toolstack.link import Endpoint
from toolstack.node_members import Members
from toolstack.node_messages import FIRST, Kind

_DOUBT = 0.25
"""Seconds after which a team that nobody has is asked for again: its baton may just have been on its way."""


@dataclass
class Loss:
    """A node that is gone, and what is known of the teams that were not on the first node then."""

    node: int
    asked: bool = False
    due: float = 0.0
    sure: bool = False
    """They were asked twice."""
    settled: bool = False
    heard: dict[int, list[int]] = field(default_factory=dict)
    """By node that is left, the teams that it has."""
    teams: dict[int, dict[int, int]] = field(default_factory=dict)
    """By team and node, how recent the state there is."""
    suspects: set[int] = field(default_factory=set)


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
                 sends: Sends, lives_here: Callable[[int], bool], end_teams: Callable[[list[int]], None]) -> None:
        self._number, self._baton, self._travellers, self._members = number, baton, travellers, members
        self._endpoint, self._sends, self._lives_here, self._end_teams = endpoint, sends, lives_here, end_teams
        self._open: list[Loss] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, node: int) -> None:
        """On the first node: this one is gone."""
        self._open.append(Loss(node))

    def look(self) -> None:
        """On the first node: which teams' batons were on nodes that are gone?"""
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
        turns = {team: self._turns(team) for team in teams}
        self._sends.send_last(FIRST, Kind.HERE, lost, self._baton.here(), turns)

    def heard(self, peer: int, lost: int, here: list[int], turns: dict[int, int]) -> None:
        """On the first node: what a node answers."""
        for loss in self._open:
            if loss.node == lost and loss.asked:
                loss.heard[peer] = here
                for team, turn in turns.items():
                    loss.teams[team][peer] = turn

    def forget(self, domids: list[int], lost: int) -> None:
        """What a node that is gone had borrowed of this one goes on from what is here."""
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
        gone = {team for team in loss.teams if team not in known and team in self._baton.away()}
        if gone - loss.suspects or not loss.sure:
            loss.suspects, loss.sure, loss.asked, loss.due = gone, True, False, time.monotonic() + _DOUBT
            return
        loss.settled = True
        for team in sorted(gone):
            domids = self._members.of([team])
            for peer in self._endpoint.peers:
                self._sends.send(peer, Kind.FORGET, domids, loss.node)
            self.forget(domids, loss.node)
            best = max(loss.teams[team], key=lambda node: (loss.teams[team][node], -node))
            if best == FIRST:
                self.reclaim(team, domids, loss.node)
            else:
                self._sends.send(best, Kind.RECLAIM, team, domids, loss.node)
