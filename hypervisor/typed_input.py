"""What is typed on a domain's console: steps that wait for output, wait for a while, and type.

A state machine without a clock or a ring: the hypervisor shows it what the domain printed, and asks it to go on at each
drain of the domain's console, in the domain's own process and at the domain's own time.  So what a guest reads, and
when, is the same in every run.
"""

import codecs
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from abi.types import NEVER

MOST_KEPT = 1 << 16
"""Characters of output in which a step looks for what it waits for; of more, the last."""


class InputStep(NamedTuple):
    """Wait until `expect` is printed, where that is given, then for `after` nanoseconds, then type `send`.

    `expect` is text, or a `/regular expression/` in which ^ and $ are ends of lines; it is looked for in what the
    console shows without its carriage returns.
    """

    expect: str | None = None
    send: bytes = b""
    after: int = 0


class TypedInput:
    """One domain's `steps`.  Times are nanoseconds of system time.

    What a step waits for must be printed after what the step before it waited for.
    """

    def __init__(self, steps: Sequence[InputStep]) -> None:
        self._steps = steps
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._output = ""
        self._searched = 0
        self._at, self._met, self._typed = 0, False, 0
        self._ready, self._sleeps = 0, False
        self.advance(0, lambda data: 0)

    @property
    def done(self) -> bool:
        """All steps are."""
        return self._at == len(self._steps)

    @property
    def due(self) -> int:
        """When the next step can go on by itself; NEVER where it waits for output, or for room."""
        return self._ready if self._sleeps else NEVER

    def see(self, data: bytes) -> None:
        """The domain has printed `data`."""
        if self.done or not data:
            return
        text = self._output + self._decoder.decode(data).replace("\r", "")  # which guests put on either side of \n
        dropped = max(0, len(text) - MOST_KEPT)
        self._output, self._searched = text[dropped:], max(0, self._searched - dropped)

    def advance(self, now: int, feed: Callable[[bytes], int]) -> bool:
        """Do what can be done at `now`.  `feed` types bytes and gives how many there was room for.  Was anything?"""
        fed = False
        while not self.done:
            step = self._steps[self._at]
            if not self._met:
                if step.expect is not None and not self._find(step.expect):
                    break
                self._met, self._ready = True, now + step.after
            self._sleeps = now < self._ready
            if self._sleeps:
                break
            while self._typed < len(step.send) and (count := feed(step.send[self._typed:])):
                self._typed += count
                fed = True
            if self._typed < len(step.send):
                break
            self._at, self._met, self._typed = self._at + 1, False, 0
        return fed

    def save(self) -> tuple[Any, ...]:
        """How far it is, for one with the same steps to go on elsewhere."""
        return (self._decoder.getstate(), self._output, self._searched, self._at, self._met, self._typed, self._ready,
                self._sleeps)

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Go on from what was saved.  Raises ValueError where that goes beyond the steps."""
        decoder, self._output, self._searched, self._at, self._met, self._typed, self._ready, self._sleeps = saved
        if self._at > len(self._steps):
            raise ValueError("expected the state of the same steps of input")
        self._decoder.setstate(decoder)

    def unfinished(self) -> str | None:
        """Which step was not done, and what it waits for; None where all were."""
        if self.done:
            return None
        step, name = self._steps[self._at], f"input[{self._at}]"
        if not self._met:
            assert step.expect is not None
            regular = is_regular(step.expect)
            return f"{name} waits for {step.expect if regular else repr(step.expect)}"
        if self._sleeps:
            return f"{name} waits until {self._ready / 1e9:.6f} s"
        return f"{name} has typed {self._typed} of {len(step.send)} bytes"

    def _find(self, wanted: str) -> bool:
        """Is it in the output?  Then that is used up to its end."""
        if is_regular(wanted):
            match = re.compile(wanted[1:-1], re.MULTILINE).search(self._output)
            end = match.end() if match else -1
        else:
            start = self._output.find(wanted, max(0, self._searched - len(wanted) + 1))
            end = start + len(wanted) if start >= 0 else -1
        if end < 0:
            self._searched = len(self._output)
            return False
        self._output, self._searched = self._output[end:], 0
        return True


def is_regular(wanted: str) -> bool:
    """Is it written `/regular expression/`?"""
    return len(wanted) > 2 and wanted.startswith("/") and wanted.endswith("/")
