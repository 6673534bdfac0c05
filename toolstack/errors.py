"""What goes wrong in ways that a user can put right: one line each, never a traceback."""

from collections.abc import Sequence
from dataclasses import dataclass

from toolstack.text import visible

Where = tuple[str | int, ...]
"""A place in a configuration: keys and list indices from the top."""


@dataclass(frozen=True)
class Problem:
    """One mistake.  `text` says what was expected and what is there."""

    where: Where
    text: str
    line: int | None = None
    detail: tuple[str, ...] = ()
    """Lines of somebody else's that explain it: a compiler's."""


def dotted(where: Where) -> str:
    """`("domains", "writer", "console", 2)` as a user writes it: `domains.writer.console[2]`."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class ConfigError(Exception):
    """A configuration that cannot be used.

    Its text is one line a mistake, `file:line: place: expected ..., got ...`; after it the mistake's detail, if any.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """The mistakes, in the order of the file."""
        return [
            visible(line) for problem in self.problems for line in (self._line(problem), *problem.detail)
        ]

    def _line(self, problem: Problem) -> str:
        parts = [self.source] if self.source else []
        if problem.line is not None:
            parts = [f"{self.source}:{problem.line}"]
        if problem.where:
            parts.append(dotted(problem.where))
        return ": ".join([*parts, problem.text])


class HostError(Exception):
    """The host could not do its work: a package missing, no shared memory, an actor lost.  Its text is one line."""


class CheckpointError(HostError):
    """A checkpoint that cannot be used.  Its text is one line, which names it."""


def describe(value: object) -> str:
    """A configuration's value in an error message: short, and on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """`" (did you mean 'memory'?)"`, or else `": expected one of ..."`, for the end of a message."""
    from difflib import get_close_matches  # only where something is wrong already

    close = get_close_matches(word, choices, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    if not choices:
        return ""
    return f": expected one of {', '.join(choices)}" if len(choices) > 1 else f": expected {choices[0]}"


class MigrationError(Exception):
    """A domain was not moved, and goes on where it was, or has ended.  One line."""
