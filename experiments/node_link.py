"""Round trips of the baton between two nodes, which are two processes of this machine with an arena each.

    python -m experiments.node_link                  a table
    python -m experiments.node_link --count 300      quicker, less exactly
    python -m experiments.node_link --no-ray         without the baseline that takes some seconds to start

At each hand-over whoever has the baton has written to one page of a shared set and to some rows of tables, collects
what the other lacks, and sends it in one message.  The same is done by the link, by nothing but a socket, by asyncio
and by a call of a Ray actor.  docs/many-nodes.md explains what comes out.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from domains.native_cells import cells_factory
from experiments.node_wires import HOST, AsyncioWire, LinkWire, SocketWire, Wire
from experiments.results import load, number
from state.replica import Delta, Replica
from toolstack.link import Endpoint
from toolstack.link_events import Received

PAGE = 4096
ROWS, ROW, CHANGED = 100, 200, 10
"""Rows of tables beside the pages: how many, their bytes, and how many are written to at each hand-over."""
_TABLES = 32 << 20
_BULK, _PIECE = 64, 1 << 20
"""MiB that are moved, and bytes of a message."""
BUSY = 0.5
"""The load of a processor from which on figures mean little."""
COUNT, RUNS, SHARED = 2000, 3, 64
WIRES: dict[str, Callable[[], Wire]] = {
    "the link": lambda: LinkWire(None),
    "the link, sleeping": lambda: LinkWire(0),
    "socket, looking": lambda: SocketWire(100e-6),
    "socket, sleeping": lambda: SocketWire(0),
    "asyncio": AsyncioWire,
}
RAY = "Ray actor call"
_HEADINGS = ("how", "bare", "with the baton", "99 % within", "round trips/s", "a hand-over")


class Group:
    """One node's side of a group: `shared` KiB of pages far apart, and rows of tables."""

    def __init__(self, node: int, shared: int) -> None:
        self._buffer = memoryview(bytearray(64 << 20))
        self._peer, self._pages, self._turn = 1 - node, shared * 1024 // PAGE, 0
        self._replica = Replica(self._buffer, node, holding=node == 0, cells=cells_factory())
        if node == 0:
            for page in range(self._pages):
                self._replica.add(self._page(page), PAGE)
            for row in range(ROWS):
                self._replica.add(self._row(row), ROW)

    def _page(self, page: int) -> int:
        return (37 * page + 100) * PAGE

    def _row(self, row: int) -> int:
        return _TABLES + row * 3001

    def make(self) -> Delta:
        """A guest's turn, and what of it the other lacks."""
        self._turn += 1
        start = self._page(self._turn % self._pages)
        self._buffer[start:start + PAGE] = bytes([self._turn & 255]) * PAGE
        for row in range(CHANGED):
            self._buffer[self._row(row)] = self._turn & 255
        return self._replica.collect(self._peer)

    def take(self, message: Any) -> None:
        """The baton has come."""
        self._replica.apply(Delta.read(message))


@dataclass(frozen=True)
class Row:
    """What one way takes: seconds of a round trip; messages and bytes of a hand-over where they were counted."""

    how: str
    bare: float
    baton: float
    slow: float
    messages: float | None = None
    size: float | None = None


def measure(how: str, count: int, runs: int, shared: int) -> Row:
    """Ping-pong over one of WIRES with another process: the median of the runs."""
    context = multiprocessing.get_context("spawn")
    bare: list[float] = []
    baton: list[float] = []
    slow = []
    counted: tuple[float, float] | None = None
    for _ in range(runs):
        for with_group in (False, True):
            ours, theirs = context.Pipe()
            other = context.Process(target=_other, args=(how, theirs, with_group, shared), daemon=True)
            other.start()
            wire = WIRES[how]()
            wire.connect(ours.recv())
            make, take = _work(0, with_group, shared)
            wire.ping(20, make, take) if not isinstance(wire, AsyncioWire) else None
            before = wire.traffic() if isinstance(wire, LinkWire) else (0, 0)
            times = sorted(wire.ping(count, make, take))
            if isinstance(wire, LinkWire) and with_group:
                after = wire.traffic()
                counted = ((after[0] - before[0]) / count, (after[1] - before[1]) / count)
            wire.close()
            other.join(10)
            (baton if with_group else bare).append(sum(times) / count)
            if with_group:
                slow.append(times[int(0.99 * count)])
    return Row(how, median(bare), median(baton), median(slow), *(counted or ()))


