"""The baton between processes: a word each in shared memory, and a futex to sleep on.

Whoever's word is 1 has the baton.  On the two-core machine where this was measured, a wake-up through the kernel costs
20 us one way, a word that the receiver is looking at 1 us.  So a process that waits looks for a while before it sleeps,
provided that there are processors enough for those who run and those who look.
"""

import ctypes
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from state.table import Table

_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 202)
_WAIT, _WAKE = 0, 1
_NAPS = (2_000_000, 50_000_000, 500_000_000)
"""Nanoseconds of the first sleeps, the last for all others.  Short at first: the waker may have looked at `asleep`
just before it was set."""
_DOUBTS, _DOUBT = 50, 0.01
"""Looks, and seconds between them, after which a baton that nobody has is lost: handing it over takes a microsecond."""
LOOKS = 1500
"""How often a waiting process looks at its word before it sleeps: some 60 us."""


class BatonTable(Table):
    """Row = a process of the host; row 0 is the hypervisor's."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"word": "I", "asleep": "I", "pid": "I"}
    word: "memoryview[int]"
    """1 where this process has the baton."""
    asleep: "memoryview[int]"
    pid: "memoryview[int]"


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Baton:
    """The baton as process `me` sees it.  `ended()` says that nobody will hand it over any more."""

    def __init__(self, table: BatonTable, me: int, ended: Callable[[], bool], looks: int | None = None) -> None:
        self._table, self._me, self._ended = table, me, ended
        self._word, self._asleep = table.word, table.asleep
        self._looks = (LOOKS if table.rows - 1 <= (os.cpu_count() or 1) else 0) if looks is None else looks
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._addresses = [
            ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(table.word[row:row + 1].cast("B"))))
            for row in range(table.rows)]
        self._timeouts = [ctypes.byref(_Timespec(0, nap)) for nap in _NAPS]
        table.pid[me] = os.getpid()

    @property
    def mine(self) -> bool:
        """This process has it."""
        return bool(self._word[self._me])

    def give(self, process: int) -> None:
        """Hand the baton to another process.  To be called with it."""
        self._word[self._me] = 0
        self._word[process] = 1
        if self._asleep[process]:
            self.wake(process)

    def wait(self) -> bool:
        """Wait for the baton.  False where the run ended instead."""
        word, me = self._word, self._me
        for _ in range(self._looks):
            if word[me]:
                return True
        naps = 0
        while not word[me]:
            if self._ended():
                return False
            self._asleep[me] = 1
            self._syscall(_FUTEX, self._addresses[me], _WAIT, 0, self._timeouts[min(naps, 2)], None, 0)
            self._asleep[me] = 0
            naps += 1
        return True

    def wake(self, process: int) -> None:
        """Let a sleeping process look again."""
        self._syscall(_FUTEX, self._addresses[process], _WAKE, 1, None, None, 0)

    def wake_all(self) -> None:
        """The run has ended: let everybody see that."""
        for process in range(self._table.rows):
            self.wake(process)

    def take_from_the_dead(self, bury: Callable[[int], None]) -> None:
        """Take the baton where the process that has it is gone.  For one process alone: the hypervisor's.

        `bury(process)` is called before that; what it leaves for this process is seen with the baton.
        """
        holders = self._holders()
        if any(_alive(self._table.pid[row]) for row in holders) or (not holders and not self._lost()):
            return
        for row in holders:
            bury(row)
            self._word[row] = 0
        self._word[self._me] = 1
        self.wake(self._me)

    def _holders(self) -> list[int]:
        return [row for row in range(self._table.rows) if self._word[row]]

    def _lost(self) -> bool:
        """Nobody has the baton: is somebody just handing it over, or did he die doing so?"""
        for _ in range(_DOUBTS):
            time.sleep(_DOUBT)
            if self._holders():
                return False
        return True


def _alive(pid: int) -> bool:
    if not pid:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
