"""A guest's bytes become lines that are complete, safe to print, and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolstack.console import LINE_LIMIT, Console
from toolstack.text import visible


def lines(*chunks: bytes) -> list[str]:
    console = Console()
    given_out = [line for chunk in chunks for line in console.feed(chunk)] + console.flush()
    assert console.lines == given_out
    return given_out


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\r\r\ntwo", ["one", "two"]),
        (b"one\n\rtwo\n\r", ["one", "two"]),
        (b"10%\r20%\r\n", ["10%", "20%"]),
        (b"\n\n", ["", ""]),
        (b"\r\n\r\n", ["", ""]),
        (b"\r", []),
        (b"", []),
        (b"prompt> ", ["prompt> "]),
        (b"a\tb\n", ["a\tb"]),
    ],
)
def test_lines_end_as_terminals_end_them(written: bytes, shown: list[str]) -> None:
    assert lines(written) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"\x9b31m", "\\x9b31m"),
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"\x00\x08\x7f", "\\x00\\x08\\x7f"),
        (b"caf\xc3\xa9 \xff\xfe", "café \\xff\\xfe"),
        ("\u202eevil \u2028 \ufeff".encode(), "\\u202eevil \\u2028 \\ufeff"),
        ("snow ☃ 🐧".encode(), "snow ☃ 🐧"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_nothing_that_a_guest_writes_commands_a_terminal(written: bytes, shown: str) -> None:
    assert lines(written + b"\n") == [shown]


def test_a_line_is_given_out_when_it_ends_and_not_before() -> None:
    console = Console()
    assert console.feed(b"one") == []
    assert console.feed(b" two\nthree") == ["one two"]
    assert console.feed(b"\r") == []
    assert console.feed(b"\n") == ["three"]
    assert console.flush() == []


def test_a_very_long_line_is_shown_in_pieces_between_characters() -> None:
    assert lines(b"x" * (LINE_LIMIT + 5)) == ["x" * LINE_LIMIT, "xxxxx"]
    assert lines(b"x" * LINE_LIMIT + b"\n") == ["x" * LINE_LIMIT]
    pieces = lines(b"y" + "é".encode() * LINE_LIMIT)
    assert "".join(pieces) == "y" + "é" * LINE_LIMIT
    assert max(len(piece.encode()) for piece in pieces) <= LINE_LIMIT


def test_a_flood_costs_bounded_memory_and_leaves_the_latest_lines() -> None:
    console = Console(history_limit=10_000)
    for number in range(1000):
        console.feed(b"line %d\n" % number)
    assert console.lines[-1] == "line 999"
    assert console.lines[0] == f"... {1000 - (len(console.lines) - 1)} earlier lines were dropped ..."
    assert sum(map(len, console.lines)) < 10_000


pieces_of_output = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from([b"\n", b"\r", b"\r\n", b"abc", "é☃".encode(), b"\x1b[1m", b"z" * 3000, "☃".encode() * 900]),
    ),
    max_size=12,
)


@given(pieces_of_output, st.data())
def test_how_the_bytes_are_cut_into_writes_changes_nothing(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert lines(*chunks) == lines(whole)


@given(pieces_of_output)
def test_every_line_is_printable_and_short_and_stays_so(pieces: list[bytes]) -> None:
    for line in lines(*pieces):
        assert line.replace("\t", "").isprintable()
        assert visible(line) == line


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), max_size=20))
def test_plain_text_arrives_as_it_was_written(written: list[str]) -> None:
    assert lines("".join(line + "\r\n" for line in written).encode()) == written
