"""Consoles and the hypervisor's log on a terminal, as they are written."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from typing import TextIO

from toolstack.stop import Stop
from toolstack.text import visible

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
RED, GREEN, YELLOW, DIM = 31, 32, 33, 2
_WIDEST_NAME = 24


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` should get colours: a terminal, unless NO_COLOR is set or the terminal is dumb."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, code: int, colour: bool) -> str:
    """`text` in the terminal's colour `code`, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


class Output:
    """A stream of lines, each shown at once.

    Where the stream fails (a pipe that nobody reads, a full disk), the run is asked to stop, `error` says why, and what
    follows is thrown away.
    """

    def __init__(self, stream: TextIO, stop: Stop) -> None:
        self._stream = stream
        self._stop = stop
        self.error: OSError | None = None

    def line(self, text: str) -> None:
        if self.error is not None:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError as error:
            self.error = error
            self._stop.request()
            self._discard()

    def _discard(self) -> None:
        """Let what is still buffered go nowhere, or the interpreter complains about it at its end."""
        try:
            target = self._stream.fileno()
        except (OSError, ValueError):
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)


class Terminal:
    """A `toolstack.runtime.Sink` that prints: `writer | text`, and `(XEN) text`."""

    def __init__(self, output: Output, names: Sequence[str], *, colour: bool = False, quiet: bool = False) -> None:
        self._output = output
        self._quiet = quiet
        self._xen = paint("(XEN)", DIM, colour)
        width = min(max(map(len, names), default=0), _WIDEST_NAME)
        self._labels = {
            name: paint(f"{name:<{width}} |", code, colour) for name, code in zip(names, cycle(_COLOURS), strict=False)
        }

    def console_line(self, name: str, text: str) -> None:
        """One line of a domain's console."""
        if not self._quiet:
            label = self._labels.get(name) or f"{visible(name)} |"
            self._output.line(f"{label} {visible(text)}" if text else label)

    def hypervisor_line(self, text: str) -> None:
        """The hypervisor's log, a line each."""
        if not self._quiet:
            for line in text.split("\n"):
                self._output.line(f"{self._xen} {visible(line)}")


class Progress:
    """Tells on `stream` how far a start is, where it takes its time: `started 120/200 domains`, a line now and then.

    `clock` gives seconds.
    """

    PATIENCE, PAUSE = 1.5, 1.0

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._next: float | None = None
        self._shown = False

    def __call__(self, ready: int, domains: int) -> None:
        """`ready` of the `domains` are loaded."""
        now = self._clock()
        if self._next is None:
            self._next = now + self.PATIENCE
        if now < self._next and not (self._shown and ready == domains):
            return
        self._next, self._shown = now + self.PAUSE, True
        with suppress(OSError):
            self._stream.write(f"started {ready}/{domains} domains\n")
            self._stream.flush()
