"""Trace files: what `launch.py --trace FILE` writes, and `python -m toolstack.trace FILE` to read one in words.

The file is a sequence of msgpack objects.  The first is a map that describes the run; then comes an array a record,
[time, domid, vcpu_id, kind, payload] and for hypercalls [..., number, result] behind it, in order of (time, domid,
place in the domain's own trace); the last is a map with their number.  Kinds are those of `hypervisor.trace`.
"""

import argparse
import heapq
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped, unused-ignore]

from abi.sched import ShutdownReason
from abi.types import Domid
from hypervisor.decode import call_in_words, hypercall_name, result_in_words
from hypervisor.trace import Kind, joined_records

FORMAT, VERSION = "domus trace", 1
_USAGE = 2


class TraceError(Exception):
    """A file that is no trace.  One line."""


class Stream(NamedTuple):
    """One domain's part of a trace: its pieces in order, as a sink of `hypervisor.trace.Trace` got them."""

    domid: Domid
    name: str
    pieces: Iterable[bytes]


def write_trace(path: Path, streams: Sequence[Stream], *, clock: str, digest: str,
                hypercalls: Mapping[int, str] | None = None) -> str | None:
    """Merge the domains' streams into the file at `path`.  `hypercalls` names those that the user added.

    Returns why it could not be written, in one line: the run is over, and what else it has to tell must not be lost.
    """
    try:
        _write(path, streams, clock, digest, hypercalls or {})
    except OSError as error:
        return f"cannot write the trace {str(path)!r}: {error.strerror}"
    return None


def _write(path: Path, streams: Sequence[Stream], clock: str, digest: str, hypercalls: Mapping[int, str]) -> None:
    packer = msgpack.Packer()
    with path.open("wb") as file:
        file.write(packer.pack({
            "format": FORMAT, "version": VERSION, "clock": clock, "digest": digest,
            "domains": {stream.domid: stream.name for stream in streams}, "hypercalls": dict(hypercalls)}))
        count = 0
        for record in heapq.merge(*map(_in_order, streams), key=itemgetter(0, 1)):
            file.write(packer.pack(record))
            count += 1
        file.write(packer.pack({"records": count}))


def _in_order(stream: Stream) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for time, kind, vcpu, number, payload, result in joined_records(stream.pieces):
        record = (time, stream.domid, vcpu, int(kind), payload)
        found.append((*record, number, result) if kind >= Kind.HYPERCALL else record)
    found.sort(key=itemgetter(0))  # the vCPUs of a domain take turns, so their times need not rise together
    return found


def read_trace(path: Path) -> Iterator[Any]:
    """The first map of a trace file, then its records.  Raises TraceError, OSError."""
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, strict_map_key=False)
        try:
            header = unpacker.unpack()
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise TraceError(f"{path}: not a trace file")
            if header.get("version") != VERSION:
                raise TraceError(f"{path}: a trace of version {header.get('version')}; expected {VERSION}")
            yield header
            for record in unpacker:
                if isinstance(record, dict):
                    return
                yield record
        except (ValueError, msgpack.exceptions.UnpackException, msgpack.exceptions.OutOfData):
            raise TraceError(f"{path}: not a trace file, or damaged") from None
        raise TraceError(f"{path}: the trace is cut off here")


def in_words(record: Sequence[Any], names: Mapping[int, str], hypercalls: Mapping[int, str]) -> str:
    """One line for one record."""
    time, domid, vcpu, kind, payload, *call = record
    who = f"{time / 1e9:14.9f} {names.get(domid, f'd{domid}'):<12} v{vcpu} "
    if kind in (Kind.HYPERCALL, Kind.HYPERCALL_32):
        number, result = call
        words = call_in_words(number, payload, lambda number: hypercalls.get(number) or hypercall_name(number))
        return f"{who}{words} = {result_in_words(result, 64 if kind == Kind.HYPERCALL else 32)}"
    if kind == Kind.EVENT:
        return f"{who}event: port {payload[1]} of {names.get(payload[0], f'd{payload[0]}')} pending"
    if kind == Kind.UPCALL:
        return f"{who}upcall" + (f" through vector {payload[0]:#x}" if payload[0] else "")
    if kind == Kind.STOP:
        known = payload[0] in list(ShutdownReason)
        return f"{who}stop: {ShutdownReason(payload[0]).name if known else payload[0]}"
    return f"{who}start" if kind == Kind.START else f"{who}record of kind {kind}: {payload}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a trace file in words; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m toolstack.trace", description="Print a trace file in words.")
    parser.add_argument("file", type=Path, help="a file written by launch.py --trace")
    parser.add_argument("--domain", metavar="NAME", help="only this domain's records")
    options = parser.parse_args(arguments)
    try:
        trace = read_trace(options.file)
        header = next(trace)
        names, hypercalls = header["domains"], header["hypercalls"]
        if options.domain is not None and options.domain not in names.values():
            raise TraceError(f"{options.file}: no domain {options.domain!r}; it has {', '.join(names.values())}")
        print(f"# {header['clock']} clock, digest {header['digest']}")
        for record in trace:
            if options.domain in (None, names.get(record[1])):
                print(in_words(record, names, hypercalls))
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = None
    except TraceError as error:
        print(error, file=sys.stderr)
        return _USAGE
    except OSError as error:
        print(f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return _USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
