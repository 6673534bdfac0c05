import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clock.pvclock import NANOSECONDS, representable, scale, set_time_scale, unscale

frequencies = st.integers(1, 20 * NANOSECONDS)
ticks = st.integers(0, 1 << 62)


@pytest.mark.parametrize(("frequency", "mul", "shift"), [
    (1_000_000_000, 0x80000000, 1),
    (2_000_000_000, 0x80000000, 0),
    (2_400_000_000, 0xD5555555, -1),
    (3_000_000_000, 0xAAAAAAAA, -1),
    (1_000_000, 0xFA000000, 10),
    (500_000_000, 0x80000000, 2),
])
def test_multiplier_and_shift_are_those_that_xen_gives(frequency: int, mul: int, shift: int) -> None:
    assert set_time_scale(frequency) == (mul, shift)


def test_a_counter_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="0 Hz"):
        set_time_scale(0)


@given(frequencies)
def test_the_multiplier_fits_its_field(frequency: int) -> None:
    mul, shift = set_time_scale(frequency)
    assert 1 << 31 <= mul < 1 << 32
    assert -128 <= shift <= 127


@given(frequencies, ticks, ticks)
def test_the_parts_are_never_more_than_the_whole(frequency: int, one: int, other: int) -> None:
    mul, shift = set_time_scale(frequency)
    assert scale(one, mul, shift) + scale(other, mul, shift) <= scale(one + other, mul, shift)


@given(frequencies)
@example(2 * NANOSECONDS + 1)
@example(8 * NANOSECONDS + 7)
def test_a_representable_frequency_is_close_and_never_runs_fast(frequency: int) -> None:
    rounded = representable(frequency)
    assert 0 <= frequency - rounded < 16
    assert representable(rounded) == rounded
    mul, shift = set_time_scale(rounded)
    for seconds in (1, 60, 86_400, 10_000_000):
        assert scale(rounded * seconds, mul, shift) <= seconds * NANOSECONDS


@given(frequencies, st.integers(0, 1 << 62))
def test_unscale_is_the_first_tick_that_is_not_too_early(frequency: int, nanoseconds: int) -> None:
    mul, shift = set_time_scale(frequency)
    first = unscale(nanoseconds, mul, shift)
    assert scale(first, mul, shift) >= nanoseconds
    assert first == 0 or scale(first - 1, mul, shift) < nanoseconds
