"""Flat tables: columns over bytes that two holders may look at."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from state.table import CACHE_LINE, Table


class Sheep(Table):
    COLUMNS: ClassVar[Mapping[str, str]] = {"legs": "B", "weight": "i", "born": "Q"}
    legs: "memoryview[int]"
    weight: "memoryview[int]"
    born: "memoryview[int]"


def flock(rows: int = 3) -> tuple[Sheep, Sheep]:
    """Two tables over the same bytes, as two processes have them."""
    buffer = memoryview(bytearray(Sheep.size(rows)))
    return Sheep(buffer, rows), Sheep(buffer, rows)


def test_what_one_holder_writes_the_other_reads() -> None:
    mine, yours = flock()
    mine.legs[0], mine.weight[1], mine.born[2] = 4, -70, (1 << 64) - 1
    assert (yours.legs[0], yours.weight[1], yours.born[2]) == (4, -70, (1 << 64) - 1)


def test_columns_do_not_overlap() -> None:
    sheep, _ = flock(rows=2)
    for row in range(2):
        sheep.legs[row], sheep.weight[row], sheep.born[row] = 255, -1, (1 << 64) - 1
    sheep.clear(0)
    assert (sheep.legs[0], sheep.weight[0], sheep.born[0]) == (0, 0, 0)
    assert (sheep.legs[1], sheep.weight[1], sheep.born[1]) == (255, -1, (1 << 64) - 1)


def test_each_column_begins_on_a_cache_line() -> None:
    assert Sheep.size(1) == 3 * CACHE_LINE
    assert Sheep.size(CACHE_LINE) == CACHE_LINE * (1 + 4 + 8)


def test_a_row_that_does_not_exist_is_an_error() -> None:
    sheep, _ = flock(rows=2)
    with pytest.raises(IndexError):
        sheep.legs[2] = 4


def test_a_buffer_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="Sheep: 2 rows need 192 bytes, got 191"):
        Sheep(memoryview(bytearray(191)), 2)


def test_a_private_table_is_all_zero() -> None:
    sheep = Sheep.private(5)
    assert sheep.rows == 5
    assert all(not any(getattr(sheep, column)) for column in Sheep.COLUMNS)
