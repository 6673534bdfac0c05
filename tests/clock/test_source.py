import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock.source import Clock, HostClock, VirtualClock

frequencies = st.integers(1_000, 20_000_000_000)
clocks = st.builds(VirtualClock, frequencies)
times = st.integers(0, 1 << 62)


def test_at_one_gigahertz_a_cycle_is_a_nanosecond() -> None:
    clock = VirtualClock(1_000_000_000)
    assert (clock.tsc(12345), clock.system_time(12345), clock.nanoseconds(12345), clock.cycles(12345)) == (12345,) * 4


@given(clocks, times)
def test_a_counter_stands_for_a_time_that_is_not_after_it_was_read(clock: Clock, time: int) -> None:
    read = clock.system_time(clock.tsc(time))
    assert read <= time
    assert clock.system_time(clock.tsc(time) + 1) >= time


@given(clocks, st.integers(0, 1 << 50))
def test_who_does_anything_gets_on_in_time(clock: Clock, cycles: int) -> None:
    assert clock.nanoseconds(cycles + 1) > 0
    assert clock.nanoseconds(cycles + 1) >= clock.nanoseconds(cycles)


@given(clocks, st.integers(0, 1 << 50))
def test_cycles_are_the_fewest_that_take_so_long(clock: Clock, nanoseconds: int) -> None:
    cycles = clock.cycles(nanoseconds)
    assert clock.nanoseconds(cycles) >= nanoseconds
    assert cycles == 0 or clock.nanoseconds(cycles - 1) < nanoseconds


def test_a_frequency_that_guests_cannot_express_is_rounded_down() -> None:
    assert VirtualClock(2_400_000_001).frequency == 2_400_000_000


def test_no_time_passes_for_a_counter_of_no_frequency() -> None:
    with pytest.raises(ValueError, match="0 Hz"):
        VirtualClock(0)


def test_host_time_begins_at_boot() -> None:
    readings = iter([500, 750])
    clock = HostClock(1_000_000_000, lambda: next(readings))
    assert clock.now() == 250
    assert not clock.virtual


def test_processes_that_share_a_boot_time_agree() -> None:
    one, other = (HostClock(1_000_000_000, lambda: 1_000, boot=400) for _ in range(2))
    assert one.now() == other.now() == 600
