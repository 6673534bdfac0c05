import msgpack
import pytest

from hypervisor.trace import Trace, joined_records
from toolstack.trace import Stream, main, read_trace, write_trace


def recorded(domid, *times):
    pieces = []
    trace = Trace(lambda _, data: pieces.append(data))
    for time in times:
        trace.hypercall(domid, time, 0, 64, 32, (4, 0x1000), 0)
    trace.finish()
    return pieces


@pytest.fixture
def file(tmp_path):
    pieces = []
    trace = Trace(lambda domid, data: pieces.append((domid, data)))
    trace.start(1, 0, 0)
    trace.hypercall(1, 1_000_000_000, 0, 64, 32, (4, 0x7FF0), 0)
    trace.event(1, 1_000_000_000, 0, 2, 3)
    trace.upcall(2, 1_500_000_000, 0, 0xF3)
    trace.hypercall(2, 2_000_000_000, 0, 32, 56, (1,), (1 << 32) - 22)
    trace.stop(1, 3_000_000_000, 0, 0)
    trace.stop(2, 3_000_000_001, 1, 200)
    trace.finish()
    path = tmp_path / "run.trace"
    write_trace(path, [Stream(domid, name, [data for owner, data in pieces if owner == domid])
                       for domid, name in ((1, "writer"), (2, "reader"))],
                clock="virtual", digest="abc", hypercalls={56: "greet"})
    return path


def test_a_trace_is_printed_in_words(file, capsys):
    assert main([str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "# virtual clock, digest abc",
        "   0.000000000 writer       v0 start",
        "   1.000000000 writer       v0 event_channel_op(EVTCHNOP_send, 0x7ff0) = 0",
        "   1.000000000 writer       v0 event: port 3 of reader pending",
        "   1.500000000 reader       v0 upcall through vector 0xf3",
        "   2.000000000 reader       v0 greet(1) = -EINVAL",
        "   3.000000000 writer       v0 stop: poweroff",
        "   3.000000001 reader       v1 stop: 200",
    ]


def test_one_domain_may_be_picked(file, capsys):
    assert main([str(file), "--domain", "reader"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main([str(file), "--domain", "nobody"]) == 2
    assert "no domain 'nobody'; it has writer, reader" in capsys.readouterr().err


def test_records_are_merged_by_time_domid_and_place(tmp_path):
    path = tmp_path / "t"
    streams = [Stream(2, "b", recorded(2, 5, 5, 9)), Stream(1, "a", recorded(1, 5, 3, 20))]
    write_trace(path, streams, clock="virtual", digest="")
    header, *rest = read_trace(path)
    assert header["domains"] == {1: "a", 2: "b"}
    assert [(record[0], record[1]) for record in rest] == [(3, 1), (5, 1), (5, 2), (5, 2), (9, 2), (20, 1)]


def test_no_record_is_lost_over_many_pieces(tmp_path):
    path = tmp_path / "t"
    pieces = recorded(1, *range(10_000))
    assert len(pieces) > 1
    write_trace(path, [Stream(1, "a", pieces)], clock="host", digest="")
    assert len(list(read_trace(path))) == 1 + sum(1 for _ in joined_records(pieces)) == 10_001


@pytest.mark.parametrize("content", [
    b"", b"not a trace", b"\xc1", msgpack.packb({"a": 1}), msgpack.packb([1]),
    msgpack.packb({"format": "domus trace", "version": 99})])
def test_what_is_no_trace_is_said_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "t"
    path.write_bytes(content)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.startswith(str(path))


def test_a_trace_that_is_cut_off_is_printed_as_far_as_it_goes(file, capsys):
    file.write_bytes(file.read_bytes()[:-13])
    assert main([str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].endswith("writer       v0 stop: poweroff")
    assert "cut off" in printed.err


@pytest.mark.parametrize("full", ["nowhere/run.trace", "/dev/full"])
def test_a_trace_that_cannot_be_written_is_said_in_one_line(tmp_path, full):
    reason = write_trace(tmp_path / full, [Stream(1, "a", recorded(1, *range(1000)))], clock="virtual", digest="")
    assert reason.startswith(f"cannot write the trace {str(tmp_path / full)!r}: No ")
    assert "\n" not in reason


def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: is a directory\n{tmp_path / 'none'}: no such file or directory\n"
