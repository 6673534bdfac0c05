"""I/O ports: Xen's debug console; every other port is absent and reads as ones."""

from collections.abc import Callable

from abi.x86 import XEN_HVM_DEBUGCONS_IOPORT


class Ports:
    """IN and OUT of one domain.  `debug(data)` gets what is written to the debug console port (0xe9)."""

    def __init__(self, debug: Callable[[bytes], None]) -> None:
        self._debug = debug

    def read(self, port: int, size: int) -> int:
        """`size` bytes (1, 2 or 4) from `port`: ones; the debug console's too (Bochs answers 0xe9, Xen does not)."""
        return (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """`size` bytes to `port`."""
        if port == XEN_HVM_DEBUGCONS_IOPORT and size == 1:
            self._debug(bytes((value & 0xFF,)))
