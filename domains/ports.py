"""I/O ports: Xen's debug console, and what switches a PVH guest off; every other port is absent and reads as ones."""

from collections.abc import Callable

from abi.sched import ShutdownReason
from abi.x86 import XEN_HVM_DEBUGCONS_IOPORT
from domains.acpi import (
    POWER_PORTS,
    RESET_PORT,
    RESET_VALUE,
    S5_TYPE,
    SLEEP_CONTROL_PORT,
    SLP_EN,
    SLP_TYP_SHIFT,
)


class Ports:
    """IN and OUT of one domain.  `debug(data)` gets what is written to the debug console port (0xe9).

    `shut_down` is told what a guest asks of the registers that its ACPI tables name, where it has such tables.
    """

    def __init__(self, debug: Callable[[bytes], None],
                 shut_down: Callable[[ShutdownReason], None] | None = None) -> None:
        self._debug, self._shut_down = debug, shut_down

    def read(self, port: int, size: int) -> int:
        """`size` bytes (1, 2 or 4) from `port`: ones; the debug console's too (Bochs answers 0xe9, Xen does not)."""
        if size == 1 and self._shut_down is not None and port in POWER_PORTS:
            return 0
        return (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """`size` bytes to `port`."""
        if port == XEN_HVM_DEBUGCONS_IOPORT and size == 1:
            self._debug(bytes((value & 0xFF,)))
        elif size == 1 and self._shut_down is not None:
            if port == SLEEP_CONTROL_PORT and value & SLP_EN and value >> SLP_TYP_SHIFT & 7 == S5_TYPE:
                self._shut_down(ShutdownReason.poweroff)
            elif port == RESET_PORT and value & 0xFF == RESET_VALUE:
                self._shut_down(ShutdownReason.reboot)
