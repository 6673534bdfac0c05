"""A node's agent: it carries batons, and the state that goes with them, between this node and the others.

It is a thread of the process that owns the node's memory.  Inside a node a baton goes from process to process through
shared memory, as on a host of one node.  To a process on another node it goes by way of both agents, in one message:

    process -> word in memory, ring of a pipe -> agent -> link -> agent -> word in memory, futex -> process

The first node ends the rounds, so at the end of each all teams' state comes to it, and goes from there to who begins.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from abi.types import PAGE_SIZE
from domains.baton import Baton
from domains.node import Node, Wanted
from domains.runner import Outcome
from domains.seat import HYPERVISOR, BatonTable
from domains.travel import Parcel, Travellers
from hypervisor.groups import GroupTable
from hypervisor.host_state import HostState, HostTable
from hypervisor.place import PlaceTable
from hypervisor.tables import DomainTable, VcpuTable
from state.replica import DeltaError
from toolstack.jobs import LOOK
from toolstack.link import Address, Endpoint
from toolstack.link_events import FrameError, LinkError, PeerLost, PeerLostError, Received
from toolstack.link_frames import decode
from toolstack.log import log
from toolstack.node_images import Images
from toolstack.node_lanes import NodeLanes
from toolstack.node_losses import NOBODY, Losses
from toolstack.node_members import Members
from toolstack.node_messages import FIRST, Kind
from toolstack.node_moves import Moves

_LOOK = 0.05
"""Seconds after which the agent looks whether the run is to stop."""



@dataclass
class PairTraffic:
    """What one node sent to another."""

    hand_overs: int = 0
    messages: int = 0
    bytes: int = 0
    direct: int = 0
    """Those of `hand_overs` that went from process to process."""


class Agent:
    """The agent of node `number` of a host over `state`.

    `homes` says by domid on which node a domain lives; `bell` is the reading end of the pipe that processes ring.
    `file` is the open file that the node's memory is, and `punch(offset, length)` gives some of that back.
    `lost(node)` is told on the first node of one that is gone.
    """

    def __init__(self, state: HostState, number: int, homes: list[int], batons: BatonTable, node: Node,
                 baton: Baton, endpoint: Endpoint, secret: bytes, bell: int, file: int,
                 punch: Callable[[int, int], None], lost: Callable[[int], None] = lambda node: None) -> None:
        self._state, self._number, self._homes, self._processes = state, number, homes, batons.node
        self._pids, self._knows = batons.pid, batons.told
        self._node, self._baton, self._endpoint, self._lost = node, baton, endpoint, lost
        self._host, self._domains = state.table(HostTable), state.table(DomainTable)
        self._leader, self._place = state.table(GroupTable).leader, state.table(PlaceTable)
        self._vcpus = state.table(VcpuTable)
        self._travellers = Travellers(state, number, homes)
        at = state.address(HostTable)
        self._host_row = state.arena.u8[at:at + HostTable.size(1)]
        self._round = 0
        self._early: list[tuple[int, int, Any, Any]] = []
        """Batons of a round that this node has not heard of yet."""
        self._told: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._built: set[int] = set()
        self._all_built = threading.Event()
        self._stopped, self._over = False, threading.Event()
        self.failure = ""
        """Why the run could not go on; one line."""
        self._batons: dict[int, int] = {}
        self._asking: dict[int, int] = {}
        """By process, the node that it waits for."""
        self._members = Members(state, len(homes) - 1, baton)
        self.lanes = NodeLanes(state, number, batons, baton, self._travellers, self._members,
                               (endpoint.address[0], secret), self)
        self._losses = Losses(number, baton, self._travellers, self._members, endpoint, self,
                              lambda domid: homes[domid] == number, self._end_teams, self.lanes, self._host)
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.handlers: dict[int, Callable[..., None]] = {
            Kind.BUILT: self._on_built, Kind.ROUND: self._on_round, Kind.BATON: self._on_baton,
            Kind.THROUGH: self._on_through, Kind.COLD: self._on_cold, Kind.LENT: self._on_lent,
            Kind.PAGE: self._on_page, Kind.CONTENT: self._on_content, Kind.STOP: self._on_stop,
            Kind.OVER: self._on_over, Kind.LANE: self.lanes.heard,
            Kind.SEARCH: lambda peer: self._losses.searched(),
            Kind.WHERE: lambda peer, *rest: self._losses.asked(*rest), Kind.HERE: self._losses.heard,
            Kind.RECLAIM: lambda peer, *rest: self._losses.reclaim(*rest),
            Kind.FORGET: lambda peer, *rest: self._losses.forget(*rest),
        }
        """By kind of message, what is done with it: the sender, and what follows the kind."""
        self.moves = Moves(number, self._travellers, self, state.arena.u8, file, punch,
                           lambda peer, message: endpoint.send(peer, message, bulk=True), self._place_domain)
        self.images = Images(number, self._travellers, self, self.moves, homes,
                             lambda offset, length: bytes(state.arena.u8[offset:offset + length]), baton.dead,
                             self._domains.released)
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
        self.send(FIRST, Kind.BUILT, rings, self._travellers.collect(mine, FIRST))

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
        found = {}
        for peer, traffic in self._endpoint.traffic.items():
            direct = self.lanes.direct(peer)
            found[peer] = PairTraffic(self._batons.get(peer, 0) + direct.hand_overs, traffic.sent + direct.hand_overs,
                                      traffic.sent_bytes + direct.bytes, direct.hand_overs)
        return found

    def search(self) -> None:
        """A process of this node died: see to it that a baton that it may have had is found."""
        self._losses.search()
        self._node.ring()

    def peers(self) -> list[int]:
        """See `node_moves.Owner`."""
        return self._endpoint.peers

    def do(self, job: Callable[[], None]) -> None:
        """See `node_moves.Owner`."""
        self._jobs.put(job)
        self._node.ring()

    def have_done(self, job: Callable[[], None]) -> bool:
        """See `node_moves.Owner`."""
        done = threading.Event()

        def then_tell() -> None:
            job()
            done.set()

        self.do(then_tell)
        return self.wait_for(done)

    def wait_for(self, event: threading.Event, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """See `node_moves.Owner`."""
        deadline = time.monotonic() + seconds
        while not event.wait(min(LOOK, seconds)):
            if self._over.is_set() or time.monotonic() > deadline:
                return event.is_set()
        return True

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

    def send(self, peer: int, kind: Kind, *rest: object) -> None:
        try:
            self._endpoint.send(peer, (kind, *rest))
        except PeerLostError:  # an event says so, too, and what follows from it
            if peer == FIRST:
                raise

    def send_last(self, peer: int, kind: Kind, *rest: object) -> None:
        """See `node_losses.Sends`."""
        with suppress(PeerLostError):
            self._endpoint.send(peer, (kind, *rest), bulk=True)

    # -- what this node's processes want

    def _serve(self) -> None:
        while not self._jobs.empty():
            self._jobs.get()()
        for process, what, argument, owner in self._node.asked():
            self._fetch(process, what, argument, owner)
        if self._losses:
            self._losses.look()
        self.lanes.tell()
        batons: dict[int, list[tuple[int, int]]] = {}
        for team, process in self._baton.outgoing():
            batons.setdefault(self._processes[process], []).append((team, process))
        if batons and self._number == FIRST and self._host.round[0] != self._round:
            self._begin_round()
        for peer, teams in batons.items():
            if peer not in self._endpoint.peers:  # it is lost: who is to have the baton is about to be dead
                self._end_teams([team for team, _ in teams])
                continue
            parcels = self._collect([team for team, _ in teams], peer)
            self._batons[peer] = self._batons.get(peer, 0) + len(teams)
            self.lanes.collected(peer, [team for team, _ in teams])
            self.send(peer, Kind.BATON, self._round, teams, parcels)
        if self._number != FIRST:
            through = self._baton.through()
            if through:
                self._end_teams(through)
        elif self._host.outcome[0]:
            self._tell_end()
        elif self._host.stop[0] and not self._stopped:
            self._stopped = True
            for peer in self._endpoint.peers:
                self.send(peer, Kind.STOP)

    def _end_teams(self, teams: list[int]) -> None:
        """Teams whose batons are here are through with the round."""
        if self._number == FIRST:
            self._baton.done(teams)
        else:
            self.send(FIRST, Kind.THROUGH, teams, self._collect(teams, FIRST))

    def _collect(self, teams: list[int], peer: int) -> list[Parcel]:
        """What node `peer` lacks of teams whose batons are here."""
        domids = self._members.of(teams)
        for domid in domids:
            if not self._travellers.holds(domid) and self._baton.dead():  # he had made the message, and not sent it
                self._travellers.reclaim(domid, NOBODY)
        return self._travellers.collect(domids, peer)

    def _fetch(self, process: int, what: Wanted, argument: int, owner: int) -> None:
        if what == Wanted.BATON:
            self._forwarded(process, argument)
            return
        if what == Wanted.SEARCH:
            self._losses.search()
            self._node.answer(process)
            return
        travellers = self._travellers
        here = travellers.has_cold(owner) if what == Wanted.COLD else travellers.has_page(owner, argument)
        if here or self._homes[owner] not in self._endpoint.peers:
            self._node.answer(process)
        elif what == Wanted.COLD:
            self._asking[process] = self._homes[owner]
            self.send(self._homes[owner], Kind.COLD, process, owner)
        else:
            self._asking[process] = self._homes[owner]
            self.send(self._homes[owner], Kind.PAGE, process, owner, argument)

    def _forwarded(self, process: int, file: int) -> None:
        """A process has been handed a baton that does not fit its lane."""
        try:
            with open(f"/proc/{self._pids[process]}/fd/{file}", "rb") as message:
                number, team, to, parcels = decode(message.read())
        except (OSError, FrameError, ValueError, TypeError):  # it is dead by now, and the baton is looked for
            pass
        else:
            self._on_baton(self._number, number, [(team, to)], parcels)
        self._node.answer(process)

    # -- on the first node

    def _begin_round(self) -> None:
        """Tell all nodes what there is to know of all domains in this round."""
        self._round = self._host.round[0]
        facts = bytes(self._leader), bytes(self._domains.state), bytes(self._place.store_ring.cast("B"))
        for peer in self._endpoint.peers:
            before = self._told.get(peer, (b"", b"", b""))
            self.send(peer, Kind.ROUND, self._round, bytes(self._host_row),
                       *(new if new != old else None for new, old in zip(facts, before, strict=True)))
            self._told[peer] = facts
        self._know_round()

    def _know_round(self) -> None:
        """All is known of a round that its processes have to know."""
        self.lanes.round()
        self._knows[HYPERVISOR] = self._round

    def _tell_end(self) -> None:
        for peer in self._endpoint.peers:
            theirs = [domid for domid in range(1, len(self._homes))
                      if self._homes[domid] == peer and self._travellers.holds(domid)]
            self.send(peer, Kind.OVER, bytes(self._host_row), self._travellers.collect(theirs, peer))
        self._endpoint.flush()
        self._over.set()

    # -- what comes from the others

    def _take(self, peer: int, message: Any) -> None:
        kind, *rest = message
        self.handlers[kind](peer, *rest)

    def _on_baton(self, peer: int, number: int, teams: Any, parcels: Any) -> None:
        if number > self._round and self._number != FIRST:
            self._early.append((peer, number, teams, parcels))
        elif self._losses.closed(teams[0][0], number):
            log.warning("baton", problem=f"one that was taken for lost came to node {self._number}")
        else:
            self._travellers.apply(parcels)
            self.lanes.applied()
            self._baton.arrive(teams)

    def _on_through(self, peer: int, teams: Any, parcels: Any) -> None:
        self._travellers.apply(parcels)
        self._baton.done(teams)

    def _on_round(self, peer: int, *facts: Any) -> None:
        self._learn(*facts)
        self._know_round()
        early, self._early = self._early, []
        for baton in early:
            self._on_baton(*baton)

    def _on_cold(self, peer: int, process: int, domid: int) -> None:
        self.send(peer, Kind.LENT, process, domid, self._travellers.lend(domid, peer))

    def _on_lent(self, peer: int, process: int, domid: int, delta: Any) -> None:
        self._travellers.borrowed(domid, delta)
        self._answer(process)

    def _on_page(self, peer: int, process: int, owner: int, address: int) -> None:
        self.moves.asked(owner, address)
        self.send(peer, Kind.CONTENT, process, owner, address, self._travellers.page(address))

    def _on_content(self, peer: int, process: int, owner: int, address: int, content: bytes) -> None:
        if len(content) == PAGE_SIZE:
            self._travellers.put_page(owner, address, content)
        self._answer(process)

    def _on_stop(self, peer: int) -> None:
        self._host.stop[0] = 1

    def _on_over(self, peer: int, host_row: bytes, parcels: Any) -> None:
        self._travellers.apply(parcels)
        self._host_row[:] = host_row
        self._end()

    def _on_built(self, peer: int, rings: dict[int, int], parcels: Any) -> None:
        for domid, ring in rings.items():
            self._place.store_ring[domid] = ring
        self._travellers.apply(parcels)
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

    def _answer(self, process: int) -> None:
        self._asking.pop(process, None)
        self._node.answer(process)

    def _lose(self, event: PeerLost) -> None:
        if self._host.outcome[0]:
            return
        self.lanes.lost(event.peer)
        for process, node in list(self._asking.items()):
            if node == event.peer:  # what it asks for is gone, and its domain is about to be
                self._answer(process)
        if event.peer == FIRST:
            self._fail(f"the first node is lost: {event.reason}")
        elif self._number == FIRST:
            self.moves.lost(event.peer)
            self.images.lost(event.peer)
            self._losses.add(event.peer)
            self._lost(event.peer)

    def _place_domain(self, domid: int, node: int, process: int) -> None:
        self.lanes.drop_all()
        self._processes[process] = node
        first = self._domains.vcpu_base[domid]
        for row in range(first, first + self._domains.vcpu_count[domid]):
            self._vcpus.process[row] = process


def make_bell() -> tuple[int, int]:
    """The pipe that an agent listens to: the end to read from, the end to write to."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return reading, writing
