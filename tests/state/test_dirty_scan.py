import mmap
import os

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.dirty_scan import DirtyScan

PAGE = 4096
SIZE = 100 * PAGE

ranges = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 40 * PAGE)), min_size=1, max_size=8)
writes = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 255)), max_size=30)


def apart(given_ranges):
    """Ranges that do not overlap, in order."""
    result, end = [], 0
    for offset, length in sorted(given_ranges):
        start, stop = max(offset, end), min(offset + length, SIZE)
        if start < stop:
            result.append((start, stop - start))
            end = stop
    return result


@settings(deadline=None, max_examples=60)
@given(ranges, st.lists(writes, max_size=4), st.booleans())
def test_sending_what_changed_keeps_a_copy_equal(wanted, rounds, sparse):
    wanted = apart(wanted)
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, SIZE)
    memory = mmap.mmap(descriptor, SIZE)
    view, copy = memoryview(memory), bytearray(SIZE)
    scan = DirtyScan(view, wanted, descriptor if sparse else None)
    for done in [*rounds, []]:
        before = memory[:]
        for at, value in done:
            memory[at] = value
        changed = scan.scan()
        for offset, length in changed:
            copy[offset:offset + length] = memory[offset:offset + length]
        for offset, length in wanted:
            assert copy[offset:offset + length] == memory[offset:offset + length]
        pages = {page for offset, length in changed for page in range(offset // PAGE, -(-(offset + length) // PAGE))}
        assert pages <= {at // PAGE for at, _ in done if memory[at] != before[at]}
    assert scan.scan() == []
    os.close(descriptor)


class Restless:
    """Takes what changes one by one, as who sends it, and writes to the memory in between."""

    def __init__(self, scan, memory, writes):
        self._scan, self._memory, self._writes = scan, memory, list(writes)

    def send(self, copy):
        for offset, data in self._scan.changes():
            copy[offset:offset + len(data)] = data
            if self._writes:
                at, value = self._writes.pop(0)
                self._memory[at] = value


@settings(deadline=None, max_examples=60)
@given(ranges, writes, st.lists(writes, max_size=4))
def test_a_copy_is_equal_at_last_though_the_memory_is_written_while_it_is_sent(wanted, before, rounds):
    wanted = apart(wanted)
    memory, copy = bytearray(SIZE), bytearray(SIZE)
    scan = DirtyScan(memoryview(memory), wanted)
    for at, value in before:
        memory[at] = value
    for meanwhile in [*rounds, []]:
        Restless(scan, memory, meanwhile).send(copy)
    for offset, length in wanted:
        assert copy[offset:offset + length] == memory[offset:offset + length]


@pytest.mark.parametrize("at", [5 * PAGE + 8, 9 * PAGE + 100])
def test_what_changes_while_others_are_sent_and_changes_back_is_right_at_last(at):
    """A byte in a whole page, and one in a part of a page; the pages between are not changed."""
    memory, copy = bytearray(SIZE), bytearray(SIZE)
    scan = DirtyScan(memoryview(memory), [(1, 9 * PAGE + 199)])

    def send(changes):
        for offset, data in changes:
            copy[offset:offset + len(data)] = data

    memory[10] = memory[2 * PAGE] = memory[at] = 1
    changes = scan.changes()
    send([next(changes), next(changes)])
    memory[at] = 2
    send(changes)
    memory[at] = 1
    send(scan.changes())
    assert copy[1:9 * PAGE + 200] == memory[1:9 * PAGE + 200]
    assert list(scan.changes()) == []


@pytest.fixture
def sparse():
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, SIZE)
    memory = mmap.mmap(descriptor, SIZE)
    yield descriptor, memory
    os.close(descriptor)


def test_holes_stay_holes(sparse):
    descriptor, memory = sparse
    memory[50 * PAGE + 7] = 1
    scan = DirtyScan(memoryview(memory), [(PAGE, SIZE - 2 * PAGE), (3, 5)], descriptor)
    assert scan.scan() == [(50 * PAGE, PAGE)]
    assert os.fstat(descriptor).st_blocks * 512 == PAGE


def test_memory_that_is_given_back_has_changed_to_zeros(sparse):
    descriptor, memory = sparse
    memory[50 * PAGE + 7] = memory[51 * PAGE] = 1
    scan = DirtyScan(memoryview(memory), [(0, SIZE)], descriptor)
    scan.scan()
    memory.madvise(mmap.MADV_REMOVE, 50 * PAGE, PAGE)
    assert scan.scan() == [(50 * PAGE, PAGE)]
    assert scan.scan() == []


def test_neighbours_are_told_together_and_what_is_not_asked_for_is_not_told():
    memory = bytearray(SIZE)
    scan = DirtyScan(memoryview(memory), [(PAGE - 10, 3 * PAGE)])
    memory[:] = numpy.ones(SIZE, numpy.uint8).tobytes()
    assert scan.scan() == [(PAGE - 10, 3 * PAGE)]
    memory[0] = memory[4 * PAGE] = 2
    memory[2 * PAGE] = 2
    assert scan.scan() == [(2 * PAGE, PAGE)]
