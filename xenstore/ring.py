"""The page between a guest and the store: two rings of bytes (struct xenstore_domain_interface of io/xs_wire.h).

Indices run freely and are the guest's to corrupt: where they are further apart than the ring is long, the connection is
marked as broken, as the C daemon does, and nothing more is taken from it.
"""

from abi.xenstore import XENSTORE_DOMAIN_INTERFACE, XENSTORE_RING_SIZE, XenstoreError
from state.arena import Arena

_SHAPE = XENSTORE_DOMAIN_INTERFACE.at(64)  # the same in either width
_MASK = 0xFFFFFFFF


class StoreRing:
    """The rings in the page at machine address `page`."""

    def __init__(self, arena: Arena, page: int) -> None:
        self._u8, self._u32, offset = arena.u8, arena.u32, _SHAPE.offset
        self._requests, self._answers = page + offset["req"], page + offset["rsp"]
        self._req_cons, self._req_prod = page + offset["req_cons"] >> 2, page + offset["req_prod"] >> 2
        self._rsp_cons, self._rsp_prod = page + offset["rsp_cons"] >> 2, page + offset["rsp_prod"] >> 2
        self._error = page + offset["error"] >> 2

    def take(self) -> bytes:
        """All that the guest has written."""
        words = self._u32
        cons, prod = words[self._req_cons], words[self._req_prod]
        size = prod - cons & _MASK
        if size > XENSTORE_RING_SIZE:
            words[self._error] = XenstoreError.RINGIDX
            return b""
        data = bytes(self._u8[self._requests + (cons + at) % XENSTORE_RING_SIZE] for at in range(size))
        words[self._req_cons] = prod
        return data

    def give(self, data: bytes) -> int:
        """Write as much of `data` as there is room for; how many bytes that was."""
        words = self._u32
        cons, prod = words[self._rsp_cons], words[self._rsp_prod]
        used = prod - cons & _MASK
        if used > XENSTORE_RING_SIZE:
            words[self._error] = XenstoreError.RINGIDX
            return 0
        count = min(len(data), XENSTORE_RING_SIZE - used)
        for at in range(count):
            self._u8[self._answers + (prod + at) % XENSTORE_RING_SIZE] = data[at]
        words[self._rsp_prod] = prod + count & _MASK
        return count

    def fail(self) -> None:
        """The guest does not keep to the protocol."""
        self._u32[self._error] = XenstoreError.PROTO
