"""Looking before sleeping: as long as it helps, and hardly where it does not."""

from toolstack.link_look import LOOK, Look


def looks(look: Look, waits: int, found: bool, gap: float) -> int:
    """How many of so many waits looked, where each look ends so."""
    count = 0
    for _ in range(waits):
        if look.wanted():
            look.ended(found, gap)
            count += 1
    return count


def test_looks_that_help_go_on() -> None:
    assert looks(Look(LOOK), 1000, True, 2e-6) == 1000


def test_looks_in_vain_become_rare() -> None:
    assert looks(Look(LOOK), 100_000, False, 2e-6) < 40


def test_looks_that_are_interrupted_become_rare_though_something_came() -> None:
    assert looks(Look(LOOK), 100_000, True, 4e-3) < 40


def test_one_look_that_helps_brings_them_back() -> None:
    look = Look(LOOK)
    looks(look, 100_000, False, 2e-6)
    assert looks(look, 6000, True, 2e-6) > 1500


def test_a_look_of_no_length_is_none() -> None:
    assert looks(Look(0), 100, True, 0) == 0
