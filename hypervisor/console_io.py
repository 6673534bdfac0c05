"""console_io: the emergency console (CONSOLEIO_* of xen/xen.h), as a Xen built with verbose debugging gives it to all.

What a guest writes becomes lines of the hypervisor's log, marked `(d1)` as Xen marks them, printable characters only.
Reading is for the domain that owns the real console.
"""

from collections.abc import Callable

from abi.errno import Errno, XenError
from abi.types import Domid
from abi.xen import ConsoleIo
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.host import Host
from hypervisor.unimplemented import not_implemented

CHUNK = 127
"""Bytes copied from the guest at a time: those before a fault are printed, as in Xen."""
SHARE = 32
"""Chunks handled before others get their turn."""
LINE = 199
"""Bytes of an unfinished line that are kept; a longer one is broken."""
_INT_MAX = (1 << 31) - 1
_STRIPPED = bytes(byte for byte in range(256) if not 0x20 <= byte < 0x7F and byte not in b"\t\n")


class ConsoleLines:
    """Unfinished lines of each domain in this process.  `log` is the hypervisor's log."""

    def __init__(self, log: Callable[[Domid, str], None]) -> None:
        self._log = log
        self._partial: dict[Domid, bytes] = {}

    def write(self, domid: Domid, data: bytes) -> None:
        """Log the lines that `data` completes and keep the rest."""
        *lines, rest = data.translate(None, _STRIPPED).split(b"\n")
        partial = self._partial.pop(domid, b"")
        for line in lines:
            self._print(domid, partial + line)
            partial = b""
        if len(partial) + len(rest) >= LINE:
            self._print(domid, partial + rest)
        elif partial or rest:
            self._partial[domid] = partial + rest

    def flush(self, domid: Domid) -> None:
        """The domain ends: log what it left unfinished."""
        partial = self._partial.pop(domid, b"")
        if partial:
            self._print(domid, partial)

    def save(self, domid: Domid) -> bytes:
        """The domain's unfinished line."""
        return self._partial.get(domid, b"")

    def restore(self, domid: Domid, partial: bytes) -> None:
        """Go on with a line that was saved."""
        if partial:
            self._partial[domid] = partial

    def _print(self, domid: Domid, line: bytes) -> None:
        self._log(domid, f"(d{domid}) {line.decode('ascii')}")


def console_io(hv: Host, call: Call, cmd: int, count: int, buffer: int) -> int:
    """CONSOLEIO_write gives 0.  Everything else is EPERM to a guest; to the privileged, reading finds no input."""
    cmd, count = cmd & 0xFFFFFFFF, count & 0xFFFFFFFF
    if cmd == ConsoleIo.write:
        return _write(hv, call, count, buffer)
    if not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    if cmd == ConsoleIo.read:
        if count > _INT_MAX:
            raise XenError(Errno.E2BIG)
        return 0
    return not_implemented(hv, call, "console_io", cmd)


def _write(hv: Host, call: Call, count: int, buffer: int) -> int:
    write, read = hv.console_lines.write, call.memory.read
    for _ in range(SHARE):
        if not count:
            return 0
        size = min(count, CHUNK)
        write(call.domid, read(buffer, size))
        buffer, count = buffer + size, count - size
    if count:
        raise Continuation(ConsoleIo.write, count, buffer)
    return 0
