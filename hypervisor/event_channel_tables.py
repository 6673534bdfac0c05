"""The flat tables of event channels: every port of every domain, who binds which VIRQ, the size of each port space."""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from abi.types import Domid, Port
from state.table import Table

PORTS = 4096
"""Ports that a domain has rows for: what the 2-level ABI of 64-bit guests can name."""
NO_PORT = Port(0)
"""Port 0 is never handed out: it says that there is none, or that any will do."""
PORTS_PER_BUCKET = 64
"""Xen makes ports valid a page of channels at a time.  Guests see it: the status of a port that was never made valid is
EINVAL, that of a free one is `closed`."""


class ChannelState(IntEnum):
    """What a port is, with Xen's ECS_* numbers.  Ports above RESERVED are usable."""

    FREE = 0
    RESERVED = 1
    """Port 0, which is never handed out."""
    UNBOUND = 2
    INTERDOMAIN = 3
    PIRQ = 4
    VIRQ = 5
    IPI = 6


class EventAbiNumber(IntEnum):
    """How pending events are laid out in the guest's memory; an index into the list of `EventAbi`s."""

    TWO_LEVEL = 0
    FIFO = 1


class EventChannelTable(Table):
    """A channel's row = `channel_row(domid, port)`."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "state": "B", "consumer": "B", "virq": "B", "notify_vcpu": "H", "remote_dom": "H", "remote_port": "I",
    }
    state: "memoryview[int]"
    consumer: "memoryview[int]"
    """Not 0 where this end belongs to the hypervisor: the number of the function that receives what the peer sends."""
    virq: "memoryview[int]"
    """Of VIRQ ports."""
    notify_vcpu: "memoryview[int]"
    """The vcpu_id that events go to."""
    remote_dom: "memoryview[Domid]"
    """Of UNBOUND ports, who may bind; of INTERDOMAIN ports, where the peer is."""
    remote_port: "memoryview[Port]"
    """Of INTERDOMAIN ports."""


class VirqTable(Table):
    """Row = vCPU row * NR_VIRQS + virq.  Global VIRQs use their domain's vCPU 0, wherever they notify."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"port": "I"}
    port: "memoryview[Port]"
    """0 where the VIRQ is not bound."""


class PortSpaceTable(Table):
    """Row = domid."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"valid": "I", "abi": "B"}
    valid: "memoryview[int]"
    """Ports below this one exist, free or not.  0 for a domain without event channels."""
    abi: "memoryview[int]"
    """An EventAbiNumber."""


def channel_row(domid: Domid, port: Port) -> int:
    """Where `port` of `domid` is in the EventChannelTable; `port` must be below PORTS."""
    return domid * PORTS + port
