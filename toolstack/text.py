"""Text that is safe to print: what a guest writes must never reach a terminal as commands."""

import re

_SGR = re.compile(r"\x1b\[[0-9;:]*m")
"""A colour sequence: it carries no text, so it is dropped rather than shown."""


def visible(text: str) -> str:
    """`text` with every character that is not plainly printable shown as an escape (`\\x1b`, `\\u202e`).

    Tabs stay.  Control characters, both sets, bidirectional overrides, line separators and surrogates do not.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character == "\t" or character.isprintable() else _escape(character) for character in text
    )


def from_guest(raw: bytes) -> str:
    """A guest's line as text: UTF-8, bytes that are not UTF-8 as `\\xNN`, colours dropped, controls escaped."""
    text = raw.decode("utf-8", errors="backslashreplace")
    if text.isprintable():
        return text
    return visible(_SGR.sub("", text))


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
