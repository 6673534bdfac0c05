"""Quantities as people write them: sizes, frequencies, instants, versions.

Each function raises ValueError("expected ..., got ...") for what is none.
"""

import re
from datetime import UTC, datetime, timedelta

from toolstack.errors import describe

MIB = 1 << 20
SECOND = 1_000_000_000
DEFAULT_EPOCH = "2026-01-01T00:00:00Z"

_SIZE_UNITS = {"": MIB, "k": 1 << 10, "m": MIB, "g": 1 << 30, "t": 1 << 40}
_HERTZ_UNITS = {"": 1, "hz": 1, "khz": 10**3, "mhz": 10**6, "ghz": 10**9}
_DURATION_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": SECOND, "min": 60 * SECOND}
_LONGEST = 24 * 3600 * SECOND
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, where ISO 8601 ends too

SIZE_PATTERN = r"^[0-9]+ ?([KkMmGgTt]([Ii][Bb])?)?$"
FREQUENCY_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([KkMmGg]?[Hh][Zz])?$"
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(ns|us|ms|s|min)$"
VERSION_PATTERN = r"^4\.[0-9]{1,2}$"


def size(value: object) -> int:
    """A memory size in bytes, 1 MiB to 1 TiB in whole pages: a number of MiB, or text such as `64MiB` or `1 GiB`."""
    text = str(value) if _is_whole(value) else value
    if not isinstance(text, str) or not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError(f"expected a size such as 64 (MiB), 64MiB or 1GiB, got {describe(value)}")
    digits, unit = _split(text)
    if len(digits) > 20:
        raise ValueError(f"expected at most 1TiB, got {describe(value)}")
    result = int(digits) * _SIZE_UNITS[unit.removesuffix("ib")]
    if not MIB <= result <= 1 << 40:
        limit = "at least 1MiB" if result < MIB else "at most 1TiB"
        hint = "" if unit else " (a plain number is in MiB)"
        raise ValueError(f"expected {limit}, got {describe(value)}{hint}")
    if result % 4096:
        raise ValueError(f"expected whole pages of 4KiB, got {describe(value)}")
    return result


def show_size(size_in_bytes: int) -> str:
    """The shortest exact form, `64MiB`."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB")):
        if size_in_bytes % unit == 0:
            return f"{size_in_bytes // unit}{name}"
    return f"{size_in_bytes >> 10}KiB"


def frequency(value: object) -> int:
    """A frequency in Hz: a whole number, or text such as `1GHz` or `2.4 GHz`; from 1 MHz to 10 GHz."""
    text = str(value) if _is_whole(value) else value
    if not isinstance(text, str) or not re.fullmatch(FREQUENCY_PATTERN, text) or len(text) > 30:
        raise ValueError(f"expected a frequency such as 1GHz or 1000000000 (Hz), got {describe(value)}")
    digits, unit = _split(text)
    whole, _, part = digits.partition(".")
    result = int(int(whole + part) * _HERTZ_UNITS[unit] // 10 ** len(part))
    if not 10**6 <= result <= 10**10:
        raise ValueError(f"expected 1MHz to 10GHz, got {describe(value)}")
    return result


def epoch(value: object) -> int:
    """An instant in nanoseconds since 1970: seconds since then (a number), or ISO 8601 text; no zone means UTC."""
    expected = f"an instant such as {DEFAULT_EPOCH} or 1767225600"
    if _is_whole(value) or (isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value)):
        whole, _, part = str(value).partition(".")
        seconds, nanoseconds = int(whole), int(part.ljust(9, "0") or 0) if part else 0
    elif isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
            zoned = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
            since = zoned - datetime(1970, 1, 1, tzinfo=UTC)
        except (ValueError, OverflowError):
            raise ValueError(f"expected {expected}, got {describe(value)}") from None
        seconds, nanoseconds = since // timedelta(seconds=1), since.microseconds * 1000
    else:
        raise ValueError(f"expected {expected}, got {describe(value)}")
    if not 0 <= seconds <= _LAST_SECOND:
        raise ValueError(f"expected an instant from 1970 to 9999, got {describe(value)}")
    return seconds * SECOND + nanoseconds


def duration(value: object) -> int:
    """A time span in nanoseconds, up to a day: text such as `10ms` or `1.5 s`; the unit must be there."""
    if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value) or len(value) > 30:
        raise ValueError(f"expected a time such as 10ms, 250us or 1.5s, got {describe(value)}")
    digits, unit = _split(value)
    whole, _, part = digits.partition(".")
    result = int(int(whole + part) * _DURATION_UNITS[unit] // 10 ** len(part))
    if result > _LONGEST:
        raise ValueError(f"expected at most a day, got {describe(value)}")
    return result


def version(value: object) -> tuple[int, int]:
    """A Xen version, (4, minor)."""
    if not isinstance(value, str) or not re.fullmatch(VERSION_PATTERN, value):
        raise ValueError(f"expected a Xen version such as 4.17, got {describe(value)}")
    return 4, int(value.partition(".")[2])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _split(text: str) -> tuple[str, str]:
    digits = re.match(r"[0-9.]+", text)
    assert digits is not None
    return digits[0], text[digits.end() :].strip().lower()
