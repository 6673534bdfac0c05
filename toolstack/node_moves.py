"""Domains that move from node to node: the agents' part.  `toolstack.mover` says when, and docs/many-nodes.md how.

While the domain runs, its memory is copied from the node that it is on to the one that it goes to, and what it has
changed meanwhile again, until that gets little (or does not get less).  Then all stand still; what is left goes over,
with the tables that it had at home, and from the next round on it lives there.  The first node tells both what to do:

    first -> source: BEGIN                source -> target: CLEAR, MEMORY ...        source -> first: READY
    first -> source: GO, with the group's batons
                     source -> target: MEMORY ..., ARRIVE, with the batons           target -> first: ARRIVED
    first -> all: MOVED
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from abi.types import PAGE_SIZE
from domains.travel import Travellers
from state.dirty_scan import DirtyScan
from state.sparse import data_pages
from toolstack.link_events import LinkError, PeerLostError
from toolstack.node_messages import FIRST, Kind

Range = tuple[int, int]
LITTLE = 1 << 20
"""What is left when copying while the domain runs ends."""
PASSES = 8
"""How often at most its memory is looked through until then."""
_SHRINKS = 0.75
"""Another pass is worth while where a pass had at most so much of what the one before had."""


class Owner(Protocol):
    """What an agent does for its moves; all of it in the agent's thread."""

    handlers: dict[int, Callable[..., None]]

    def send(self, peer: int, kind: Kind, *rest: object) -> None:
        """A message in its turn."""

    def send_last(self, peer: int, kind: Kind, *rest: object) -> None:
        """A message that arrives after all that was sent before, however large that is."""

    def peers(self) -> Iterable[int]:
        """The other nodes."""

    def do(self, job: Callable[[], None]) -> None:
        """Have something done in the agent's thread."""

    def have_done(self, job: Callable[[], None]) -> bool:
        """The same, and wait until it is.  False where the agent ended before."""

    def wait_for(self, event: threading.Event, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait for what the agent's thread sets.  False where that has ended, or the time is over, before it was."""


@dataclass
class Copied:
    """What was copied of a domain's memory."""

    passes: int = 0
    bytes: int = 0


@dataclass
class Leaving:
    """A domain that is about to leave this node."""

    target: int
    scan: DirtyScan
    copied: Copied = field(default_factory=Copied)
    thread: threading.Thread | None = None
    given_up: bool = False
    again: set[int] = field(default_factory=set)
    """Pages of which the target may have had something else that was put there as part of what travels."""


@dataclass
class Wait:
    """On the first node: who asked for a move waits for this."""

    domid: int
    source: int
    target: int
    group: list[int] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    copied: Copied = field(default_factory=Copied)
    rest: int = 0
    """Bytes of memory that went over while all stood still."""
    lost: int | None = None
    """The node of the two that is lost."""
    there: bool = False
    """It has arrived."""


class Moves:
    """The moves of node `number`; `memory` is its memory, `file` the open file that it maps.

    `punch(offset, length)` gives memory back.  `send_bulk(peer, message)` is the link's, for any thread.
    `place(domid, node, process)` does what else is to be done on this node when a domain has moved.
    """

    def __init__(self, number: int, travellers: Travellers, owner: Owner, memory: memoryview, file: int,
                 punch: Callable[[int, int], None], send_bulk: Callable[[int, Any], None],
                 place: Callable[[int, int, int], None]) -> None:
        self._number, self._travellers, self._owner = number, travellers, owner
        self._memory, self._file, self._punch, self._send_bulk, self._place = memory, file, punch, send_bulk, place
        self._leaving: dict[int, Leaving] = {}
        self._waits: dict[int, Wait] = {}
        owner.handlers.update({
            Kind.MOVE_BEGIN: self._on_begin, Kind.MOVE_CLEAR: self._on_clear, Kind.MOVE_MEMORY: self._on_memory,
            Kind.MOVE_READY: self._on_ready, Kind.MOVE_GO: self._on_go, Kind.MOVE_ARRIVE: self._on_arrive,
            Kind.MOVE_ARRIVED: self._on_arrived, Kind.MOVED: self._on_moved, Kind.MOVE_OFF: self._on_off,
            Kind.MOVE_BACK: self._on_back})

    # -- on the first node, from other threads

    def begin(self, wait: Wait) -> None:
        """Copy a domain's memory while it runs; `Wait.ready` is set when little is left."""
        def job() -> None:
            self._waits[wait.domid] = wait
            self._tell(wait.source, Kind.MOVE_BEGIN, wait.domid, wait.target)

        self._owner.do(job)

    def go(self, wait: Wait, group: Iterable[int]) -> None:
        """All stand still, and the batons are here: let it go over; `Wait.arrived` is set when it has."""
        def job() -> None:
            wait.group = list(group)
            parcels = None
            if wait.source != self._number:
                parcels = self._travellers.collect(wait.group, wait.source)
            self._tell(wait.source, Kind.MOVE_GO, wait.domid, wait.group, parcels)

        self._owner.do(job)

    def settle(self, wait: Wait, process: int) -> None:
        """It has arrived: `process` runs it from now on.  All nodes are told, this one before `settle` returns."""
        def job() -> None:
            self._waits.pop(wait.domid, None)
            for node in self._owner.peers():
                self._owner.send(node, Kind.MOVED, wait.domid, wait.target, process)
            self._on_moved(self._number, wait.domid, wait.target, process)

        self._owner.have_done(job)

    def give_up(self, wait: Wait) -> None:
        """It stays where it is."""
        def job() -> None:
            self._waits.pop(wait.domid, None)
            self._tell(wait.source, Kind.MOVE_OFF, wait.domid)

        self._owner.do(job)

    def back(self, wait: Wait) -> None:
        """It had been let go, and the target is lost: it goes on where it was; `Wait.arrived` is set when it does."""
        wait.arrived.clear()
        self._owner.do(lambda: self._tell(wait.source, Kind.MOVE_BACK, wait.domid, wait.group, wait.target))

    def without_source(self, wait: Wait) -> None:
        """It had been let go, has not arrived, and the source is lost: all others of the group go on from here."""
        def job() -> None:
            self._waits.pop(wait.domid, None)
            for domid in wait.group:
                self._travellers.reclaim(domid, wait.source)
            wait.arrived.set()

        wait.arrived.clear()
        self._owner.do(job)

    # -- what happens to a node, or to a page

    def lost(self, node: int) -> None:
        """A node is gone."""
        for wait in self._waits.values():
            if node in (wait.source, wait.target) and wait.lost is None:
                wait.lost = node
                wait.ready.set()
                wait.arrived.set()

    def asked(self, owner: int, address: int) -> None:
        """Another node gets a page of a domain that lives here."""
        if owner in self._leaving:
            self._leaving[owner].again.add(address)

    def coming(self) -> set[int]:
        """On the first node: the domains that are about to come to it."""
        return {wait.domid for wait in self._waits.values() if wait.target == self._number}

    def imaged(self, domid: int, offset: int, length: int) -> None:
        """The first node gets this of a domain's memory for a checkpoint, which is not what a copy of it had there."""
        leaving = self._leaving.get(domid)
        if leaving is not None and leaving.target == FIRST:
            leaving.again.update(range(offset, offset + length, PAGE_SIZE))

    # -- the source

    def _on_begin(self, peer: int, domid: int, target: int) -> None:
        ranges = self._travellers.memory(domid)
        leaving = self._leaving[domid] = Leaving(target, DirtyScan(self._memory, ranges, self._file))
        leaving.again = self._travellers.own_pages(domid)
        self._tell(target, Kind.MOVE_CLEAR, domid)
        leaving.thread = threading.Thread(target=self._copy, args=(domid, leaving), name=f"copy of domain {domid}",
                                          daemon=True)
        leaving.thread.start()

    def _copy(self, domid: int, leaving: Leaving) -> None:
        """In a thread of its own, while the domain runs."""
        before = None
        with suppress(PeerLostError, LinkError):  # which the first node sees, too
            while not leaving.given_up:
                sent = self._send_changes(domid, leaving, set())
                leaving.copied.passes += 1
                done = sent <= LITTLE or leaving.copied.passes == PASSES
                if done or (before is not None and sent > before * _SHRINKS):
                    break
                before = sent
        self._owner.do(lambda: self._tell(FIRST, Kind.MOVE_READY, domid, leaving.copied.passes, leaving.copied.bytes))

    def _send_changes(self, domid: int, leaving: Leaving, more: set[int]) -> int:
        """Send what has changed since the last time, and these pages; how many bytes that was."""
        total, more = 0, set(more)
        for offset, data in chain(leaving.scan.changes(), self._pages(more)):
            if leaving.given_up:
                break
            more.difference_update(range(offset, offset + len(data), PAGE_SIZE))
            self._send_bulk(leaving.target, (Kind.MOVE_MEMORY, domid, offset, data))
            total += len(data)
        leaving.copied.bytes += total
        return total

    def _pages(self, pages: set[int]) -> Iterator[tuple[int, bytes]]:
        """What is in those that are left in `pages` when the first is asked for."""
        for page in sorted(pages):
            yield page, bytes(self._memory[page:page + PAGE_SIZE])

    def _on_go(self, peer: int, domid: int, group: list[int], parcels: Any) -> None:
        travellers, leaving = self._travellers, self._leaving[domid]
        if parcels is not None:
            travellers.apply(parcels)
        assert leaving.thread is not None
        leaving.thread.join()
        with suppress(PeerLostError):
            rest = self._send_changes(domid, leaving, leaving.again | travellers.own_pages(domid))
            travellers.share_for_move(domid, leaving.target, group)
            travellers.moved(domid, leaving.target)
            self._owner.send_last(leaving.target, Kind.MOVE_ARRIVE, domid, group, rest,
                                  travellers.collect(group, leaving.target))

    def _on_off(self, peer: int, domid: int) -> None:
        leaving = self._leaving.pop(domid, None)
        if leaving is not None:
            leaving.given_up = True

    def _on_back(self, peer: int, domid: int, group: list[int], lost: int) -> None:
        travellers = self._travellers
        self._leaving.pop(domid, None)
        travellers.moved(domid, self._number)
        for each in group:
            travellers.reclaim(each, lost)
        travellers.reclaim_cold(domid, lost)
        back = None if self._number == FIRST else travellers.collect(group, FIRST)
        self._tell(FIRST, Kind.MOVE_ARRIVED, domid, 0, back)

    # -- the target

    def _on_clear(self, peer: int, domid: int) -> None:
        """A domain is going to come: its memory here may still have what it once had here."""
        for offset, length in self.found(domid):
            self._travellers.put_memory(domid, offset, bytes(length))

    def found(self, domid: int) -> list[Range]:
        """What of a domain's memory this node has any bytes of."""
        size = len(self._memory) // PAGE_SIZE * PAGE_SIZE
        data = [(first * PAGE_SIZE, end * PAGE_SIZE) for first, end in data_pages(self._file, size)]
        found = []
        for offset, length in self._travellers.memory(domid):
            for start, stop in data:
                first, end = max(start, offset), min(stop, offset + length)
                if first < end:
                    found.append((first, end - first))
        return found

    def _on_memory(self, peer: int, domid: int, offset: int, data: bytes) -> None:
        self._travellers.put_memory(domid, offset, data)

    def _on_arrive(self, peer: int, domid: int, group: list[int], rest: int, parcels: Any) -> None:
        self._travellers.moved(domid, self._number)
        self._travellers.apply(parcels)
        back = None if self._number == FIRST else self._travellers.collect(group, FIRST)
        self._tell(FIRST, Kind.MOVE_ARRIVED, domid, rest, back)

    # -- what both tell the first node, and it tells all

    def _on_ready(self, peer: int, domid: int, passes: int, copied: int) -> None:
        wait = self._waits.get(domid)
        if wait is not None:
            wait.copied = Copied(passes, copied)
            wait.ready.set()

    def _on_arrived(self, peer: int, domid: int, rest: int, parcels: Any) -> None:
        if parcels is not None:
            self._travellers.apply(parcels)
        wait = self._waits.get(domid)
        if wait is not None:
            wait.rest, wait.there = rest, True
            wait.arrived.set()

    def _on_moved(self, peer: int, domid: int, node: int, process: int) -> None:
        self._travellers.moved(domid, node)
        self._place(domid, node, process)
        if self._leaving.pop(domid, None) is not None:
            self.let_go([domid])

    def let_go(self, domids: Iterable[int]) -> None:
        """Give the memory back that these domains have here and that does not travel."""
        for domid in domids:
            kept = self._travellers.own_pages(domid)
            for offset, length in self.found(domid):
                start = offset
                for page in (*sorted(page for page in kept if offset <= page < offset + length), offset + length):
                    if start < page:
                        self._punch(start, page - start)
                    start = page + PAGE_SIZE

    def _tell(self, node: int, kind: Kind, *rest: object) -> None:
        """A message to a node, which may be this one."""
        if node == self._number:
            self._owner.handlers[kind](node, *rest)
        else:
            self._owner.send(node, kind, *rest)
