"""Every byte of a host is one domain's, the host's, or padding."""

import os
from itertools import pairwise

import numpy
import pytest

from hypervisor.domain_ranges import BY_DOMAIN, BY_FRAME, BY_VCPU, FOR_ALL, copy_ranges, domain_ranges, frame_runs, held
from hypervisor.frames import FrameTable
from hypervisor.host_state import HostShape, HostState
from state.table import Table

SHAPE = HostShape(3, 4, 8 << 20)


@pytest.fixture(scope="module")
def state():
    import mmap

    from hypervisor.tables import DomainTable

    state = HostState(memoryview(mmap.mmap(-1, SHAPE.size)), SHAPE)
    domains = state.table(DomainTable)
    for domid, (base, count) in enumerate(((0, 1), (1, 1), (2, 2))):
        domains.vcpu_base[domid], domains.vcpu_count[domid] = base, count
    for mfn in range(600, 700):
        state.table(FrameTable).heap[mfn] = 1
    for mfn in (650, 651, 900):
        state.table(FrameTable).heap[mfn] = 2
    return state


def test_it_is_said_of_every_table_whose_its_rows_are():
    kinds = {kind for kind, _ in SHAPE.tables()}
    assert kinds == BY_FRAME | BY_VCPU | BY_DOMAIN | FOR_ALL
    assert len(kinds) == len(BY_FRAME) + len(BY_VCPU) + len(BY_DOMAIN) + len(FOR_ALL)


def test_a_table_of_which_nothing_is_said_is_refused(state, monkeypatch):
    class OtherTable(Table):
        pass

    monkeypatch.setattr(HostShape, "tables", lambda shape: [(OtherTable, 3)])
    with pytest.raises(LookupError, match="OtherTable"):
        domain_ranges(state, 1)


def test_frames_go_by_their_heap(state):
    assert frame_runs(state, 1) == [(600, 50), (652, 48)]
    assert frame_runs(state, 2) == [(650, 2), (900, 1)]


def test_no_byte_is_two_domains_and_every_row_is_somebodys(state):
    owners = numpy.zeros(SHAPE.size, numpy.uint8)
    for domid in range(3):
        ranges = domain_ranges(state, domid)
        assert all(offset + length < after for (offset, length), (after, _) in pairwise(ranges))
        for offset, length in ranges:
            owners[offset:offset + length] += 1
    assert owners.max() == 1
    assert owners[:SHAPE.frames * 4096].min() == 1
    for kind, rows in SHAPE.tables():
        for offset, width in kind.places(rows):
            at = state.address(kind) + offset
            assert owners[at:at + rows * width].min() == 1, kind.__name__


def test_a_row_is_found_where_the_table_has_it(state):
    """Each column of each table, by writing the domain's last row of it through the table."""
    ranges = domain_ranges(state, 2)
    for kind, rows in SHAPE.tables():
        if kind not in BY_DOMAIN | BY_VCPU:
            continue
        table, row = state.table(kind), rows - 1
        for name, (offset, width) in zip(kind.COLUMNS, kind.places(rows), strict=True):
            column, at = getattr(table, name), state.address(kind) + offset + row * width
            kept, column[row] = column[row], 0x55
            assert state.arena.u8[at] == 0x55
            column[row] = kept
            assert any(start <= at and at + width <= start + length for start, length in ranges)


def test_copying_takes_exactly_the_ranges():
    source, target = bytearray(b"\2" * 100), bytearray(100)
    assert copy_ranges(memoryview(source), memoryview(target), [(10, 3), (60, 40)]) == 43
    assert target == bytes(10) + b"\2" * 3 + bytes(47) + b"\2" * 40


def test_holes_are_not_held():
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 10 * 4096)
    for page in (2, 3, 7):
        os.pwrite(descriptor, b"x", page * 4096)
    wanted = [(0, 4096), (2 * 4096 + 5, 20), (2 * 4096 + 100, 4096), (5 * 4096, 5 * 4096)]
    assert held(wanted, descriptor, 10 * 4096) == [(2 * 4096 + 5, 20), (2 * 4096 + 100, 4096), (7 * 4096, 4096)]
    os.close(descriptor)
