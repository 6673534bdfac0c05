"""A node's agent: it carries batons, and the state that goes with them, between this node and the others.

It is a thread of the process that owns the node's memory.  Inside a node a baton goes from process to process through
shared memory, as on a host of one node.  To a process on another node it goes by way of both agents, in one message:

    process -> word in memory, ring of a pipe -> agent -> link -> agent -> word in memory, futex -> process

The first node ends the rounds, so at the end of each all teams' state comes to it, and goes from there to who begins.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from abi.types import PAGE_SIZE
from domains.baton import Baton
from domains.node import Node, Wanted
from domains.runner import Outcome
from domains.travel import HOST, Travellers
from hypervisor.groups import GroupTable
from hypervisor.host_state import HostState, HostTable
from hypervisor.place import PlaceTable
from hypervisor.tables import DomainState, DomainTable, VcpuTable
from state.replica import DeltaError
from toolstack.link import Address, Endpoint
from toolstack.link_events import LinkError, PeerLost, PeerLostError, Received
from toolstack.log import log

FIRST = 0
"""The node that ends the rounds."""
_LOOK = 0.05
"""Seconds after which the agent looks whether the run is to stop."""
_ENDED = (int(DomainState.FREE), int(DomainState.DEAD))
(_BUILT, _ROUND, _BATON, _THROUGH, _COLD, _LENT, _PAGE, _CONTENT, _STOP, _OVER, _WHERE, _HERE, _RECLAIM,
 _FORGET) = range(14)
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


@dataclass
class PairTraffic:
    """What one node sent to another."""

    hand_overs: int = 0
    messages: int = 0
    bytes: int = 0


class Agent:
    """The agent of node `number` of a host over `state`.

    `homes` says by domid on which node a domain lives, `processes` by process; `bell` is the reading end of the pipe
    that they ring.  `lost(node)` is told on the first node of one that is gone.
    """

    def __init__(self, state: HostState, number: int, homes: Sequence[int], processes: Sequence[int], node: Node,
                 baton: Baton, endpoint: Endpoint, bell: int,
                 lost: Callable[[int], None] = lambda node: None) -> None:
        self._state, self._number, self._homes, self._processes = state, number, homes, processes
        self._node, self._baton, self._endpoint, self._lost = node, baton, endpoint, lost
        self._host, self._domains = state.table(HostTable), state.table(DomainTable)
        self._vcpus, self._leader, self._place = (
            state.table(VcpuTable), state.table(GroupTable).leader, state.table(PlaceTable))
        self._travellers = Travellers(state, number, homes)
        at = state.address(HostTable)
        self._host_row = state.arena.u8[at:at + HostTable.size(1)]
        self._round = 0
        self._early: list[Any] = []
        """Batons of a round that this node has not heard of yet."""
        self._told: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._built: set[int] = set()
        self._all_built = threading.Event()
        self._members: tuple[int, dict[int, list[int]]] = -1, {}
        self._stopped, self._over = False, threading.Event()
        self.failure = ""
        """Why the run could not go on; one line."""
        self._batons: dict[int, int] = {}
        self._asking: dict[int, int] = {}
        """By process, the node that it waits for."""
        self._losses: list[Loss] = []
        self.address: Address = endpoint.address
        endpoint.watch(bell)
        self._thread = threading.Thread(target=self._work, name=f"agent of node {number}", daemon=True)

    # -- what the owner of the node asks for

    def join(self, addresses: Mapping[int, Address]) -> None:
        """Make the links to the other nodes, and begin.  Raises LinkError."""
        self._endpoint.join(addresses)
        self._thread.start()

    def built(self) -> None:
        """This node's domains are loaded: let the first node have what it has to know of them."""
        mine = [domid for domid in range(1, len(self._homes)) if self._homes[domid] == self._number]
        rings = {domid: self._place.store_ring[domid] for domid in mine}
        self._send(FIRST, _BUILT, rings, self._travellers.collect(mine, FIRST))

    def wait_for_all(self, seconds: float) -> None:
        """On the first node: wait until all have built their domains.  Raises LinkError."""
        wanted = {home for home in self._homes[1:] if home != FIRST}
        if wanted and not (self._built >= wanted or self._all_built.wait(seconds)):
            missing = ", ".join(map(str, sorted(wanted - self._built)))
            raise LinkError(f"node {missing} has not said in {seconds:g} s that its domains are loaded")

    def wait(self) -> None:
        """Until the run has ended."""
        self._over.wait()

    def close(self) -> None:
        """The run is over, and the others have been told."""
        self._node.ring()
        self._over.wait(_LOOK * 40)
        self._thread.join(1.0)
        self._endpoint.close()

    def traffic(self) -> dict[int, PairTraffic]:
        """What this node sent, by node."""
        return {peer: PairTraffic(self._batons.get(peer, 0), traffic.sent, traffic.sent_bytes)
                for peer, traffic in self._endpoint.traffic.items()}

    # -- the thread

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                # Who runs on this node rings before it stops, and needs the processor more than who looks.
                event = self._endpoint.receive(_LOOK, look=not self._baton.running())
                while event is not None:
                    if isinstance(event, Received):
                        self._take(event.peer, event.message)
                    elif isinstance(event, PeerLost):
                        self._lose(event)
                    event = self._endpoint.receive(0) if self._endpoint.pending else None
                self._serve()
        except (LinkError, DeltaError) as error:
            if not self._host.outcome[0]:
                self._fail(str(error))
        except Exception as error:
            log.error("agent", problem=f"{type(error).__name__}: {error}", exc_info=True)
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            self._over.set()

    def _fail(self, why: str) -> None:
        self.failure = f"node {self._number}: {why}"
        self._end()

    def _end(self) -> None:
        if not self._host.outcome[0]:
            self._host.outcome[0] = Outcome.STOPPED
        self._baton.wake_all()
        self._over.set()

    def _send(self, peer: int, *message: Any) -> None:
        try:
            self._endpoint.send(peer, message)
        except PeerLostError:  # an event says so, too, and what follows from it
            if peer == FIRST:
                raise

    def _send_last(self, peer: int, *message: Any) -> None:
        """Send what is to arrive after all that was sent before, however large that is."""
        with suppress(PeerLostError):
            self._endpoint.send(peer, message, bulk=True)

    # -- what this node's processes want

    def _serve(self) -> None:
        for process, what, argument, owner in self._node.asked():
            self._fetch(process, what, argument, owner)
        if self._losses:
            self._look_for_losses()
        batons: dict[int, list[tuple[int, int]]] = {}
        for team, process in self._baton.outgoing():
            batons.setdefault(self._processes[process], []).append((team, process))
        if batons and self._number == FIRST and self._host.round[0] != self._round:
            self._begin_round()
        for peer, teams in batons.items():
            if peer not in self._endpoint.peers:  # it is lost: who is to have the baton is about to be dead
                self._end_teams([team for team, _ in teams])
                continue
            parcels = self._travellers.collect(self._domains_of(team for team, _ in teams), peer)
            self._batons[peer] = self._batons.get(peer, 0) + len(teams)
            self._send(peer, _BATON, self._round, teams, parcels)
        if self._number != FIRST:
            through = self._baton.through()
            if through:
                self._end_teams(through)
        elif self._host.outcome[0]:
            self._tell_end()
        elif self._host.stop[0] and not self._stopped:
            self._stopped = True
            for peer in self._endpoint.peers:
                self._send(peer, _STOP)

    def _end_teams(self, teams: list[int]) -> None:
        """Teams whose batons are here are through with the round."""
        if self._number == FIRST:
            self._baton.done(teams)
        else:
            self._send(FIRST, _THROUGH, teams, self._travellers.collect(self._domains_of(teams), FIRST))

    def _fetch(self, process: int, what: Wanted, argument: int, owner: int) -> None:
        travellers = self._travellers
        here = travellers.has_cold(owner) if what == Wanted.COLD else travellers.has_page(owner, argument)
        if here or self._homes[owner] not in self._endpoint.peers:
            self._node.answer(process)
        elif what == Wanted.COLD:
            self._asking[process] = self._homes[owner]
            self._send(self._homes[owner], _COLD, process, owner)
        else:
            self._asking[process] = self._homes[owner]
            self._send(self._homes[owner], _PAGE, process, owner, argument)

    def _domains_of(self, teams: Iterable[int]) -> list[int]:
        """The domains of some teams, those included that have ended and that others have pages of."""
        topology = self._host.topology[0]
        if self._members[0] != topology:
            team_of, process, states = self._baton.team_of(), self._vcpus.process, self._domains.state
            by_group: dict[int, int] = {}
            for domid in range(1, len(self._homes)):
                if states[domid] not in _ENDED:
                    by_group[self._leader[domid]] = team_of[process[self._domains.vcpu_base[domid]]]
            members: dict[int, list[int]] = {}
            for domid in range(1, len(self._homes)):
                team = by_group.get(self._leader[domid])
                if team is not None:
                    members.setdefault(team, []).append(domid)
            self._members = topology, members
        return [domid for team in teams for domid in self._members[1].get(team, ())]

    # -- on the first node

    def _begin_round(self) -> None:
        """Tell all nodes what there is to know of all domains in this round."""
        self._round = self._host.round[0]
        facts = bytes(self._leader), bytes(self._domains.state), bytes(self._place.store_ring.cast("B"))
        for peer in self._endpoint.peers:
            before = self._told.get(peer, (b"", b"", b""))
            self._send(peer, _ROUND, self._round, bytes(self._host_row),
                       *(new if new != old else None for new, old in zip(facts, before, strict=True)))
            self._told[peer] = facts

    def _tell_end(self) -> None:
        for peer in self._endpoint.peers:
            theirs = [domid for domid in range(1, len(self._homes))
                      if self._homes[domid] == peer and self._travellers.holds(domid)]
            self._send(peer, _OVER, bytes(self._host_row), self._travellers.collect(theirs, peer))
        self._endpoint.flush()
        self._over.set()

    # -- what comes from the others

    def _take(self, peer: int, message: Any) -> None:
        kind, *rest = message
        if kind == _BATON:
            if rest[0] > self._round and self._number != FIRST:
                self._early.append(rest)
            else:
                self._arrive(*rest)
        elif kind == _THROUGH:
            self._travellers.apply(rest[1])
            self._baton.done(rest[0])
        elif kind == _ROUND:
            self._learn(*rest)
            early, self._early = self._early, []
            for baton in early:
                self._take(peer, [_BATON, *baton])
        elif kind == _COLD:
            process, domid = rest
            self._send(peer, _LENT, process, domid, self._travellers.lend(domid, peer))
        elif kind == _LENT:
            process, domid, delta = rest
            self._travellers.borrowed(domid, delta)
            self._answer(process)
        elif kind == _PAGE:
            process, owner, address = rest
            self._send(peer, _CONTENT, process, owner, address, self._travellers.page(address))
        elif kind == _CONTENT:
            process, owner, address, content = rest
            if len(content) == PAGE_SIZE:
                self._travellers.put_page(owner, address, content)
            self._answer(process)
        elif kind == _STOP:
            self._host.stop[0] = 1
        elif kind == _OVER:
            self._travellers.apply(rest[1])
            self._host_row[:] = rest[0]
            self._end()
        elif kind == _WHERE:
            teams = rest[1]
            turns = {team: self._turns(team) for team in teams}
            self._send_last(peer, _HERE, rest[0], self._baton.here(), turns)
        elif kind == _HERE:
            self._heard(peer, *rest)
        elif kind == _RECLAIM:
            self._reclaim(*rest)
        elif kind == _FORGET:
            self._forget(*rest)
        elif kind == _BUILT:
            for domid, ring in rest[0].items():
                self._place.store_ring[domid] = ring
            self._travellers.apply(rest[1])
            self._built.add(peer)
            if self._built >= {home for home in self._homes[1:] if home != FIRST}:
                self._all_built.set()

    def _learn(self, number: int, host_row: bytes, leaders: bytes | None, states: bytes | None,
               rings: bytes | None) -> None:
        self._round = number
        if leaders is not None:
            self._leader.cast("B")[:] = leaders
        if states is not None:
            self._domains.state[:] = memoryview(states)
        if rings is not None:
            self._place.store_ring.cast("B")[:] = rings
        self._host_row[:] = host_row

    def _arrive(self, number: int, teams: Any, parcels: Any) -> None:
        self._travellers.apply(parcels)
        self._baton.arrive(teams)

    # -- who is lost

    def _answer(self, process: int) -> None:
        self._asking.pop(process, None)
        self._node.answer(process)

    def _lose(self, event: PeerLost) -> None:
        if self._host.outcome[0]:
            return
        for process, node in list(self._asking.items()):
            if node == event.peer:  # what it asks for is gone, and its domain is about to be
                self._answer(process)
        if event.peer == FIRST:
            self._fail(f"the first node is lost: {event.reason}")
        elif self._number == FIRST:
            self._losses.append(Loss(event.peer))
            self._lost(event.peer)

    def _turns(self, team: int) -> int:
        """How recent the state is that this node has of a team."""
        return sum(self._travellers.turn(domid) for domid in self._domains_of([team]))

    def _look_for_losses(self) -> None:
        """On the first node: which teams' batons were on nodes that are gone?"""
        for loss in self._losses:
            if not loss.asked and time.monotonic() >= loss.due:
                loss.asked, loss.heard = True, {FIRST: []}
                loss.teams = {team: {FIRST: self._turns(team)} for team in self._baton.away()}
                for peer in self._endpoint.peers:
                    self._send_last(peer, _WHERE, loss.node, list(loss.teams))
            if loss.asked and loss.heard.keys() >= {FIRST, *self._endpoint.peers}:
                self._settle(loss)
        self._losses = [loss for loss in self._losses if not loss.settled]

    def _heard(self, peer: int, lost: int, here: list[int], turns: dict[int, int]) -> None:
        for loss in self._losses:
            if loss.node == lost and loss.asked:
                loss.heard[peer] = here
                for team, turn in turns.items():
                    loss.teams[team][peer] = turn

    def _settle(self, loss: "Loss") -> None:
        """All that are left have said which teams they have: the others' go on from what somebody has."""
        known = {team for here in loss.heard.values() for team in here}
        gone = {team for team in loss.teams if team not in known and team in self._baton.away()}
        if gone - loss.suspects or not loss.sure:
            loss.suspects, loss.sure, loss.asked, loss.due = gone, True, False, time.monotonic() + _DOUBT
            return
        loss.settled = True
        for team in sorted(gone):
            domids = self._domains_of([team])
            for peer in self._endpoint.peers:
                self._send(peer, _FORGET, domids, loss.node)
            self._forget(domids, loss.node)
            best = max(loss.teams[team], key=lambda node: (loss.teams[team][node], -node))
            if best == FIRST:
                self._reclaim(team, domids, loss.node)
            else:
                self._send(best, _RECLAIM, team, domids, loss.node)

    def _forget(self, domids: list[int], lost: int) -> None:
        """What a node that is gone had borrowed of this one goes on from what is here."""
        for domid in (*domids, *((HOST,) if self._number == FIRST else ())):
            if self._homes[domid] == self._number:
                self._travellers.reclaim_cold(domid, lost)

    def _reclaim(self, team: int, domids: list[int], lost: int) -> None:
        """This node has the latest state of a team: it goes on from there, through with the round."""
        for domid in domids:
            self._travellers.reclaim(domid, lost)
        self._end_teams([team])


def make_bell() -> tuple[int, int]:
    """The pipe that an agent listens to: the end to read from, the end to write to."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return reading, writing
