"""Figures as people read them, and in the README."""

import pytest

from experiments.figures import MILLIONS, PER_SECOND, SECONDS, Figure
from experiments.publish import with_figures
from experiments.results import Result, markdown, number, table, to_json

START = Result(Figure("start", "from the command to a line", SECONDS, 1.5, None, "8 to 10"), (0.61, 0.58, 0.7))
TRIPS = Result(Figure("trips", "there and back", PER_SECOND, 20_000, 13_000), (20_449.0,))
BYTES = Result(Figure("bytes", "through a page", MILLIONS), (38.94,))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4249, "0.42"), (3.0, "3.00"), (17.04, "17.0"), (446.4, "446"), (999.6, "1000"), (20_449, "20,400"),
     (1_764_000, "1,760,000")],
)  # fmt: skip
def test_three_digits_are_enough(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_is_aligned() -> None:
    assert table([START, TRIPS, BYTES]) == [
        "figure  measured  unit       target       Xen in QEMU  what",
        "-----------------------------------------------------------",
        "start       0.61  s             1.5  met      8 to 10  from the command to a line",
        "trips     20,400  /s         20,000  met       13,000  there and back",
        "bytes       38.9  million/s                            through a page",
    ]


def test_the_readme_shows_the_same_figures() -> None:
    assert markdown(to_json([START, TRIPS, BYTES], quick=False, busy=False))[2:] == [
        "| from the command to a line | 0.61 s | 1.5 s | 8 to 10 s |",
        "| there and back | 20,400/s | 20,000/s | 13,000/s |",
        "| through a page | 38.9 million/s |  |  |",
    ]


def test_publishing_replaces_the_table_and_nothing_else() -> None:
    facts = to_json([START], quick=True, busy=True)
    text = "before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n"
    once = with_figures(text, facts)
    assert once.startswith("before\n<!-- figures -->\n\n| figure |")
    assert once.endswith("\n\n<!-- end of figures -->\nafter\n")
    assert "old" not in once
    assert "`--quick`" in once
    assert "Other programs ran" in " ".join(once.split())
    assert with_figures(once, facts) == once


def test_publishing_needs_the_marks() -> None:
    with pytest.raises(ValueError, match="expected <!-- figures -->"):
        with_figures("no marks", to_json([START], quick=False, busy=False))
