"""All bytes of a host on several nodes: the first node gets what the others have, and gives it back.

For a checkpoint, and to put right what a process left behind that died (`hypervisor.repair`).

What travels with batons is there already, since all stand still between two rounds, and the cold parts are asked for as
before any call that needs them.  What is left is the domains' own memory.  A host that goes on from a checkpoint has
the whole of it on each node, which keeps what is its own.
"""

import threading
from array import array
from collections.abc import Callable
from contextlib import suppress

from domains.travel import Travellers
from toolstack.link_events import PeerLostError
from toolstack.node_messages import FIRST, Kind
from toolstack.node_moves import Moves, Owner

_PIECE = 256 << 10


class Images:
    """The part of node `number` in checkpoints; `homes` says by domid where each lives, `read(offset, length)` gives
    bytes of its memory, and `dead()` the processes of this node that took part and do not live any more.
    `released` is `DomainTable`'s.
    """

    def __init__(self, number: int, travellers: Travellers, owner: Owner, moves: Moves, homes: "list[int]",
                 read: Callable[[int, int], bytes], dead: Callable[[], list[int]], released: "memoryview[int]") -> None:
        self._number, self._travellers, self._owner, self._moves = number, travellers, owner, moves
        self._homes, self._read, self._find_dead, self._released = homes, read, dead, released
        self.dead: list[int] = []
        """On the first node: the processes of others that were dead when their memory was gathered."""
        self._missing: set[int] = set()
        self._lost = False
        self._complete = threading.Event()
        owner.handlers.update({Kind.IMAGE: self._on_image, Kind.IMAGE_SENT: self._on_sent})

    # -- on the first node, while all stand still

    def gather(self) -> bool:
        """Have the memory of all domains here.  False where a node is lost meanwhile, or this one's agent ends."""
        self._complete.clear()
        self._lost = False

        def job() -> None:
            self.dead = []
            self._missing = {home for home in self._homes[1:] if home != FIRST} & set(self._owner.peers())
            # The first node buries: others may still have what a domain that is gone left in its memory.
            wanted = array("H", (domid for domid in self._foreign() if not self._released[domid])).tobytes()
            self._moves.let_go(self._not_coming())  # pages that travelled once are as they were then
            for node in self._missing:
                self._owner.send(node, Kind.IMAGE, wanted)
            self._done()

        self._owner.do(job)
        return self._owner.wait_for(self._complete) and not self._lost

    def let_go(self) -> None:
        """What is at home on other nodes is needed here no more."""
        self._owner.have_done(lambda: self._moves.let_go(self._not_coming()))

    # -- in the agent's thread

    def lost(self, node: int) -> None:
        """A node is gone."""
        if node in self._missing:
            self._lost = True
            self._missing.discard(node)
            self._done()

    def restored(self) -> None:
        """The whole host has been restored here, before anybody runs: say what of it travels, and keep the rest."""
        self._travellers.share_mapped()
        self._moves.let_go(self._foreign())

    def _foreign(self) -> list[int]:
        return [domid for domid in range(1, len(self._homes)) if self._homes[domid] != self._number]

    def _not_coming(self) -> list[int]:
        coming = self._moves.coming()
        return [domid for domid in self._foreign() if domid not in coming]

    def _done(self) -> None:
        if not self._missing:
            self._complete.set()

    def _on_image(self, peer: int, wanted: bytes) -> None:
        with suppress(PeerLostError):
            for domid in memoryview(wanted).cast("H"):
                if self._homes[domid] == self._number:
                    self._send(domid)
            self._owner.send_last(FIRST, Kind.IMAGE_SENT, self._find_dead())

    def _send(self, domid: int) -> None:
        for offset, length in self._moves.found(domid):
            for at in range(offset, offset + length, _PIECE):
                piece = self._read(at, min(_PIECE, offset + length - at))
                self._moves.imaged(domid, at, len(piece))
                self._owner.send_last(FIRST, Kind.MOVE_MEMORY, domid, at, piece)

    def _on_sent(self, peer: int, dead: list[int]) -> None:
        self.dead += dead
        self._missing.discard(peer)
        self._done()

