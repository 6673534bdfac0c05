"""The table is aligned and fits a hundred columns, whatever the run."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolstack.report import DomainReport, RunReport
from toolstack.stop import Stop
from toolstack.summary import WIDTH, number, seconds, summary, table
from toolstack.terminal import Output, Terminal, wants_colour

counts = st.one_of(st.integers(0, 2000), st.integers(0, 2**64 - 1))
domains = st.builds(
    DomainReport,
    name=st.text("abcdefgh-0123456789", min_size=1, max_size=64),
    domid=st.integers(1, 32751),
    exit=st.sampled_from(["poweroff", "soft_reset", "crash", "running"]),
    waiting=st.one_of(st.none(), st.just("SCHEDOP_block")),
    virtual_time_ns=st.integers(0, 10**15),
    work=counts,
    hypercalls=counts,
    events_sent=counts,
    events_received=counts,
    grants_mapped=counts,
    host_seconds=st.floats(0, 9999),
)


@given(st.lists(domains, min_size=1, max_size=5))
def test_the_table_is_aligned_and_narrow(rows: list[DomainReport]) -> None:
    lines = table(rows)
    assert len(lines) == 3 + len(rows)
    assert max(map(len, lines)) <= WIDTH
    assert len({len(line) for line in lines}) == 1


def test_colours_do_not_change_the_alignment() -> None:
    rows = [DomainReport("a", 1, "crash"), DomainReport("b", 2, "poweroff")]
    painted = "\n".join(table(rows, colour=True))
    assert painted.count("\x1b[0m") == 2
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[0m"):
        painted = painted.replace(code, "")
    assert painted == "\n".join(table(rows))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (999_999, "999,999"), (1_000_000, "1.00 M"), (9_994_999, "9.99 M"), (9_995_000, "10.0 M"),
        (99_950_000, "100 M"), (999_499_999, "999 M"), (999_500_000, "1.00 G"), (2**64, "18.4 E"),
    ],
)  # fmt: skip
def test_counts_take_seven_columns(value: int, shown: str) -> None:
    assert number(value) == shown


def test_times_have_the_digits_that_matter() -> None:
    assert (seconds(1), seconds(1_234_567_890), seconds(3_600 * 10**9)) == ("0.000000 s", "1.234568 s", "3600.000 s")


def test_a_thousand_domains_in_trouble_do_not_fill_the_screen() -> None:
    rows = {f"d{domid}": DomainReport(f"d{domid}", domid, waiting="SCHEDOP_block") for domid in range(1, 1001)}
    lines = list(summary(RunReport("x", "deadlock", rows), [f"d{domid}: bad" for domid in range(1, 1001)]))
    assert lines.count("  ... and 901 more") == 1
    assert lines.count("  ... and 900 more") == 1


def test_input_that_waits_is_told_of_a_domain_that_had_not_ended() -> None:
    rows = {name: DomainReport(name, 1, waiting=why, input="input[0] waits for 'x'") for name, why in
            (("a", None), ("b", "vCPU 0 polls port 3 since 1.2 s"))}
    lines = list(summary(RunReport("x", "timeout", rows), []))
    assert "  a: running; input[0] waits for 'x'" in lines
    assert "  b: vCPU 0 polls port 3 since 1.2 s; input[0] waits for 'x'" in lines


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "colour"),
    [
        (_Tty(), {}, True), (_Tty(), {"NO_COLOR": "1"}, False), (_Tty(), {"NO_COLOR": ""}, True),
        (_Tty(), {"TERM": "dumb"}, False), (io.StringIO(), {}, False),
    ],
)  # fmt: skip
def test_colours_are_for_terminals(stream: io.StringIO, environment: dict[str, str], colour: bool) -> None:
    assert wants_colour(stream, environment) is colour


def test_each_domain_has_a_colour_and_the_names_line_up() -> None:
    stream = io.StringIO()
    terminal = Terminal(Output(stream, Stop()), ["a", "writer"], colour=True)
    terminal.console_line("a", "x")
    terminal.console_line("writer", "y")
    terminal.console_line("stranger", "z")
    assert stream.getvalue() == "\x1b[36ma      |\x1b[0m x\n\x1b[33mwriter |\x1b[0m y\nstranger | z\n"
