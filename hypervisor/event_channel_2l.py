"""The 2-level ABI: a bit a port in shared_info, and in each vcpu_info a selector of the words worth looking at.

Bits are addressed through bytes.  On a little-endian machine bit `n` of an array of longs is bit `n % 8` of byte
`n // 8` whatever the longs' width is, and a guest may register a vcpu_info that is not aligned.
"""

from typing import NoReturn

from abi.errno import Errno, XenError
from abi.event_channel import EVTCHN_2L_NR_CHANNELS
from abi.types import Domid, Port, VcpuRow
from abi.xen import SHARED_INFO
from hypervisor.event_channel_abi import EventTrace, Upcalls
from hypervisor.tables import DomainTable
from state.arena import Arena

PENDING = SHARED_INFO.at(64).offset["evtchn_pending"]
assert SHARED_INFO.at(32).offset["evtchn_pending"] == PENDING
MASK = {bits: SHARED_INFO.at(bits).offset["evtchn_mask"] for bits in (32, 64)}


class TwoLevel:
    """The `EventAbi` that every domain starts with (semantics: xen/event_channel.h and shared_info in xen/xen.h).

    A domain without a shared_info page (domain 0's seat) receives nothing.  One that has it has a vCPU as well.
    """

    def __init__(self, domains: DomainTable, arena: Arena, upcalls: Upcalls, trace: EventTrace | None) -> None:
        self._shared_info, self._width = domains.shared_info, domains.width
        self._u8 = arena.u8
        self._select, self._check_pollers = upcalls.select, upcalls.check_pollers
        self._trace = trace

    def max_ports(self, domid: Domid) -> int:
        return EVTCHN_2L_NR_CHANNELS.get(self._width[domid], 0)

    def prepare(self, domid: Domid, port: Port) -> None:
        pass

    def is_busy(self, domid: Domid, port: Port) -> bool:
        return False

    def set_pending(self, domid: Domid, vcpu: VcpuRow, port: Port) -> None:
        shared_info = self._shared_info[domid]
        if not shared_info:
            return
        u8 = self._u8
        at = shared_info + PENDING + (port >> 3)
        bit = 1 << (port & 7)
        byte = u8[at]
        if byte & bit:
            return
        u8[at] = byte | bit
        width = self._width[domid]
        if not u8[shared_info + MASK[width] + (port >> 3)] & bit:
            self._select(vcpu, width, port // width)
        if self._trace is not None:
            self._trace(domid, port)
        self._check_pollers(domid, port)

    def clear_pending(self, domid: Domid, port: Port) -> None:
        shared_info = self._shared_info[domid]
        if shared_info:
            self._u8[shared_info + PENDING + (port >> 3)] &= ~(1 << (port & 7))

    def unmask(self, domid: Domid, vcpu: VcpuRow, port: Port) -> None:
        shared_info = self._shared_info[domid]
        if not shared_info:
            return
        width = self._width[domid]
        at = shared_info + MASK[width] + (port >> 3)
        bit = 1 << (port & 7)
        if not self._u8[at] & bit:
            return
        self._u8[at] &= ~bit
        if self.is_pending(domid, port):
            self._select(vcpu, width, port // width)

    def is_pending(self, domid: Domid, port: Port) -> bool:
        # A domain that became 32-bit may still hold ports that its bitmaps no longer have.
        shared_info = self._shared_info[domid]
        return bool(shared_info and port < self.max_ports(domid)
                    and self._u8[shared_info + PENDING + (port >> 3)] >> (port & 7) & 1)

    def is_masked(self, domid: Domid, port: Port) -> bool:
        shared_info = self._shared_info[domid]
        return bool(not shared_info or port >= self.max_ports(domid)
                    or self._u8[shared_info + MASK[self._width[domid]] + (port >> 3)] >> (port & 7) & 1)

    def set_priority(self, domid: Domid, port: Port, priority: int) -> NoReturn:
        raise XenError(Errno.ENOSYS)
