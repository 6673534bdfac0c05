"""Asking a run to stop: Ctrl-C, SIGTERM, a closed terminal, or output that nobody reads any more."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_PATIENCE = 1.0  # seconds; `timeout` and some shells send a signal twice at once, which is not a second Ctrl-C


class Stop:
    """A request that a runtime looks at between two slices.

    Nothing is raised into the middle of a hypercall: `requested` turns true and `callbacks` are called.  Only a second
    Ctrl-C, a second or more after the first, raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self.callbacks: list[Callable[[], None]] = []
        """For a runtime that sleeps where it cannot look: each is called once, maybe from a signal handler."""
        self._since = 0.0

    def request(self) -> None:
        """Ask for the end of the run.  More than once is as good as once."""
        if not self.requested:
            self.requested = True
            self._since = time.monotonic()
            for callback in self.callbacks:
                callback()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self._since >= _PATIENCE:
            raise KeyboardInterrupt
        self.request()

    @contextmanager
    def on_signals(self) -> Iterator["Stop"]:
        """While inside, SIGINT, SIGTERM and SIGHUP ask for the end.  For the main thread."""
        before = {number: signal.signal(number, self._on_signal) for number in _signals()}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    return [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
