"""The back end of a PV console: the ring in a page that the guest shares (struct xencons_interface of io/console.h).

`out` carries what the guest writes, `in` what is typed.  Indices run freely and are the guest's to corrupt: the
distance of producer and consumer is looked at each time, and where it exceeds the ring the guest gets a report, once,
and a ring that is empty again.
"""

from collections.abc import Callable

from abi.console import XENCONS_INTERFACE
from state.arena import Arena

_SHAPE = XENCONS_INTERFACE.at(64)  # the same in either width
_IN, _IN_SIZE = _SHAPE.offset["in"], _SHAPE.width["in"]
_OUT, _OUT_SIZE = _SHAPE.offset["out"], _SHAPE.width["out"]
_IN_CONS, _IN_PROD = _SHAPE.offset["in_cons"], _SHAPE.offset["in_prod"]
_OUT_CONS, _OUT_PROD = _SHAPE.offset["out_cons"], _SHAPE.offset["out_prod"]
_INDEX = 0xFFFFFFFF


class ConsoleRing:
    """The ring in the page at machine address `page`.  `report` gets one line where the guest breaks the protocol.

    Nothing is kept here but whether that was said (`reported`): all state is in the page.
    """

    def __init__(self, arena: Arena, page: int, report: Callable[[str], None]) -> None:
        self._u8, self._u32, self.page = arena.u8, arena.u32, page
        self._in, self._out = page + _IN, page + _OUT
        self._in_cons, self._in_prod = page + _IN_CONS >> 2, page + _IN_PROD >> 2
        self._out_cons, self._out_prod = page + _OUT_CONS >> 2, page + _OUT_PROD >> 2
        self._report = report
        self.reported = False

    @property
    def has_output(self) -> bool:
        """Has the guest written anything that was not taken?"""
        return self._u32[self._out_cons] != self._u32[self._out_prod]

    def drain(self) -> bytes:
        """Take what the guest has written.  Where that is anything, the guest waits to be notified."""
        words = self._u32
        cons, prod = words[self._out_cons], words[self._out_prod]
        size = self._distance(prod, cons, _OUT_SIZE, "out")
        if not size:
            words[self._out_cons] = prod
            return b""
        data = _copy_out(self._u8, self._out, _OUT_SIZE, cons, size)
        words[self._out_cons] = prod
        return data

    def feed(self, data: bytes) -> int:
        """Give the guest as much of `data` as there is room for; how many bytes that was.  Notify it if any."""
        words = self._u32
        cons, prod = words[self._in_cons], words[self._in_prod]
        used = self._distance(prod, cons, _IN_SIZE, "in")
        if not used:
            prod = cons  # also where the guest's indices made no sense
        data = data[:_IN_SIZE - used]
        at = prod % _IN_SIZE
        first = data[:_IN_SIZE - at]
        self._u8[self._in + at:self._in + at + len(first)] = first
        rest = data[len(first):]
        self._u8[self._in:self._in + len(rest)] = rest
        words[self._in_prod] = prod + len(data) & _INDEX
        return len(data)

    def _distance(self, prod: int, cons: int, size: int, name: str) -> int:
        """Bytes in a ring; 0, with a report, where the indices are further apart than the ring is long."""
        used = prod - cons & _INDEX
        if used <= size:
            return used
        if not self.reported:
            self.reported = True
            self._report(f"console ring: {name}_prod {prod:#x} and {name}_cons {cons:#x} are {used} bytes apart, "
                         f"the ring has {size}; its content is dropped")
        return 0


def _copy_out(memory: "memoryview[int]", ring: int, ring_size: int, cons: int, size: int) -> bytes:
    """`size` bytes of a ring from index `cons`."""
    at = cons % ring_size
    end = min(ring_size, at + size)
    data = bytes(memory[ring + at:ring + end])
    return data + bytes(memory[ring:ring + size - len(data)])
