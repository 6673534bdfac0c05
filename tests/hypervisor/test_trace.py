import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor.trace import FOLD_AT, Kind, Record, Trace, joined_records, records, run_digest

words = st.integers(0, (1 << 64) - 1)


def busy(trace, calls):
    for number in range(calls):
        trace.hypercall(1, 1000 + number, 0, 64, 17, (0, number), 0x40011)
        trace.event(1, 1000 + number, 0, 2, 5)
        trace.upcall(1, 1000 + number, 0, 0x20)


def test_equal_runs_have_equal_digests():
    one, other = Trace(), Trace()
    busy(one, 50)
    busy(other, 50)
    assert one.digest(1) == other.digest(1)


def test_a_result_that_differs_changes_the_digest():
    one, other = Trace(), Trace()
    one.hypercall(1, 0, 0, 64, 17, (), 0)
    other.hypercall(1, 0, 0, 64, 17, (), 1)
    assert one.digest(1) != other.digest(1)


def test_the_digest_does_not_depend_on_when_it_was_asked_for():
    one, other = Trace(), Trace()
    busy(one, 10)
    one.digest(1)
    busy(one, 10)
    busy(other, 10)
    busy(other, 10)
    assert one.digest(1) == other.digest(1)


def test_memory_is_constant_and_the_sink_gets_every_byte():
    pieces = []
    trace = Trace(lambda domid, data: pieces.append((domid, data)))
    busy(trace, 5000)
    assert len(trace.buffers[1]) < FOLD_AT
    trace.finish()
    stream = b"".join(data for domid, data in pieces if domid == 1)
    link = bytes(32)
    for at in range(0, len(stream), FOLD_AT):
        link = hashlib.sha256(link + stream[at:at + FOLD_AT]).digest()
    assert link == trace.digest(1)
    assert len(list(records(stream))) == 15000


def test_records_are_found_across_the_pieces_that_the_sink_gets():
    pieces = []
    trace = Trace(lambda domid, data: pieces.append(data))
    busy(trace, 3000)
    trace.finish()
    trace.finish()
    assert len(pieces) > 1
    assert list(joined_records(pieces)) == list(records(b"".join(pieces)))
    assert len(list(joined_records(pieces))) == 9000
    with pytest.raises(ValueError, match="no trace record"):
        list(joined_records([*pieces, b"x"]))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3 * FOLD_AT), max_size=6), st.integers(0, 6))
def test_the_digest_depends_on_the_stream_alone(sizes, saved_after):
    """Neither on how the bytes came, nor on a trace that is saved and goes on elsewhere."""
    parts = [(b"%09d" % number * size)[:size] for number, size in enumerate(sizes)]
    pieces, whole = [], Trace()
    trace = Trace(lambda domid, data: pieces.append(data))
    for number, part in enumerate(parts):
        if number == saved_after:
            state = trace.save(1)
            trace = Trace(lambda domid, data: pieces.append(data))
            trace.restore(1, state)
        trace.buffers[1] += part
        if len(trace.buffers[1]) >= FOLD_AT:
            trace.fold(1)
    whole.buffers[1] += b"".join(parts)
    trace.finish()
    assert trace.digest(1) == whole.digest(1)
    assert b"".join(pieces) == b"".join(parts)


@pytest.mark.parametrize("state", [(b"short", b"", 0), (bytes(32), bytes(FOLD_AT), 0), (bytes(32), b"abc", 4)])
def test_what_is_no_saved_stream_is_refused(state):
    with pytest.raises(ValueError, match="a trace's stream"):
        Trace().restore(1, state)


def test_streams_of_domains_are_apart():
    trace = Trace()
    trace.start(1, 0, 0)
    before = trace.digest(2)
    trace.stop(1, 5, 0, 3)
    assert trace.digest(2) == before


def test_a_domid_that_is_given_again_begins_a_new_stream():
    trace, fresh = Trace(), Trace()
    busy(trace, 3)
    trace.forget(1)
    assert trace.digest(1) == fresh.digest(1)


def test_the_run_digest_is_of_names_domids_and_streams_in_order_of_domid():
    streams = [(1, "writer", b"w"), (2, "reader", b"r")]
    assert run_digest(streams) == run_digest(reversed(streams))
    assert run_digest(streams) != run_digest([(1, "reader", b"w"), (2, "writer", b"r")])
    assert run_digest(streams) != run_digest([(1, "writer", b"r"), (2, "reader", b"w")])


@given(time=words, vcpu=st.integers(0, 65535), number=st.integers(0, 63), width=st.sampled_from([32, 64]),
       arguments=st.lists(words, max_size=6), result=words)
def test_a_hypercall_reads_back_as_it_was_recorded(time, vcpu, number, width, arguments, result):
    trace = Trace()
    trace.hypercall(1, time, vcpu, width, number, arguments, result)
    kind = Kind.HYPERCALL if width == 64 else Kind.HYPERCALL_32
    assert list(records(trace.buffers[1])) == [Record(time, kind, vcpu, number, tuple(arguments), result)]


def test_the_other_kinds_read_back_too():
    trace = Trace()
    trace.start(1, 10, 0)
    trace.event(1, 20, 0, 2, 7)
    trace.upcall(1, 30, 1, 0xF3)
    trace.stop(1, 40, 1, 3)
    assert list(records(trace.buffers[1])) == [
        Record(10, Kind.START, 0, 0, (0, 0)), Record(20, Kind.EVENT, 0, 0, (2, 7)),
        Record(30, Kind.UPCALL, 1, 0, (0xF3, 0)), Record(40, Kind.STOP, 1, 0, (3, 0))]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_trace_are_refused(data):
    try:
        list(records(data))
    except ValueError:
        return


def test_a_record_that_is_cut_off_is_refused():
    trace = Trace()
    busy(trace, 1)
    with pytest.raises(ValueError, match="no trace record at byte"):
        list(records(trace.buffers[1][:-1]))
