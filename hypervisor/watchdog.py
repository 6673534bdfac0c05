"""SCHEDOP_watchdog: timers that shut a domain down unless it sets them again (xen/sched.h).

Beside them is another of which a domain has one: for what is typed on its console.
"""

from collections.abc import Mapping
from typing import ClassVar

from abi.errno import Errno, XenError
from abi.types import NEVER, Domid
from clock.pvclock import NANOSECONDS
from state.table import Table

NR_DOMAIN_WATCHDOG_TIMERS = 2
_FREE = 0


class WatchdogTable(Table):
    """Row = domid.  Deadlines in nanoseconds; a timer that is not in use is 0, one that has fired is NEVER."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"first": "Q", "second": "Q", "typing": "Q", "earliest": "Q"}
    first: "memoryview[int]"
    second: "memoryview[int]"
    typing: "memoryview[int]"
    """When something is to be typed; no guest knows of it."""
    earliest: "memoryview[int]"
    """The next deadline of all, or 0 where there is none."""

    def set(self, domid: Domid, number: int, timeout: int, now: int) -> int:
        """Start (number 0), start again, or with a `timeout` of 0 seconds destroy a watchdog; `now` is system time.

        Gives the number of a new one, else 0.  EINVAL for a number that is none or not in use, ENOSPC beyond two.
        """
        if number > NR_DOMAIN_WATCHDOG_TIMERS:
            raise XenError(Errno.EINVAL)
        timers = (self.first, self.second)
        deadline = max(1, now + timeout * NANOSECONDS)
        result = 0
        if number == 0:
            free = [index for index, timer in enumerate(timers, 1) if timer[domid] == _FREE]
            if not free:
                raise XenError(Errno.ENOSPC)
            number = result = free[0]
        elif timers[number - 1][domid] == _FREE:
            raise XenError(Errno.EINVAL)
        elif timeout == 0:
            deadline = _FREE
        timers[number - 1][domid] = deadline
        self._find_earliest(domid)
        return result

    def set_typing(self, domid: Domid, deadline: int) -> None:
        """Something is to be typed at `deadline`; NEVER where nothing is."""
        self.typing[domid] = _FREE if deadline == NEVER else max(1, deadline)
        self._find_earliest(domid)

    def expire(self, domid: Domid, now: int) -> tuple[bool, bool]:
        """Disarm what has fired by `now`; watchdogs stay in use.  Whether a watchdog has, and typing."""
        fired = False
        for timer in (self.first, self.second):
            if timer[domid] != _FREE and timer[domid] <= now:
                timer[domid] = NEVER
                fired = True
        types = 0 < self.typing[domid] <= now
        if types:
            self.typing[domid] = _FREE
        self._find_earliest(domid)
        return fired, types

    def _find_earliest(self, domid: Domid) -> None:
        timers = (self.first, self.second, self.typing)
        armed = [timer[domid] for timer in timers if timer[domid] not in (_FREE, NEVER)]
        self.earliest[domid] = min(armed, default=_FREE)
