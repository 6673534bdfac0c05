"""Which parts of a sparse file hold anything."""

import errno
import os
from collections.abc import Iterator

from abi.types import PAGE_SIZE


def data_pages(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Pages, from and to, of the first `size` bytes of an open file that are no holes of it; the others read as zeros.

    A hole of a shared mapping is filled by reading it, so who looks at much memory looks here first.
    """
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        if start < size:
            yield start // PAGE_SIZE, -(-min(at, size) // PAGE_SIZE)
