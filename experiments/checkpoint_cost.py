"""Measures what a checkpoint costs in host time and on disk, and how fast changed pages are found.

    python -m experiments.checkpoint_cost [MIB...]    domains with that much memory in use (default: 16 64 256)
"""

import argparse
import mmap
import os
import sys
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from abi.types import PAGE_SIZE
from state.dirty_scan import DirtyScan
from toolstack.memory_image import read_image, write_image
from toolstack.session import memory_file

_CHANGED = 16
_RUNS = 3


class Cost(NamedTuple):
    """Of one amount of memory in use; seconds, and bytes on disk."""

    mebibytes: int
    write: float
    size: int
    read: float
    scan: float
    """Finding the few pages that changed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.checkpoint_cost",
                                     description="What a checkpoint costs in host time and on disk.")
    parser.add_argument("mebibytes", nargs="*", type=int, metavar="MIB", help="memory in use (16 64 256)")
    print("in use     write  on disk      read  changed pages found in")
    for mebibytes in parser.parse_args(argv).mebibytes or [16, 64, 256]:
        cost = measure(mebibytes)
        print(f"{cost.mebibytes:4} MiB {cost.write * 1e3:6.0f} ms {cost.size / 2**20:4.0f} MiB "
              f"{cost.read * 1e3:6.0f} ms {cost.scan * 1e3:6.1f} ms")
    return 0


def measure(mebibytes: int) -> Cost:
    """Memory that is full of what guests' memory is full of: half of it programs, the rest tables and zeros."""
    size = mebibytes << 20
    with memory_file("cost", 2 * size) as descriptor:
        memory = mmap.mmap(descriptor, 2 * size)  # half of it is never touched
        view = memoryview(memory)
        fill(numpy.frombuffer(view[:size], numpy.uint8))
        file = BytesIO()
        write, facts = _best(lambda: _written(file, descriptor, view))
        target = memoryview(bytearray(2 * size))
        started = time.perf_counter()
        read_image(file, facts, target)
        read = time.perf_counter() - started
        scan = DirtyScan(view, [(0, 2 * size)], descriptor)
        scan.scan()

        def change() -> int:
            for page in range(0, size // PAGE_SIZE, size // PAGE_SIZE // _CHANGED):
                memory[page * PAGE_SIZE] ^= 1
            return len(scan.scan())

        found_in, _ = _best(change)
        return Cost(mebibytes, write, facts.size, read, found_in)


def fill(memory: Any) -> None:
    """Half of it is this Python's own binary, a quarter page tables, an eighth noise, the rest stays zero."""
    program = numpy.frombuffer(Path(sys.executable).resolve().read_bytes(), numpy.uint8)
    half, quarter = len(memory) // 2, len(memory) // 4
    for at in range(0, half, len(program)):
        end = min(at + len(program), half)
        memory[at:end] = program[:end - at]
    entries = numpy.arange(quarter // 8, dtype=numpy.uint64) * numpy.uint64(PAGE_SIZE) + numpy.uint64(0x67)
    memory[half:half + quarter] = entries.view(numpy.uint8)
    memory[half + quarter:half + quarter + quarter // 2] = numpy.frombuffer(os.urandom(quarter // 2), numpy.uint8)


def _written(file: BytesIO, descriptor: int, view: memoryview) -> Any:
    file.seek(0)
    file.truncate()
    return write_image(file, descriptor, view)


def _best(action: Any) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(_RUNS):
        started = time.perf_counter()
        result = action()
        best = min(best, time.perf_counter() - started)
    return best, result


if __name__ == "__main__":
    sys.exit(main())
