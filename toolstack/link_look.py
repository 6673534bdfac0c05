"""When a process that waits for a message should look for it, and when it should sleep at once.

Looking saves the wake-up, half of a round trip, where the answer comes soon and the processor is free.  Where it is not
free, who looks takes it from the very process that would answer, until the kernel takes it away for milliseconds.  Both
shows in how looks end: those that were in vain, or were interrupted, make this one wait longer before the next try.
"""

LOOK = 100e-6
"""Seconds of a look, unless something comes."""
_INTERRUPTED = 500e-6
"""Seconds between two glances that mean that somebody else had the processor."""
_FIRST, _LONGEST = 4, 4096
"""Waits without a look after one that did not help, and after many in a row."""


class Look:
    """Decides for one process.  `seconds`: how long a look is; 0 for never."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._skip, self._left = 0, 0

    def wanted(self) -> bool:
        """Whether to look now.  To be asked once a wait."""
        if self._left:
            self._left -= 1
            return False
        return self.seconds > 0

    def ended(self, found: bool, longest_gap: float) -> None:
        """A look is over: whether something came, and the longest time between two glances in it, in seconds."""
        if found and longest_gap < _INTERRUPTED:
            self._skip = 0
        else:
            self._skip = self._left = min(max(2 * self._skip, _FIRST), _LONGEST)
