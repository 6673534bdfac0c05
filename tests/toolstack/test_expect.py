"""What a run must do, and what is said where it did not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolstack.expect import failures, matches
from toolstack.plan import Expectation
from toolstack.report import DomainReport, RunReport


def unmet(expected: Expectation, *, exit: str = "poweroff", console: list[str] | None = None) -> list[str]:
    domain = DomainReport("writer", 1, exit, console=console or [])
    return failures({"writer": expected}, RunReport("x", "finished", {"writer": domain}))


def test_a_domain_that_nothing_is_said_about_must_power_off() -> None:
    report = RunReport("x", "finished", {"a": DomainReport("a", 1, "crash")})
    assert failures({}, report) == ["a: expected exit poweroff, got crash"]


def test_a_crash_that_is_expected_is_no_failure() -> None:
    assert unmet(Expectation("crash"), exit="crash") == []
    assert unmet(Expectation("crash")) == ["writer: expected exit crash, got poweroff"]


def test_input_that_was_not_typed_is_a_failure() -> None:
    domain = DomainReport("grub", 1, "poweroff", input="input[1] waits for 'grub> '")
    assert failures({}, RunReport("x", "finished", {"grub": domain})) == [
        "grub: expected all of its input to be typed, but input[1] waits for 'grub> '"
    ]


def test_lines_must_appear_in_their_order() -> None:
    console = ["hello world", "two", "three"]
    assert unmet(Expectation(console=("world", "three")), console=console) == []
    assert unmet(Expectation(console=("three", "two")), console=console) == [
        "writer: expected the console line 'two' after line 3, 'three', got none such"
    ]
    assert unmet(Expectation(console=("four",)), console=console) == [
        "writer: expected the console line 'four', got none such"
    ]


def test_one_line_meets_one_expectation() -> None:
    assert unmet(Expectation(console=("a", "a")), console=["a"]) != []
    assert unmet(Expectation(console=("a", "a")), console=["a", "a"]) == []


@pytest.mark.parametrize(
    ("wanted", "line", "met"),
    [
        ("a.c", "xa.cx", True), ("a.c", "abc", False), ("/a.c/", "xabcx", True), ("/^a/", "ba", False),
        ("//", "x//y", True), ("/", "a/b", True), ("/usr/bin", "at /usr/bin", True),
    ],
)  # fmt: skip
def test_slashes_make_a_regular_expression(wanted: str, line: str, met: bool) -> None:
    assert matches(wanted, line) is met


@given(st.lists(st.text("ab", max_size=3), max_size=8), st.data())
def test_lines_taken_from_a_console_in_order_are_always_found(console: list[str], data: st.DataObject) -> None:
    kept = [line for line in console if line and data.draw(st.booleans())]
    assert unmet(Expectation(console=tuple(kept)), console=console) == []
