"""Whether a run did what its configuration says it must."""

import re
from collections.abc import Mapping, Sequence

from toolstack.errors import describe
from toolstack.plan import Expectation
from toolstack.report import DomainReport, RunReport


def failures(expect: Mapping[str, Expectation], report: RunReport) -> list[str]:
    """What was not met, one line each, in order of domid."""
    lines: list[str] = []
    for name, domain in report.domains.items():
        lines += [f"{name}: {text}" for text in _of_domain(expect.get(name, Expectation()), domain)]
    return lines


def _of_domain(expected: Expectation, domain: DomainReport) -> list[str]:
    result = []
    if domain.exit != expected.exit:
        result.append(f"expected exit {expected.exit}, got {domain.exit}")
    if domain.input is not None:
        result.append(f"expected all of its input to be typed, but {domain.input}")
    missing = _first_missing(expected.console, domain.console)
    if missing is not None:
        result.append(missing)
    return result


def _first_missing(wanted: Sequence[str], lines: Sequence[str]) -> str | None:
    """The first expected line that does not appear after those before it.  What follows it is not looked for."""
    at = 0
    for number, text in enumerate(wanted):
        found = next((index for index in range(at, len(lines)) if matches(text, lines[index])), None)
        if found is None:
            place = f" after line {at}, {describe(lines[at - 1])}" if number else ""
            return f"expected the console line {text if _is_regular(text) else repr(text)}{place}, got none such"
        at = found + 1
    return None


def matches(wanted: str, line: str) -> bool:
    """Whether `line` contains `wanted`, or a match of it where it is written `/regular expression/`."""
    if _is_regular(wanted):
        return re.search(wanted[1:-1], line) is not None
    return wanted in line


def _is_regular(wanted: str) -> bool:
    return len(wanted) > 2 and wanted.startswith("/") and wanted.endswith("/")
