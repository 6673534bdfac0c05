"""copy_from_guest and copy_to_guest: a vCPU's memory by guest-linear address."""

from abi.errno import Errno, XenError
from domains.paging import PageFault, Walker
from state.arena import Arena


class LinearMemory:
    """Implements `hypervisor.call.GuestMemory` over the calling vCPU's page tables, with supervisor rights.

    `last_fault` is the PageFault behind the last EFAULT, for reports.
    """

    def __init__(self, walker: Walker, arena: Arena) -> None:
        self._machine, self._quick = walker.machine, walker.quick
        self._bytes = arena.u8

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from `address`.  Raises XenError(EFAULT)."""
        if (address & 0xFFF) + size <= 4096:
            machine = self._quick(address, False) or self._checked(address, False)
            return self._bytes[machine:machine + size].tobytes()
        parts = []
        for at, length in _pages(address, size):
            machine = self._checked(at, False)
            parts.append(bytes(self._bytes[machine:machine + length]))
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Store `data` at `address`; what lies before a fault is stored.  Raises XenError(EFAULT)."""
        size = len(data)
        if (address & 0xFFF) + size <= 4096:
            machine = self._quick(address, True) or self._checked(address, True)
            self._bytes[machine:machine + size] = data
            return
        done = 0
        for at, length in _pages(address, size):
            machine = self._checked(at, True)
            self._bytes[machine:machine + length] = data[done:done + length]
            done += length

    def _checked(self, address: int, write: bool) -> int:
        try:
            machine = self._machine(address, write=write)
        except PageFault:
            raise XenError(Errno.EFAULT) from None
        if machine is None:
            raise XenError(Errno.EFAULT)
        return machine


def _pages(address: int, size: int) -> "list[tuple[int, int]]":
    """The pieces of [address, address + size) that lie in one page each."""
    pieces, end = [], address + size
    while address < end:
        length = min(end - address, 4096 - (address & 0xFFF))
        pieces.append((address, length))
        address += length
    return pieces
