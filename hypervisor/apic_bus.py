"""What connects the local APICs of a domain: to whom an interrupt command goes, and what it does there (vlapic_ipi).

INIT makes a processor forget everything and holds it; a start-up message lets one go that is held.
"""

from collections.abc import Sequence
from typing import Protocol

from hypervisor.apic import BROADCAST, ICR_ASSERT, ICR_LEVEL, ICR_LOGICAL, DeliveryMode, Shorthand


class Member(Protocol):
    """A local APIC."""

    id: int
    logical: int
    """In x2APIC mode: cluster << 16, and a bit in it."""
    vcpu_id: int

    @property
    def enabled(self) -> bool:
        """It is on by software."""

    def priority(self) -> int:
        """That of the processor: what it does now."""

    def receive(self, vector: int) -> bool:
        """An interrupt comes.  Whether the processor has something to take now."""


class Processors(Protocol):
    """The vCPUs, by number."""

    def wake(self, vcpu_id: int) -> None:
        """It has an interrupt to take: it waits no longer."""

    def init(self, vcpu_id: int) -> None:
        """INIT: it is reset, with its APIC, and waits for a start-up message."""

    def start_up(self, vcpu_id: int, page: int) -> None:
        """A start-up message: if it waits for one, it begins in real mode at the start of `page`, of the first 256."""


class ApicBus:
    """`members` join in the order of their numbers."""

    def __init__(self, processors: Processors) -> None:
        self._processors = processors
        self.members: list[Member] = []
        self.last = 0
        """Who got the last interrupt that was for the one who is least busy: they get such in turns."""

    def send(self, source: Member, command: int) -> None:
        """What `source` had written to its ICR.  NMI, and what there is not in x2APIC mode, do nothing."""
        mode = command >> 8 & 7
        receivers = [member for member in self.members if _is_for(member, source, command)]
        if mode == DeliveryMode.INIT:
            if command & (ICR_LEVEL | ICR_ASSERT) != ICR_LEVEL:  # its end means nothing to any processor of today
                for member in receivers:
                    self._processors.init(member.vcpu_id)
        elif mode == DeliveryMode.STARTUP:
            for member in receivers:
                self._processors.start_up(member.vcpu_id, command & 0xFF)
        elif mode == DeliveryMode.LOWEST_PRIORITY:
            self._deliver(source, self._least_busy(receivers), command & 0xFF)
        elif mode == DeliveryMode.FIXED:
            self._deliver(source, receivers, command & 0xFF)

    def _deliver(self, source: Member, receivers: Sequence[Member], vector: int) -> None:
        for member in receivers:
            if member.receive(vector) and member is not source:
                self._processors.wake(member.vcpu_id)

    def _least_busy(self, receivers: Sequence[Member]) -> Sequence[Member]:
        """Of those that are on, the first after who got the last one; the lowest priority counts first."""
        able = [member for member in receivers if member.enabled]
        if not able:
            return ()
        count = len(self.members)
        chosen = min(able, key=lambda member: (member.priority(), (member.vcpu_id - self.last - 1) % count))
        self.last = chosen.vcpu_id
        return (chosen,)


def _is_for(member: Member, source: Member, command: int) -> bool:
    shorthand, destination = command >> 18 & 3, command >> 32
    if shorthand != Shorthand.NONE:
        return shorthand == Shorthand.ALL or (member is source) == (shorthand == Shorthand.SELF)
    if destination == BROADCAST:
        return True
    if not command & ICR_LOGICAL:
        return destination == member.id
    return destination >> 16 == member.logical >> 16 and bool(destination & member.logical & 0xFFFF)
