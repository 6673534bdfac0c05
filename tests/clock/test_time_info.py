from hypothesis import given
from hypothesis import strategies as st

from abi.xen import VCPU_TIME_INFO
from clock.pvclock import scale
from clock.source import VirtualClock
from clock.time_info import REFRESH, begin_update, refresh_time_info, write_time_info
from state.arena import Arena, private_arena

ADDRESS = 0x1234  # four-byte aligned, as a 32-bit guest may have it
SHAPE = VCPU_TIME_INFO.at(32)


class Guest:
    """Reads its clock as Linux does."""

    def __init__(self, arena: Arena, clock: VirtualClock) -> None:
        self.arena, self.clock = arena, clock

    @property
    def version(self) -> int:
        return int.from_bytes(self.arena.read(ADDRESS, 4), "little")

    def time(self, now: int) -> int:
        """What the guest believes at system time `now`."""
        info = SHAPE.named(self.arena.read(ADDRESS, SHAPE.size))
        assert info.version % 2 == 0
        ticks = self.clock.tsc(now) - info.tsc_timestamp
        assert ticks >= 0
        return int(info.system_time) + scale(ticks, info.tsc_to_system_mul, info.tsc_shift)


def guest_at(frequency: int) -> Guest:
    return Guest(private_arena(2), VirtualClock(frequency))


def test_a_guest_at_one_gigahertz_reads_the_exact_time() -> None:
    guest = guest_at(1_000_000_000)
    write_time_info(guest.arena, ADDRESS, guest.clock, 1_000)
    assert [guest.time(now) for now in (1_000, 1_001, 999_999_999)] == [1_000, 1_001, 999_999_999]


def test_every_update_moves_the_version_on_to_an_even_number() -> None:
    guest = guest_at(1_000_000_000)
    for expected in (2, 4, 6):
        write_time_info(guest.arena, ADDRESS, guest.clock, 0)
        assert guest.version == expected


def test_a_version_that_the_guest_left_odd_becomes_even_and_the_highest_wraps() -> None:
    guest = guest_at(1_000_000_000)
    guest.arena.write(ADDRESS, (7).to_bytes(4, "little"))
    write_time_info(guest.arena, ADDRESS, guest.clock, 0)
    assert guest.version == 10
    guest.arena.write(ADDRESS, (0xFFFFFFFE).to_bytes(4, "little"))
    write_time_info(guest.arena, ADDRESS, guest.clock, 0)
    assert guest.version == 0


def test_the_version_is_odd_while_the_rest_changes() -> None:
    assert [begin_update(version) for version in (0, 1, 2, 0xFFFFFFFF)] == [1, 3, 3, 1]


def test_nothing_outside_the_structure_is_touched() -> None:
    guest = guest_at(1_000_000_000)
    write_time_info(guest.arena, ADDRESS, guest.clock, 1 << 60)
    assert not any(guest.arena.read(0, ADDRESS))
    assert not any(guest.arena.read(ADDRESS + SHAPE.size, 4096))


def test_parameters_are_published_first_and_then_when_they_are_old() -> None:
    guest = guest_at(1_000_000_000)
    written = [refresh_time_info(guest.arena, ADDRESS, guest.clock, now)
               for now in (0, 1, REFRESH - 1, REFRESH, REFRESH + 1, 5 * REFRESH)]
    assert written == [True, False, False, True, False, True]


def test_a_guest_that_scribbles_on_its_clock_gets_it_back() -> None:
    guest = guest_at(1_000_000_000)
    write_time_info(guest.arena, ADDRESS, guest.clock, 10)
    guest.arena.write(ADDRESS, b"\xff" * SHAPE.size)
    assert refresh_time_info(guest.arena, ADDRESS, guest.clock, 20)
    assert guest.time(25) == 25


@given(st.integers(1_000, 16_000_000_000),
       st.lists(st.tuples(st.integers(0, 2 * REFRESH), st.booleans()), min_size=1, max_size=60))
def test_time_never_goes_back_for_a_guest_and_stays_true(frequency: int, steps: list[tuple[int, bool]]) -> None:
    """Whatever the frequency, and whether or not parameters are renewed between two readings."""
    guest = guest_at(frequency)
    tick = 1_000_000_000 // guest.clock.frequency + 1
    now = latest = 0
    write_time_info(guest.arena, ADDRESS, guest.clock, now)
    for step, forced in steps:
        now += step
        before = guest.time(now)
        if forced:
            write_time_info(guest.arena, ADDRESS, guest.clock, now)
        else:
            refresh_time_info(guest.arena, ADDRESS, guest.clock, now)
        after = guest.time(now)
        assert latest <= before <= after <= now < after + tick + 2
        latest = after
