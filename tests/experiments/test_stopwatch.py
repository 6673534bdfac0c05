"""The time between a guest's marks is taken, and a run without them gives no figure."""

import pytest

from experiments.stopwatch import MeasurementError, Stopwatch, seconds_per_operation


def test_the_time_between_the_marks_counts() -> None:
    watch = Stopwatch()
    watch.hypervisor_line("(d1) BENCH start null")
    watch.hypervisor_line("d1: something else\n(d1) BENCH stop null ops=50")
    assert watch.operations == 50
    assert watch.seconds is not None
    assert 0 < watch.seconds < 10


def test_a_stop_without_a_start_is_no_measurement() -> None:
    watch = Stopwatch()
    watch.hypervisor_line("(d1) BENCH stop null ops=50")
    assert watch.seconds is None


def test_a_guest_cannot_pass_text_on_its_console_for_a_mark() -> None:
    watch = Stopwatch()
    watch.console_line("bench", "(d1) BENCH start null")
    watch.console_line("bench", "(d1) BENCH stop null ops=50")
    assert watch.seconds is None
    assert watch.latest == "bench | (d1) BENCH stop null ops=50"


def test_a_guest_that_crashes_gives_no_figure_but_its_last_words() -> None:
    domains = {"bench": {"kernel": "bench/bench", "cmdline": "test=teleport", "memory": "16MiB"}}
    with pytest.raises(MeasurementError, match=r"finished, crash; the last line was: "):
        seconds_per_operation(domains)


def test_a_guest_that_marks_nothing_gives_no_figure() -> None:
    domains = {"first": {"kernel": "first_steps", "memory": "16MiB"}}
    with pytest.raises(MeasurementError, match="powering off"):
        seconds_per_operation(domains)
