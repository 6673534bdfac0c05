"""What an event-channel ABI has to do, and the two things that every one of them needs: the upcall and the pollers."""

from collections.abc import Callable
from typing import Protocol

from abi.types import Domid, Port, VcpuRow
from abi.xen import VCPU_INFO
from hypervisor.tables import DomainTable, VcpuTable
from state.arena import Arena

SELECTOR = {bits: VCPU_INFO.at(bits).offset["evtchn_pending_sel"] for bits in (32, 64)}
"""Where the selector is in a vcpu_info, by the domain's width, which is also the selector's in bits."""

EventTrace = Callable[[Domid, Port], None]
"""Called with a port that was not pending and now is."""


class EventAbi(Protocol):
    """The layout of pending events in guest memory and its operations (Xen's `struct evtchn_port_ops`).

    Only usable ports come here: neither free nor reserved, and not the hypervisor's own end.
    """

    def max_ports(self, domid: Domid) -> int:
        """Ports that the layout can name for this domain."""

    def prepare(self, domid: Domid, port: Port) -> None:
        """The port, which was free, is about to be used."""

    def is_busy(self, domid: Domid, port: Port) -> bool:
        """Whether the guest still has a free port in a queue, so that nobody can have it."""

    def set_pending(self, domid: Domid, vcpu: VcpuRow, port: Port) -> None:
        """An event arrived at `port`, which notifies `vcpu` of the same domain."""

    def clear_pending(self, domid: Domid, port: Port) -> None:
        """Forget the event; the mask stays."""

    def unmask(self, domid: Domid, vcpu: VcpuRow, port: Port) -> None:
        """Allow notifications, and give the one that the mask held back."""

    def is_pending(self, domid: Domid, port: Port) -> bool: ...

    def is_masked(self, domid: Domid, port: Port) -> bool: ...

    def set_priority(self, domid: Domid, port: Port, priority: int) -> None:
        """Raises XenError(ENOSYS) where the layout has no priorities, EINVAL for one out of range."""


class Upcalls:
    """Tells vCPUs that something is pending.  `wake` makes a blocked or polling vCPU runnable."""

    def __init__(self, domains: DomainTable, vcpus: VcpuTable, arena: Arena, wake: Callable[[VcpuRow], None]) -> None:
        self._vcpu_base, self._vcpu_count = domains.vcpu_base, domains.vcpu_count
        self._width = domains.width
        self._domid, self._info, self._poll_port = vcpus.domid, vcpus.info, vcpus.poll_port
        self._u8 = arena.u8
        self._wake = wake

    def mark_events_pending(self, vcpu: VcpuRow) -> None:
        """Set `evtchn_upcall_pending`, the first byte of vcpu_info in either width; wake the vCPU if it was clear.

        Nothing happens where the vCPU has no vcpu_info yet; registering one marks everything pending.
        """
        info = self._info[vcpu]
        if info:
            byte = self._u8[info]
            if not byte & 1:
                self._u8[info] = byte | 1
                self._wake(vcpu)

    def select(self, vcpu: VcpuRow, width: int, word: int) -> None:
        """Point the vCPU to a word of pending bits; an upcall only if it was not pointed there already."""
        # The end of every notification, hence written out and not made of smaller steps.
        info = self._info[vcpu]
        if not info:
            return
        u8 = self._u8
        at = info + SELECTOR[width] + (word >> 3)
        bit = 1 << (word & 7)
        byte = u8[at]
        if byte & bit:
            return
        u8[at] = byte | bit
        byte = u8[info]
        if not byte & 1:
            u8[info] = byte | 1
            self._wake(vcpu)

    def vcpu_info_moved(self, vcpu: VcpuRow) -> None:
        """A vcpu_info came into use: everything may be pending, so that no event is lost whatever was in the old one.

        The guest gets a spurious upcall, and can cope.
        """
        info = self._info[vcpu]
        if info:
            width = self._width[self._domid[vcpu]]
            at = info + SELECTOR[width]
            self._u8[at:at + width // 8] = b"\xff" * (width // 8)
            self.mark_events_pending(vcpu)

    def check_pollers(self, domid: Domid, port: Port) -> None:
        """End the SCHEDOP_poll of every vCPU that waits for `port`, or for several ports."""
        poll_port = self._poll_port
        first = self._vcpu_base[domid]
        count = self._vcpu_count[domid]
        if count == 1 and not poll_port[first]:
            return
        for row in range(first, first + count):
            polled = poll_port[row]
            if polled and (polled == port or polled < 0):
                self._wake(VcpuRow(row))
                poll_port[row] = 0  # not before: who dies here must not leave one that sleeps and polls nothing
