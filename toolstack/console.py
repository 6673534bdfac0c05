"""A domain's console: bytes as the guest writes them, lines as people read them.

A line ends with LF, CR LF or any number of CRs before LF.  A CR elsewhere ends a line too, so that a progress bar is
seen step by step and nothing is lost; at the start of a line it means nothing (LF CR).
"""

from collections import deque
from collections.abc import Sequence

from toolstack.text import from_guest

LINE_LIMIT = 4096
"""Bytes; a longer line is shown as several."""
HISTORY_LIMIT = 16 << 20
"""Characters kept of one domain; beyond that the oldest lines go."""


class Console:
    """One domain's lines.  What it gives out is safe to print."""

    def __init__(self, history_limit: int = HISTORY_LIMIT) -> None:
        self._rest = bytearray()
        self._history: deque[str] = deque()
        self._limit = history_limit
        self._kept = 0
        self._dropped = 0

    def feed(self, data: bytes) -> list[str]:
        """Take bytes from the guest; returns the lines that they complete."""
        self._rest += data
        if b"\n" not in data and b"\r" not in self._rest and len(self._rest) <= LINE_LIMIT:
            return []
        *complete, rest = bytes(self._rest).split(b"\n")
        pieces: list[bytes] = []
        for line in complete:
            pieces += _pieces(line)
        before, rest = _finished(rest)
        self._rest[:] = rest
        return self._keep([*pieces, *before])

    def flush(self) -> list[str]:
        """The unfinished last line, if there is one; for the end of the run."""
        rest = bytes(self._rest)
        self._rest.clear()
        return self._keep(_pieces(rest) if rest.strip(b"\r") else [])

    def save(self) -> tuple[bytes, list[str], int]:
        """The unfinished line, the lines that are kept, and how many were dropped: to go on elsewhere."""
        return bytes(self._rest), list(self._history), self._dropped

    def restore(self, saved: tuple[bytes, Sequence[str], int]) -> None:
        """Go on with what was saved."""
        rest, history, self._dropped = saved
        self._rest, self._history = bytearray(rest), deque(history)
        self._kept = sum(map(_cost, history))

    @property
    def lines(self) -> list[str]:
        """All lines so far; the first says how many were dropped, where there were too many to keep."""
        head = [f"... {self._dropped} earlier lines were dropped ..."] if self._dropped else []
        return [*head, *self._history]

    def _keep(self, pieces: list[bytes]) -> list[str]:
        lines = [from_guest(piece) for piece in pieces]
        self._history.extend(lines)
        self._kept += sum(map(_cost, lines))
        while self._kept > self._limit:
            self._kept -= _cost(self._history.popleft())
            self._dropped += 1
        return lines


def _cost(line: str) -> int:
    return len(line) + 64  # an empty line takes memory too


def _pieces(line: bytes) -> list[bytes]:
    """The lines to show of one that has ended: split at lone CRs and at the limit."""
    parts = [part for part in line.split(b"\r") if part] or [b""]
    return [piece for part in parts for piece in _bounded(part)]


def _finished(rest: bytes) -> tuple[list[bytes], bytes]:
    """Of an unfinished line: the pieces that nothing can change any more, and the rest."""
    text = rest.rstrip(b"\r")
    *parts, last = [part for part in text.split(b"\r") if part] or [b""]
    pieces = [piece for part in parts for piece in _bounded(part)]
    *more, last = _bounded(last)
    return [*pieces, *more], last + (b"\r" if text != rest else b"")


def _bounded(part: bytes) -> list[bytes]:
    """`part` cut into pieces of LINE_LIMIT at most, between characters."""
    pieces = []
    while len(part) > LINE_LIMIT:
        cut = LINE_LIMIT
        while cut > LINE_LIMIT - 4 and part[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(part[:cut])
        part = part[cut:]
    return [*pieces, part]
