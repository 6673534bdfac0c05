"""What a host gives out, and what others keep for it."""

from typing import Any, Protocol

from abi.types import Domid


class HostIo(Protocol):
    """Where a host's output goes."""

    def log(self, text: str) -> None:
        """A line of the hypervisor's log."""

    def console(self, domid: Domid, data: bytes) -> None:
        """What a domain wrote to its console."""

    def ended(self, domid: Domid, reason: int, detail: str) -> None:
        """A domain shut down with SHUTDOWN_* `reason`; `detail` is a report where it crashed."""


class Keeper(Protocol):
    """Keeps something about domains in a process, beside the host's bytes."""

    def save(self, domid: Domid) -> Any:
        """What it keeps of a domain, for msgpack."""

    def restore(self, domid: Domid, saved: Any) -> None:
        """Go on with what was saved elsewhere."""
