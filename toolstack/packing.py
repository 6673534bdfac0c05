"""Which domains go into one actor together: those that refer to each other in their command lines, as far as they fit.

A hand-over inside an actor is a function call, between two a message through shared memory, so domains that share
should be in one.  Plain arithmetic over domids, so that the same configuration always gives the same actors.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import groupby

_LONGEST = 100
"""Letters of an actor's name that still lists its domains."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for one domain.  `links` are the domids that its command line refers to."""

    domid: int
    links: Sequence[int] = ()
    apart: bool = False
    """It has an actor of its own."""
    actor: str | None = None
    """It is in the actor of this name, with all others that say so."""
    node: int | None = None
    """It is on this node."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An actor to be; `name` is None where nobody named it."""

    domids: tuple[int, ...]
    name: str | None = None
    node: int = 0


def place(wishes: Sequence[Wish], nodes: int) -> dict[int, int]:
    """By domid, a node of so many.

    Whoever asked for none goes where somebody is with whom it is linked, directly or through others.  The rest is
    spread evenly; linked domains stay together where they fit into a node's share.
    """
    placed = {wish.domid: wish.node for wish in wishes if wish.node is not None}
    named = {wish.actor: wish.node for wish in wishes if wish.actor is not None and wish.node is not None}
    placed |= {wish.domid: named[wish.actor] for wish in wishes if wish.actor in named and wish.node is None}
    neighbours = _neighbours(wishes)
    frontier = sorted(placed)
    while frontier:
        domid = frontier.pop(0)
        for other in sorted(neighbours[domid]):
            if other not in placed:
                placed[other] = placed[domid]
                frontier.append(other)
    free = [wish for wish in wishes if wish.domid not in placed]
    for first, *others in _same_actor(free):  # who is in one actor is on one node
        for other in others:
            neighbours[first].add(other)
            neighbours[other].add(first)
    load = [list(placed.values()).count(node) for node in range(nodes)]
    share = -(-len(wishes) // nodes)
    left = {wish.domid: neighbours[wish.domid] for wish in free}
    for piece in sorted(_pieces(left, share), key=lambda piece: (-len(piece), min(piece))):
        node = load.index(min(load))
        load[node] += len(piece)
        placed |= dict.fromkeys(piece, node)
    for first, *others in _same_actor(free):
        placed |= dict.fromkeys(others, placed[first])
    return placed


def _same_actor(wishes: Iterable[Wish]) -> list[list[int]]:
    named: dict[str, list[int]] = {}
    for wish in wishes:
        if wish.actor is not None:
            named.setdefault(wish.actor, []).append(wish.domid)
    return list(named.values())


def pack_nodes(wishes: Sequence[Wish], capacity: int, nodes: int) -> list[Packed]:
    """Actors on so many nodes: see `place` and `pack`."""
    placed = place(wishes, nodes)
    actors = [replace(actor, node=node) for node in range(nodes)
              for actor in pack([wish for wish in wishes if placed[wish.domid] == node], capacity)]
    return sorted(actors, key=lambda actor: actor.domids)


def pack(wishes: Sequence[Wish], capacity: int) -> list[Packed]:
    """Actors for all domains, in the order of their lowest domids; those that nobody named have up to `capacity`.

    A set of domains that are linked, directly or through others, stays together where it fits.  One that does not is
    cut where few links are, and pieces share actors so that few are needed.
    """
    named: dict[str, list[int]] = {}
    free: list[Wish] = []
    actors: list[Packed] = []
    for wish in wishes:
        if wish.actor is not None:
            named.setdefault(wish.actor, []).append(wish.domid)
        elif wish.apart or capacity == 1:
            actors.append(Packed((wish.domid,)))
        else:
            free.append(wish)
    actors += [Packed(tuple(sorted(domids)), name) for name, domids in named.items()]
    actors += [Packed(tuple(sorted(domids))) for domids in _fill(_pieces(_neighbours(free), capacity), capacity)]
    return sorted(actors, key=lambda actor: actor.domids)


def _neighbours(wishes: Sequence[Wish]) -> dict[int, set[int]]:
    """Who is linked with whom, both ways."""
    neighbours: dict[int, set[int]] = {wish.domid: set() for wish in wishes}
    for wish in wishes:
        for other in wish.links:
            if other in neighbours and other != wish.domid:
                neighbours[wish.domid].add(other)
                neighbours[other].add(wish.domid)
    return neighbours


def _pieces(neighbours: Mapping[int, Set[int]], capacity: int) -> list[list[int]]:
    """Sets of linked domains, none larger than `capacity`: each grows from its lowest domid to whom it is linked with
    most, so that it takes in a ring's arc or a hub with its spokes.
    """
    pieces: list[list[int]] = []
    left = dict.fromkeys(sorted(neighbours))
    while left:
        piece: list[int] = []
        strength: dict[int, int] = {}
        frontier = [(0, next(iter(left)))]
        while frontier and len(piece) < capacity:
            _, domid = heappop(frontier)
            if domid not in left:  # an entry from when it was linked less
                continue
            del left[domid]
            piece.append(domid)
            for other in neighbours[domid]:
                if other in left:
                    strength[other] = strength.get(other, 0) + 1
                    heappush(frontier, (-strength[other], other))
        pieces.append(piece)
    return pieces


def _fill(pieces: Iterable[list[int]], capacity: int) -> list[list[int]]:
    """Actors of up to `capacity` domains: large pieces first, each into the fullest actor that still has room."""
    actors: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free places, index of the actor), ascending
    for piece in sorted(pieces, key=lambda piece: (-len(piece), min(piece))):
        at = bisect_left(room, (len(piece), 0))
        if at < len(room):
            places, index = room.pop(at)
            actors[index] += piece
        else:
            places, index = capacity, len(actors)
            actors.append(list(piece))
        if places > len(piece):
            insort(room, (places - len(piece), index))
    return actors


def actor_name(names: Sequence[str]) -> str:
    """A name that says whom an actor runs: `w-0..49`, `ping-0..24,pong-0..24`, `reader,writer`.

    A long list is cut, and says how many there are: `a,b,c,...of-32`.
    """
    parts: list[str] = []
    for (stem, _), run in groupby(enumerate(map(_split, names)), key=_run):
        members = [names[index] for index, _ in run]
        parts.append(members[0] if len(members) == 1 else f"{members[0]}..{members[-1][len(stem) + 1:]}")
    whole = ",".join(parts)
    if len(whole) <= _LONGEST:
        return whole
    return f"{whole[:whole.rfind(',', 0, _LONGEST - 20)]},...of-{len(names)}"


def _split(name: str) -> tuple[str, int]:
    """`w-12` is number 12 of `w`; a name without a number is number -1 of itself."""
    match = re.fullmatch(r"(.*)-(0|[1-9][0-9]*)", name)
    return (match[1], int(match[2])) if match else (name, -1)


def _run(numbered: tuple[int, tuple[str, int]]) -> tuple[str, int]:
    """Equal for neighbours that count on: same stem, number minus position."""
    position, (stem, number) = numbered
    return stem, number - position if number >= 0 else -1 - position
