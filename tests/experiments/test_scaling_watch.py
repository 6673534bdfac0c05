"""What is taken from a run: its marks, its counts, and nothing where it says nothing."""

from pathlib import Path
from typing import Any

import pytest

from experiments.scaling_child import configuration, speed
from experiments.scaling_point import Measured, Point
from experiments.scaling_shapes import SHAPES
from experiments.scaling_watch import Watch
from toolstack.load import from_data

DOMAINS: dict[str, Any] = {"domains": {"a": {"work": 100}, "b": {"work": 300}}}


def watched(*lines: tuple[float, str], domains: int = 2) -> Watch:
    now = 0.0
    watch = Watch(domains, lambda: now)
    for now, line in lines:  # noqa: B007 - the clock reads it
        watch.hypervisor_line(line)
    return watch


PAIR = watched((1.0, "(d1) BENCH start pingpong-block"), (2.0, "(d2) BENCH start pingpong-block"),
               (4.0, "(d1) BENCH stop pingpong-block ops=30"), (5.0, "(d2) BENCH stop pingpong-block ops=50"))


def values(measured: list[Measured]) -> dict[str, float]:
    return {each.metric: each.value for each in measured}


def test_the_window_is_from_the_first_start_to_the_last_stop() -> None:
    assert PAIR.complete
    assert PAIR.seconds == 4
    assert PAIR.operations == {1: 30, 2: 50}
    assert PAIR.spread == 0.25


def test_a_domain_that_began_and_did_not_end_is_missed() -> None:
    assert not watched((1, "(d1) BENCH start ring")).complete
    assert not watched().complete
    assert not watched((1, "(d1) BENCH stop ring ops=1")).complete


def test_all_are_up_when_the_last_has_spoken() -> None:
    now = 1.0
    watch = Watch(2, lambda: now)
    watch.console_line("a", "first")
    watch.console_line("a", "second")
    assert watch.all_up is None
    now = 3.0
    watch.console_line("b", "first")
    now = 4.0
    watch.console_line("b", "second")
    assert watch.all_up == 3


def test_pairs_make_two_hand_overs_a_round_trip() -> None:
    found = values(speed(SHAPES["pairs"], 4, PAIR, DOMAINS, [1e-3, 2e-3]))
    assert found == {"window": 4, "throughput": 20, "round_trips_per_s": 20, "messages_per_s": 40, "handover": 0.025,
                     "guest_code": 400, "virtual_spread": 2e-3, "finish_spread": 0.25}


def test_a_lap_of_the_ring_is_a_round_trip() -> None:
    ring = watched((0, "(d1) BENCH start ring"), (2, "(d1) BENCH stop ring ops=80"))
    found = values(speed(SHAPES["ring"], 4, ring, DOMAINS, []))
    assert found == {"window": 2, "throughput": 40, "round_trips_per_s": 10, "messages_per_s": 40, "handover": 0.025,
                     "guest_code": 400}


def test_what_a_run_does_not_say_is_left_out() -> None:
    assert "handover" not in values(speed(SHAPES["star"], 3, PAIR, DOMAINS, []))
    assert "round_trips_per_s" not in values(speed(SHAPES["compute"], 2, PAIR, DOMAINS, []))


def test_what_a_report_counts_goes_before_what_the_protocol_says() -> None:
    report = {**DOMAINS, "links": [{"hand_overs": 120, "bytes": 700, "messages": 180},
                                       {"hand_overs": 80, "bytes": 300, "messages": 120}]}
    found = values(speed(SHAPES["pairs"], 4, PAIR, report, []))
    assert (found["handover"], found["bytes_per_handover"], found["messages_per_handover"]) == (0.02, 5, 1.5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_every_shape_has_as_many_domains_as_it_says(shape: str, count: int) -> None:
    if SHAPES[shape].possible(count):
        point = Point(shape, "local", 1, count, 1, 0, "speed", 0, 10_000)
        names = from_data(configuration(SHAPES[shape], point), Path()).names()
        assert len(names) == count
        assert set(SHAPES[shape].peers(count)) <= set(range(1, count + 1))


def test_where_domains_run_is_told_where_it_is_not_as_usual() -> None:
    plain = configuration(SHAPES["ring"], Point("ring", "ray", 1, 4, 1, 0, "speed", 0, 100))
    assert plain.keys() == {"domains"}
    told = configuration(SHAPES["ring"], Point("ring", "ray", 1, 4, 8, 2, "speed", 0, 100))
    assert (told["machine"], told["placement"]) == ({"pcpus": 2}, {"domains_per_actor": 8})
