"""What the hypervisor's process has done by the process that started the run: that one makes actors, and knows them.

A runtime takes the orders one after the other (`Orders.next`), carries each out, and answers it.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

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


class Orders:
    """The orders of one run; `ended()` says that it is over."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended = ended
        self._queue: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._answers: dict[int, tuple[threading.Event, list[str]]] = {}
        self._numbers = 0

    def give(self, work: Work, process: int, node: int = 0, domid: int = 0) -> None:
        """Have something done, and wait until it is.  Raises OrderError, RunOverError."""
        self._numbers += 1
        order = Order(self._numbers, work, process, node, domid)
        done, errors = self._answers[order.number] = threading.Event(), []
        self._queue.put(order)
        try:
            while not done.wait(LOOK):
                if self._ended():
                    raise RunOverError("the run is over")
        finally:
            del self._answers[order.number]
        if errors:
            raise OrderError(errors[0])

    def next(self) -> Order | None:
        """The next order, waiting for it; None when the run is over."""
        while not self._ended():
            try:
                return self._queue.get(timeout=LOOK)
            except queue.Empty:
                continue
        return None

    def answer(self, number: int, error: str) -> None:
        """An order has been carried out, or not: then `error` says why."""
        found = self._answers.get(number)
        if found is not None:
            if error:
                found[1].append(error)
            found[0].set()
