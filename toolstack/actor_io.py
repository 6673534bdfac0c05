"""The output of a hypervisor in an actor: lines that wait to be fetched."""

import threading
from collections.abc import Mapping

from abi.types import Domid
from toolstack.console import Console
from toolstack.text import visible


class Output:
    """Lines that wait to be fetched, from the thread that runs guests to the one that Ray calls."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str]] = []
        self._ready = threading.Condition()
        self._closed = False

    def put(self, domid: int, text: str) -> None:
        """Add a line of `domid`'s console, or of the hypervisor's log where that is -1."""
        with self._ready:
            self._lines.append((domid, text))
            self._ready.notify()

    def close(self) -> None:
        """Nothing more comes."""
        with self._ready:
            self._closed = True
            self._ready.notify()

    def take(self) -> list[tuple[int, str]] | None:
        """Wait for lines, and take all there are; None after the last."""
        with self._ready:
            while not self._lines and not self._closed:
                self._ready.wait()
            lines, self._lines = self._lines, []
            return lines or None


class ActorIo:
    """The output of the hypervisor in an actor: everything goes to `output`."""

    LOG = -1

    def __init__(self, output: Output, labels: Mapping[int, str] | None = None) -> None:
        """With `labels`, by domid and `LOG`, everything is printed as well, behind its label."""
        self._output = output
        self._labels = labels
        self.consoles: dict[int, Console] = {}
        self.details: dict[int, str] = {}

    def _put(self, domid: int, text: str) -> None:
        self._output.put(domid, text)
        if self._labels is not None:
            for line in text.split("\n"):
                print(self._labels[domid], visible(line), flush=True)

    def log(self, text: str) -> None:
        self._put(self.LOG, text)

    def console(self, domid: Domid, data: bytes) -> None:
        for line in self.consoles.setdefault(domid, Console()).feed(data):
            self._put(domid, line)

    def ended(self, domid: Domid, reason: int, detail: str) -> None:
        self.details[domid] = detail
        self.flush(domid)

    def flush(self, domid: int) -> None:
        """Show an unfinished last line."""
        for line in self.consoles.setdefault(domid, Console()).flush():
            self._put(domid, line)
