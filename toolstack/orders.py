"""What the hypervisor's process has done by the process that started the run: that one makes actors, and knows them.

A runtime takes the orders one after the other (`Orders.next`), carries each out, and answers it.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from toolstack.jobs import LOOK, RunOverError


class Work(StrEnum):
    """What is ordered."""

    MAKE = "make"
    """A domain actor for domain `domid`, as process `process` on node `node`; it takes part in the run at once, without
    any domain."""
    RELEASE = "release"
    """Have process `process` give domain `domid` away (`DomainActor.release`); keep what it gives."""
    ADOPT = "adopt"
    """Have process `process` take domain `domid` (`DomainActor.adopt`), with what the last RELEASE of it gave."""
    SAVE = "save"
    """Have all processes say what they keep of their domains (`DomainActor.save`): that is the answer."""
    END = "end"
    """Have process `process`, which has no domains, end."""


@dataclass(frozen=True)
class Order:
    number: int
    work: Work
    process: int
    node: int = 0
    domid: int = 0


class OrderError(Exception):
    """An order could not be carried out.  One line."""


@dataclass
class _Answer:
    there: threading.Event = field(default_factory=threading.Event)
    error: str = ""
    result: Any = None


class Orders:
    """The orders of one run; `ended()` says that it is over."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended = ended
        self._queue: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._answers: dict[int, _Answer] = {}
        self._numbers = 0

    def give(self, work: Work, process: int = 0, node: int = 0, domid: int = 0) -> Any:
        """Have something done, wait until it is, and return what it gives.  Raises OrderError, RunOverError."""
        self._numbers += 1
        order = Order(self._numbers, work, process, node, domid)
        answer = self._answers[order.number] = _Answer()
        self._queue.put(order)
        try:
            while not answer.there.wait(LOOK):
                if self._ended():
                    raise RunOverError("the run is over")
        finally:
            del self._answers[order.number]
        if answer.error:
            raise OrderError(answer.error)
        return answer.result

    def next(self) -> Order | None:
        """The next order, waiting for it; None when the run is over."""
        while not self._ended():
            try:
                return self._queue.get(timeout=LOOK)
            except queue.Empty:
                continue
        return None

    def answer(self, number: int, error: str, result: Any = None) -> None:
        """An order has been carried out, or not: then `error` says why."""
        found = self._answers.get(number)
        if found is not None:
            found.error, found.result = error, result
            found.there.set()
