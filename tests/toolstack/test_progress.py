"""A start that takes long says how far it is, and one that does not says nothing."""

import io

import pytest

from toolstack.terminal import Progress


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(*steps: tuple[float, int]) -> list[str]:
    """What is printed where so many of ten domains are ready at each time, in seconds."""
    stream, time = io.StringIO(), Time()
    progress = Progress(stream, time)
    for seconds, ready in steps:
        time.now = 100.0 + seconds
        progress(ready, 10)
    return stream.getvalue().splitlines()


def test_a_short_start_is_silent() -> None:
    assert told((0, 0), (0.5, 4), (1.2, 10)) == []


def test_a_long_start_is_told_a_line_a_second() -> None:
    steps = [(0.0, 0), (1.6, 2), (1.7, 3), (2.0, 3), (2.7, 5), (2.8, 6), (9.0, 9)]
    assert told(*steps) == ["started 2/10 domains", "started 5/10 domains", "started 9/10 domains"]


def test_who_was_told_is_told_the_end() -> None:
    assert told((0, 0), (1.6, 2), (1.7, 10)) == ["started 2/10 domains", "started 10/10 domains"]


def test_a_stream_that_nobody_reads_stops_nothing() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    time = Time()
    progress = Progress(Closed(), time)
    progress(0, 10)
    time.now += 5
    progress(1, 10)


@pytest.mark.parametrize("domains", [1, 1000])
def test_all_at_once_at_the_end_is_one_line(domains: int) -> None:
    stream, time = io.StringIO(), Time()
    progress = Progress(stream, time)
    progress(0, domains)
    time.now += 10
    progress(domains, domains)
    assert stream.getvalue() == f"started {domains}/{domains} domains\n"
