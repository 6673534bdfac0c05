"""Ask a running host's hypervisor from outside, as the user-level programs of a Xen host's domain 0 do.

    import xenctrl

    handle = xenctrl.interface_open("two_guests")        # a host that `launch.py` runs, by its configuration's name
    print(xenctrl.version(handle))                       # 4.17.0
    for domain in xenctrl.domain_getinfo(handle):
        print(domain.domid, domain.nr_pages, domain.cpu_time)
    xenctrl.hypercall(handle, 56, buffer)                # any hypercall, those that you added included
    xenctrl.interface_close(handle)

docs/xenctrl.md tells more.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from abi.errno import Errno
from abi.version import (
    COMPILE_INFO,
    XEN_CAPABILITIES_INFO_LEN,
    XEN_CHANGESET_INFO_LEN,
    XEN_COMMANDLINE_LEN,
    XEN_EXTRAVERSION_LEN,
    VersionOp,
)
from abi.xen import Hypercall
from toolstack.errors import MigrationError
from toolstack.jobs import RunOverError
from toolstack.outside import Argument, DomainInfo, Reply, Running
from toolstack.report import MigrationReport

__all__ = [
    "DomainInfo",
    "Handle",
    "InterfaceError",
    "MigrationReport",
    "Version",
    "domain_getinfo",
    "domain_migrate",
    "hypercall",
    "interface_close",
    "interface_open",
    "version",
]

_LAST_ERRNO = 4095
_MOST = 1024
_PATIENCE = 0.05


class InterfaceError(Exception):
    """There is no such host, it does not run any more, or the handler of a hypercall failed."""


class Handle:
    """An interface to one host; made by `interface_open`, and a context manager that closes it."""

    def __init__(self, running: Running, close: Any = None) -> None:
        self._running: Running | None = running
        self._close = close

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *error: object) -> None:
        interface_close(self)

    @property
    def running(self) -> Running:
        """The host.  Raises InterfaceError where the handle is closed."""
        if self._running is None:
            raise InterfaceError("the interface is closed")
        return self._running

    def close(self) -> None:
        """See `interface_close`."""
        if self._running is not None and self._close is not None:
            self._close()
        self._running = None


@dataclass(frozen=True)
class Version:
    """What XENVER_* tell domain 0."""

    major: int
    minor: int
    extra: str
    compile_info: tuple[str, str, str, str]
    """Compiler, by whom, domain, date."""
    capabilities: str
    changeset: str
    pagesize: int
    commandline: str

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}{self.extra}"


def interface_open(host: Any, timeout: float = 0.0) -> Handle:
    """An interface to a running host.

    `host`: the name of a host that runs on Ray, on this machine or on the cluster that Ray is connected to; or a
    `toolstack.testing.Host` whose `run` another thread has called.  `timeout`: seconds to wait for it to be up.
    Raises InterfaceError.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _open(host)
        except InterfaceError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_PATIENCE)


def _open(host: Any) -> Handle:
    if isinstance(host, str):
        from toolstack.ray_outside import connect  # only here: Ray takes a second to import

        try:
            running, close = connect(host)
        except LookupError as error:
            raise InterfaceError(str(error)) from None
        return Handle(running, close)
    local: Running | None = getattr(host, "running", None)
    if local is None:
        raise InterfaceError("the host does not run")
    return Handle(local)


def interface_close(handle: Handle) -> None:
    """Close a handle; more than once is as good as once."""
    handle.close()


def hypercall(handle: Handle, op: int, *args: Argument) -> int:
    """Make hypercall `op` as domain 0, and return its result.

    An argument is an integer, or a buffer whose address is passed; what the hypervisor writes to a bytearray is in it
    afterwards, a bytes object is read-only to it.  Raises OSError with Xen's number where the call fails, as an ioctl
    of privcmd does; InterfaceError where the host has gone, or the handler has a fault.
    """
    for given in args:
        if not isinstance(given, int | bytes | bytearray):
            raise TypeError(f"expected integers, bytes or bytearrays, got {type(given).__name__}")
    if len(args) > 6:
        raise TypeError(f"a hypercall has at most 6 arguments, got {len(args)}")
    try:
        reply: Reply = handle.running.hypercall(op, args)
    except RunOverError:
        raise InterfaceError("the host does not run any more") from None
    if reply.crash:
        raise InterfaceError(reply.crash)
    for given, content in zip(args, reply.buffers, strict=True):
        if isinstance(given, bytearray) and content is not None:
            given[:] = content
    if -_LAST_ERRNO <= reply.result < 0:
        raise OSError(-reply.result, _error_name(-reply.result))
    return reply.result


def _error_name(number: int) -> str:
    return Errno(number).name if number in list(Errno) else f"error {number}"


def domain_getinfo(handle: Handle, first: int = 0, max: int = _MOST) -> list[DomainInfo]:
    """Up to `max` domains from domid `first` on, in order.  Domain 0 is one; domains that are gone are not there.

    Raises InterfaceError where the host has gone.
    """
    try:
        return handle.running.domain_getinfo(first, max)
    except RunOverError:
        raise InterfaceError("the host does not run any more") from None


def domain_migrate(handle: Handle, domid: int, node: int) -> MigrationReport:
    """Move a running domain to another node of the host; returns when it has moved, and tells what that took.

    Raises ValueError where that cannot be: no such domain or node, it is there already, it has ended; and
    InterfaceError where the host has gone.
    """
    try:
        return handle.running.migrate(domid, node)
    except MigrationError as error:
        raise ValueError(str(error)) from None
    except RunOverError:
        raise InterfaceError("the host does not run any more") from None


def version(handle: Handle) -> Version:
    """What hypercall 17, xen_version, tells.  Raises InterfaceError where the host has gone."""
    number = hypercall(handle, Hypercall.xen_version, VersionOp.version, 0)

    def told(op: VersionOp, size: int) -> bytes:
        buffer = bytearray(size)
        hypercall(handle, Hypercall.xen_version, op, buffer)
        return bytes(buffer)

    def text(op: VersionOp, size: int) -> str:
        return _text(told(op, size))

    shape = COMPILE_INFO.at(64)
    compiled: Sequence[bytes] = shape.unpack(told(VersionOp.compile_info, shape.size))
    compiler, by, domain, date = map(_text, compiled)
    return Version(number >> 16, number & 0xFFFF, text(VersionOp.extraversion, XEN_EXTRAVERSION_LEN),
                   (compiler, by, domain, date), text(VersionOp.capabilities, XEN_CAPABILITIES_INFO_LEN),
                   text(VersionOp.changeset, XEN_CHANGESET_INFO_LEN),
                   hypercall(handle, Hypercall.xen_version, VersionOp.pagesize, 0),
                   text(VersionOp.commandline, XEN_COMMANDLINE_LEN))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("ascii", "replace")
