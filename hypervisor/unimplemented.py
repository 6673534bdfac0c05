"""What guests asked for and this host does not have: answered with -ENOSYS, and said once a domain, by name."""

from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

from abi.errno import Errno, XenError
from abi.types import Domid
from hypervisor.call import Call

MOST = 64
"""Names remembered, and lines logged, of one domain: a guest that tries every number must not fill log or memory."""


class Unimplemented:
    """What was asked for, by domain, in this process.  `log` is the hypervisor's log."""

    def __init__(self, log: Callable[[Domid, str], None]) -> None:
        self._log = log
        self._seen: dict[Domid, dict[str, None]] = {}

    def note(self, domid: Domid, name: str, why: str = "not implemented") -> None:
        """Log `name` unless this domain asked for it before."""
        seen = self._seen.setdefault(domid, {})
        if name in seen or len(seen) > MOST:
            return
        seen[name] = None
        if len(seen) > MOST:
            self._log(domid, "UNIMPLEMENTED: too many different calls; the rest is not logged")
        else:
            self._log(domid, f"UNIMPLEMENTED: {name}: {why}; the guest got -ENOSYS")

    def seen(self, domid: Domid) -> list[str]:
        """The names that were logged, in the order in which they were asked for first."""
        return list(self._seen.get(domid, ()))[:MOST]

    def save(self, domid: Domid) -> list[str]:
        """All names remembered, also the last one, whose line was another."""
        return list(self._seen.get(domid, ()))

    def restore(self, domid: Domid, names: Iterable[str]) -> None:
        """Remember these."""
        self._seen[domid] = dict.fromkeys(names)

    def forget(self, domid: Domid) -> None:
        """The domain is gone; the next one with its number starts anew."""
        self._seen.pop(domid, None)


class _Host(Protocol):
    @property
    def unimplemented(self) -> Unimplemented: ...


def not_implemented(hv: _Host, call: Call, hypercall: str, operation: str | int) -> NoReturn:
    """A handler has no such sub-operation: log it once for the calling domain.  Raises XenError(ENOSYS).

    `operation` is the name without its prefix (`init_control`), or the number where it has no name.
    """
    hv.unimplemented.note(call.domid, f"{hypercall}/{operation}")
    raise XenError(Errno.ENOSYS)
