"""The page between a guest and the store: two rings of bytes (struct xenstore_domain_interface of io/xs_wire.h).

Indices run freely and are the guest's to corrupt: where they are further apart than the ring is long, the guest finds
an error in the page, as from the C daemon, and the store does not listen to it any more.
"""

from abi.xenstore import (
    XENSTORE_DOMAIN_INTERFACE,
    XENSTORE_RING_SIZE,
    XENSTORE_SERVER_FEATURE_ERROR,
    XenstoreError,
)
from state.arena import Arena

_SHAPE = XENSTORE_DOMAIN_INTERFACE.at(64)  # the same in either width
_MASK = 0xFFFFFFFF
_SIZE = XENSTORE_RING_SIZE


class RingError(Exception):
    """The guest's indices make no sense."""


class StoreRing:
    """The rings in the page at machine address `page`."""

    def __init__(self, arena: Arena, page: int) -> None:
        self._u8, self._u32, offset, self.page = arena.u8, arena.u32, _SHAPE.offset, page
        self._requests, self._answers = page + offset["req"], page + offset["rsp"]
        self._req_cons, self._req_prod = page + offset["req_cons"] >> 2, page + offset["req_prod"] >> 2
        self._rsp_cons, self._rsp_prod = page + offset["rsp_cons"] >> 2, page + offset["rsp_prod"] >> 2
        self._error, self._features = page + offset["error"] >> 2, page + offset["server_features"] >> 2

    def announce(self) -> None:
        """Say what the store can do: report errors in the page."""
        self._u32[self._features] = XENSTORE_SERVER_FEATURE_ERROR

    def take(self) -> bytes:
        """All that the guest has written.  Raises RingError."""
        words = self._u32
        cons, prod = words[self._req_cons], words[self._req_prod]
        size = self._used(prod, cons)
        at = cons % _SIZE
        data = bytes(self._u8[self._requests + at:self._requests + min(at + size, _SIZE)])
        data += bytes(self._u8[self._requests:self._requests + size - len(data)])
        words[self._req_cons] = prod
        return data

    def give(self, data: bytes) -> int:
        """Write as much of `data` as there is room for; how many bytes that was.  Raises RingError."""
        words = self._u32
        cons, prod = words[self._rsp_cons], words[self._rsp_prod]
        data = data[:_SIZE - self._used(prod, cons)]
        at = prod % _SIZE
        first = data[:_SIZE - at]
        self._u8[self._answers + at:self._answers + at + len(first)] = first
        self._u8[self._answers:self._answers + len(data) - len(first)] = data[len(first):]
        words[self._rsp_prod] = prod + len(data) & _MASK
        return len(data)

    def fail(self, error: XenstoreError) -> None:
        """Tell the guest why nobody listens to it any more."""
        self._u32[self._error] = error

    def _used(self, prod: int, cons: int) -> int:
        used = prod - cons & _MASK
        if used > _SIZE:
            self.fail(XenstoreError.RINGIDX)
            raise RingError
        return used
