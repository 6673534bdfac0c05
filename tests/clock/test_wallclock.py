import pytest

from abi.xen import SHARED_INFO
from clock.wallclock import Wallclock, wallclock_base, write_wallclock
from state.arena import Arena, private_arena

SHARED = 0x1000


def published(arena: Arena, width: int) -> tuple[int, int, int]:
    """Version, seconds and nanoseconds as a guest of `width` reads them."""
    shape = SHARED_INFO.at(width)
    high = shape.offset["arch_wc_sec_hi" if width == 32 else "wc_sec_hi"]
    version, low, nanoseconds, high = (
        int.from_bytes(arena.read(SHARED + at, 4), "little")
        for at in (shape.offset["wc_version"], shape.offset["wc_sec"], shape.offset["wc_nsec"], high))
    return version, low | high << 32, nanoseconds


def test_the_base_is_the_epoch_less_the_time_since_boot() -> None:
    assert wallclock_base(1_700_000_000_500_000_000, 2_600_000_000) == Wallclock(1_699_999_997, 900_000_000)


@pytest.mark.parametrize("width", [32, 64])
def test_a_guest_of_either_width_reads_the_time_at_boot(width: int) -> None:
    arena = private_arena(3)
    write_wallclock(arena, SHARED, width, Wallclock(1_700_000_000, 5))
    assert published(arena, width) == (2, 1_700_000_000, 5)


@pytest.mark.parametrize("width", [32, 64])
def test_seconds_beyond_2106_use_the_high_half(width: int) -> None:
    arena = private_arena(3)
    write_wallclock(arena, SHARED, width, Wallclock(1 << 33 | 7, 0))
    write_wallclock(arena, SHARED, width, Wallclock(1 << 34 | 8, 9))
    assert published(arena, width) == (4, 1 << 34 | 8, 9)
