"""set_timer_op: the single-shot timer of the calling vCPU (xen/xen.h)."""

from typing import Protocol

from abi.types import NEVER
from hypervisor.call import Call
from hypervisor.sched import Scheduler
from hypervisor.tables import VcpuTable

HUGE = 1 << 50
"""Nanoseconds, 13 days: Linux's timeouts so far ahead, or before time began, come from its jiffies wrapping."""
MODERATE = 100_000_000
"""Nanoseconds: when such a timer fires instead."""
_SIGN = 1 << 63


class Host(Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def vcpus(self) -> VcpuTable: ...
    @property
    def sched(self) -> Scheduler: ...


def set_timer_op(hv: Host, call: Call, timeout: int, high: int = 0) -> int:
    """HYPERVISOR_set_timer_op(timeout), a system time in nanoseconds; 0 stops the timer, one in the past fires it.

    32-bit callers pass its low and high halves.
    """
    if call.width == 32:
        timeout = (timeout & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32
    now = hv.vcpus.local_time[call.vcpu]
    if timeout == 0:
        timeout = NEVER
    elif timeout >= _SIGN or timeout - now >= HUGE:
        timeout = now + MODERATE
    hv.sched.set_singleshot(call.vcpu, timeout)
    return 0
