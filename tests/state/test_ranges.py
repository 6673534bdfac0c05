"""The byte ranges of a sharing group: exact, counted, and never over each other."""

import pytest

from state.ranges import CELL, Range, Ranges


def shared(*spans: tuple[int, int]) -> Ranges:
    ranges = Ranges(1 << 20)
    for offset, length in spans:
        ranges.put(Range(offset, length, ranges.place(length), added=1))
    return ranges


def test_a_range_is_found_by_its_exact_bytes() -> None:
    ranges = shared((4096, 4096), (10, 3))
    found = ranges.get(10, 3)
    assert found is not None
    assert (found.offset, found.length, found.cells) == (10, 3, 1)
    assert ranges.get(0, 10) is None


@pytest.mark.parametrize(("offset", "length"), [(4095, 2), (4096, 1), (4096, 4097), (5000, 10), (8191, 5), (0, 9000)])
def test_a_range_that_overlaps_another_is_refused(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="overlap 4096 bytes at 0x1000"):
        shared((4096, 4096)).get(offset, length)


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (-1, 4), (1 << 20, 1), ((1 << 20) - 1, 2), (0, 1 << 40)])
def test_a_range_that_is_not_in_the_buffer_is_refused(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="not in a buffer of 1048576 bytes"):
        shared().get(offset, length)


def test_ranges_that_touch_do_not_overlap() -> None:
    ranges = shared((64, 64), (0, 64), (128, 1))
    assert [(found.offset, found.length) for found in ranges] == [(0, 64), (64, 64), (128, 1)]
    assert ranges.bytes == 129


def test_cells_that_were_freed_are_used_again() -> None:
    ranges = shared((0, 4096), (4096, 100), (8192, 4096))
    middle = ranges.get(4096, 100)
    assert middle is not None
    assert (middle.first, middle.cells) == (4096 // CELL, 2)
    ranges.put(middle._replace(uses=0))
    assert len(ranges) == 2
    assert ranges.place(128) == middle.first
    assert ranges.place(129) == 2 * 4096 // CELL + 2


def test_cells_that_are_taken_are_not_given_again() -> None:
    ranges = shared((0, 128))
    with pytest.raises(ValueError, match="taken"):
        ranges.put(Range(4096, 64, 1, added=1))
    with pytest.raises(ValueError, match="do not exist"):
        ranges.put(Range(4096, 64, 1 << 31, added=1))
