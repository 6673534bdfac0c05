"""The timers of a vCPU: single-shot, periodic, the end of a poll, its local APIC's; and its domain's: watchdogs, and
what is typed.

As in Xen, the periodic timer ticks only while the vCPU is scheduled: a blocked vCPU is not woken by it, and finds one
tick, not many, when it runs again.  A guest that wants to be woken sets the single-shot timer before it blocks.
"""

from abi.types import NEVER, Domid
from hypervisor.tables import VcpuTable
from hypervisor.watchdog import WatchdogTable

SINGLESHOT, PERIODIC, POLL, WATCHDOG, TYPING, APIC = 1, 2, 4, 8, 16, 32
"""Bits of what `take_expired` gives."""


class VcpuTimers:
    """Deadlines in nanoseconds of system time; NEVER where a timer is stopped."""

    def __init__(self, vcpus: VcpuTable, watchdogs: WatchdogTable) -> None:
        self._singleshot, self._poll = vcpus.singleshot, vcpus.poll_deadline
        self._next, self._period = vcpus.periodic_next, vcpus.periodic_period
        self._apic, self._domid = vcpus.apic_timer, vcpus.domid
        self._watchdogs, self._watchdog = watchdogs, watchdogs.earliest

    def reset(self, row: int) -> None:
        """Stop them all."""
        self._singleshot[row] = self._poll[row] = self._next[row] = self._apic[row] = NEVER
        self._period[row] = 0

    def set_periodic(self, row: int, period: int, now: int) -> None:
        """Tick every `period` nanoseconds from `now` on; 0 stops."""
        self._period[row] = period
        self._next[row] = now + period if period else NEVER

    def next_running(self, row: int) -> int:
        """When the first timer fires that a running vCPU sees."""
        first = self._singleshot[row]
        other = self._next[row]
        if other < first:
            first = other
        other = self._apic[row]
        if other < first:
            first = other
        watchdog = self._watchdog[self._domid[row]]
        return watchdog if watchdog and watchdog < first else first

    def next_waiting(self, row: int) -> int:
        """When the first timer fires that may wake a blocked vCPU."""
        first = self._singleshot[row]
        other = self._poll[row]
        if other < first:
            first = other
        other = self._apic[row]
        if other < first:
            first = other
        watchdog = self._watchdog[self._domid[row]]
        return watchdog if watchdog and watchdog < first else first

    def take_expired(self, row: int, now: int, *, waiting: bool) -> int:
        """Disarm what is due by `now`, the periodic timer until its next period; `waiting`: the vCPU is blocked."""
        fired = 0
        if self._singleshot[row] <= now:
            self._singleshot[row] = NEVER
            fired = SINGLESHOT
        if self._poll[row] <= now:
            self._poll[row] = NEVER
            fired |= POLL
        if not waiting and self._next[row] <= now:
            self._next[row] = now + self._period[row]
            fired |= PERIODIC
        if self._apic[row] <= now:
            self._apic[row] = NEVER
            fired |= APIC
        domid = Domid(self._domid[row])
        if 0 < self._watchdog[domid] <= now:
            bites, types = self._watchdogs.expire(domid, now)
            fired |= WATCHDOG * bites | TYPING * types
        return fired
