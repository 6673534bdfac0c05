"""The node that a process is on, where a host lies on several: who else is here, and how to ask this node's agent.

A node's agent is a thread of the process that owns the node's memory.  It carries batons to other nodes, and fetches
what the processes of its node ask for.
"""

import ctypes
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import ClassVar, Protocol

from abi.types import PAGE_SHIFT, Domid, Mfn
from hypervisor.place import PlaceTable
from state.table import Table

_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 202)
_WAIT, _WAKE = 0, 1
_NAP = 20_000_000
"""Nanoseconds of the longest sleep of who waits for the agent."""


class Surroundings(Protocol):
    """What a baton has to know of nodes."""

    @property
    def first(self) -> bool:
        """Whether this node ends the rounds."""
    @property
    def many(self) -> bool:
        """Whether there are others."""
    def ring(self) -> None:
        """The agent has something to do."""
    def search(self) -> None:
        """A baton may be lost: have the agents look for it."""
    def waits(self, process: int) -> bool:
        """Whether what a process of this node asked for may still be on its way, even if the process is dead."""


class OnlyNode:
    """The surroundings of a host that is on one node."""

    first, many = True, False

    def ring(self) -> None:
        """There is no agent."""

    def search(self) -> None:
        """There is no link."""

    def waits(self, process: int) -> bool:
        """There is nobody to ask."""
        return False


class Wanted(IntEnum):
    """What a process asks of its agent."""

    COLD = 1
    """The part of a domain's state that does not travel with every baton; the argument is its domid."""
    PAGE = 2
    """The content of a frame of another node's domain, by frame number; from now on it travels."""
    BATON = 3
    """To see to a baton that has come to the process; the argument is a file of the process that has the message."""
    SEARCH = 4
    """To look for a baton that may be lost with a link between two processes."""


class AskTable(Table):
    """Row = a process, as in the baton's table."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"word": "I", "what": "B", "argument": "Q", "owner": "H"}
    word: "memoryview[int]"
    """1 while it waits for an answer, 2 while the agent sees to it."""
    what: "memoryview[int]"
    argument: "memoryview[int]"
    owner: "memoryview[int]"
    """Of a page: the domain that granted it."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class LostDomainError(RuntimeError):
    """The node of a domain is lost, and with it what was asked for."""


class Node:
    """Node `number`, as process `me` on it sees it.

    `bell` is the writing end of the agent's pipe; `ended()` says that the run is over.
    """

    many = True

    def __init__(self, number: int, me: int, table: AskTable, place: PlaceTable, bell: int,
                 ended: Callable[[], bool]) -> None:
        self.number, self.first = number, number == 0
        self._me, self._table, self._place, self._bell, self._ended = me, table, place, bell, ended
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._addresses = [
            ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(table.word[row:row + 1].cast("B"))))
            for row in range(table.rows)]
        self._nap = ctypes.byref(_Timespec(0, _NAP))

    def ring(self) -> None:
        """See `Surroundings`."""
        with suppress(BlockingIOError, BrokenPipeError):  # it has rings enough; it is gone, and the run with it
            os.write(self._bell, b"!")

    def reach(self, domid: int) -> None:
        """Have the cold part of a domain's state here (`hypervisor.node_ranges`)."""
        if not self._place.here[domid] and self._place.home[domid] != self.number:
            self._ask(Wanted.COLD, domid, domid)

    def fetch(self, domid: Domid, mfn: Mfn) -> None:
        """Have the content of a frame of `domid`'s here; it travels from now on."""
        if self._place.home[domid] != self.number:
            self._ask(Wanted.PAGE, mfn << PAGE_SHIFT, domid)

    def search(self) -> None:
        """See `Surroundings`."""
        self._ask(Wanted.SEARCH, 0, 0)

    def waits(self, process: int) -> bool:
        """See `Surroundings`."""
        return self._table.word[process] != 0

    def forward(self, message: bytes) -> None:
        """Let the agent see to a baton that has come to this process and does not fit what it has."""
        file = os.memfd_create("domus-baton")
        try:
            os.write(file, message)
            self._ask(Wanted.BATON, file, 0)
        finally:
            os.close(file)

    def _ask(self, what: Wanted, argument: int, owner: int) -> None:
        table, me = self._table, self._me
        table.what[me], table.argument[me], table.owner[me] = what, argument, owner
        table.word[me] = 1
        self.ring()
        while (word := table.word[me]) and not self._ended():
            self._syscall(_FUTEX, self._addresses[me], _WAIT, word, self._nap, None, 0)

    # -- for the agent

    def asked(self) -> list[tuple[int, Wanted, int, int]]:
        """What processes ask for: process, what, argument, owner.  Each is told once."""
        found = []
        words = self._table.word.tobytes()
        if any(words):
            for process in range(self._table.rows):
                if self._table.word[process] == 1:
                    self._table.word[process] = 2
                    found.append((process, Wanted(self._table.what[process]), self._table.argument[process],
                                  self._table.owner[process]))
        return found

    def answer(self, process: int) -> None:
        """What a process asked for is here."""
        self._table.word[process] = 0
        self._syscall(_FUTEX, self._addresses[process], _WAKE, 1, None, None, 0)
