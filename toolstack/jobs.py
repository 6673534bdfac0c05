"""What other threads ask of a run: done between two slices, by whoever has the baton."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from hypervisor.host_state import HostTable

LOOK = 0.05
"""Seconds after which somebody who waits looks again."""
T = TypeVar("T")


class RunOverError(Exception):
    """The run ended before the job was done."""


class Jobs:
    """The jobs of one host, in the hypervisor's process."""

    def __init__(self, host: HostTable) -> None:
        self._host = host
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._runner: int | None = None

    def do(self, job: Callable[[], T], meanwhile: Callable[[], None] = lambda: None) -> T:
        """Have `job` done between two slices and return, or raise, what it does.  `meanwhile` is called now and then.

        Raises RunOverError where the run ends first, RuntimeError in the run's own thread, which would wait for itself.
        """
        if self._host.outcome[0]:  # and the number of the thread that ran may be another's by now
            raise RunOverError("the run is over")
        if threading.get_ident() == self._runner:
            raise RuntimeError("the run's own thread asks the run for something, and would wait for ever")
        done = threading.Event()
        results: list[T] = []
        errors: list[BaseException] = []

        def wrapped() -> None:
            try:
                results.append(job())
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

        self._queue.put(wrapped)
        while not done.is_set():
            if self._host.outcome[0] and not done.wait(LOOK):
                raise RunOverError("the run is over")
            self._host.request[0] = 1
            meanwhile()
            done.wait(LOOK)
        if errors:
            raise errors[0]
        return results[0]

    def add(self, job: Callable[[], None]) -> None:
        """Have `job`, which must not raise, done between two slices, without waiting for it."""
        self._queue.put(job)
        self._host.request[0] = 1

    def begin(self) -> None:
        """This thread is going to `serve`."""
        self._runner = threading.get_ident()

    def serve(self) -> None:
        """Do what has been asked for; with the baton."""
        while not self._queue.empty():
            self._queue.get()()