def _other(how: str, pipe: Connection, with_group: bool, shared: int) -> None:
    """Node 1, in a process of its own."""
    wire = WIRES[how]()
    pipe.send(wire.listen())
    wire.accept()
    wire.pong(*_work(1, with_group, shared))


def _work(node: int, with_group: bool, shared: int) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    if with_group:
        group = Group(node, shared)
        return group.make, group.take
    return (lambda: [1]), (lambda message: None)


def measure_bulk(runs: int) -> float:
    """Seconds in which memory goes over the link, of a domain that moves: the median of the runs."""
    context = multiprocessing.get_context("spawn")
    times = []
    for _ in range(runs):
        ours, theirs = context.Pipe()
        other = context.Process(target=_sink, args=(theirs,), daemon=True)
        other.start()
        with Endpoint(0, HOST, bytes(32)) as end:
            end.connect(1, ours.recv())
            end.receive()
            memory, pieces = memoryview(bytearray(_BULK << 20)), (_BULK << 20) // _PIECE
            started = time.perf_counter()
            for piece in range(pieces):
                end.send(1, memory[piece * _PIECE:(piece + 1) * _PIECE], bulk=True)
            end.receive()
            times.append(time.perf_counter() - started)
        other.join(10)
    return median(times)


def _sink(pipe: Connection) -> None:
    """Takes memory into its own, and says when it has all."""
    memory = memoryview(bytearray(_BULK << 20))
    with Endpoint(1, HOST, bytes(32)) as end:
        pipe.send(end.address)
        end.receive()
        for piece in range((_BULK << 20) // _PIECE):
            event = end.receive()
            assert isinstance(event, Received)
            memory[piece * _PIECE:(piece + 1) * _PIECE] = event.message
        end.send(0, "done")
        end.receive()


def table(rows: Sequence[Row]) -> list[str]:
    """Aligned lines with headings."""
    cells = [_HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) if index in (0, 5) else cell.rjust(width)
                       for index, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in cells]
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def _cells(row: Row) -> tuple[str, ...]:
    times = tuple(f"{number(seconds * 1e6)} us" for seconds in (row.bare, row.baton, row.slow))
    carried = ""
    if row.messages is not None and row.size is not None:
        carried = f"{number(row.messages)} messages, {number(row.size)} B"
    return (row.how, *times, number(1 / row.baton), carried)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status: 1 where something could not be measured."""
    arguments = _arguments(argv)
    if load() > BUSY:
        print("node_link: other programs run here: who looks for a message then takes the processor from its sender",
              file=sys.stderr)
    rows = [measure(how, arguments.count, arguments.runs, arguments.shared) for how in WIRES]
    bulk = measure_bulk(arguments.runs)
    if arguments.ray:
        from experiments.node_ray import measure_ray
        from toolstack.errors import HostError

        try:
            rows.append(measure_ray(RAY, max(arguments.count // 5, 1), arguments.shared))
        except HostError as error:
            print(f"node_link: {error}", file=sys.stderr)
            return 1
    print(f"a round trip between two processes; the baton with {arguments.shared} KiB of shared pages and "
          f"{ROWS * ROW / 1024:.0f} KiB of table rows,\none page and {CHANGED} rows changed at each hand-over:\n")
    print("\n".join(table(rows)))
    print(f"\n{_BULK} MiB of memory in messages of {_PIECE >> 20} MiB: {number(bulk * 1e3)} ms, "
          f"{number(_BULK / bulk)} MiB/s")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.node_link", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=_positive, default=COUNT, help="round trips of a run (default: %(default)s)")
    parser.add_argument("--runs", type=_positive, default=RUNS,
                        help="of which the median counts (default: %(default)s)")
    parser.add_argument("--shared", type=_positive, default=SHARED, metavar="KIB",
                        help="shared pages, in KiB, a multiple of 4 (default: %(default)s)")
    parser.add_argument("--no-ray", dest="ray", action="store_false", help="leave out the Ray actor")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
