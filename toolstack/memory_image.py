"""A host's shared bytes as a file: what is not zero, compressed, and nothing of the rest.

The file is a row of pieces.  A piece stands for CHUNK bytes of memory: its number (u64), a bitmap of the pages that are
there (32 bytes), the length of what follows (u32), and these pages, as a zstd frame.  Memory that was never touched is
not read either, for a sparse file says where that is.
"""

import hashlib
from collections.abc import Iterator
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

import numpy
import zstandard

from abi.types import PAGE_SIZE
from state.sparse import data_pages

CHUNK = 1 << 20
"""Bytes that are compressed together."""
_PAGES = CHUNK // PAGE_SIZE
_HEAD = Struct(f"<Q{_PAGES // 8}sI")
_LEVEL = 1
"""Of zstd: the others take longer than what they save."""


class ImageError(Exception):
    """A file that is no image of this memory.  One line."""


class Facts(NamedTuple):
    """About an image: bytes of memory in it, bytes of the file, SHA-256 of the file."""

    content: int
    size: int
    sha256: bytes


def write_image(target: BinaryIO, descriptor: int, memory: memoryview) -> Facts:
    """Write `memory`, which maps the start of the open file `descriptor`.  Raises OSError."""
    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    sha256, content, size = hashlib.sha256(), 0, 0
    for number, spans in _chunks(descriptor, len(memory)):
        piece = memory[number * CHUNK:(number + 1) * CHUNK]
        pages: Any = numpy.frombuffer(piece, numpy.uint64).reshape(-1, PAGE_SIZE // 8)
        there = numpy.zeros(len(pages), bool)
        for start, end in spans:
            there[start:end] = pages[start:end].any(axis=1)
        if not there.any():
            continue
        kept = piece if there.all() else pages[there].tobytes()
        packed = compress(kept)
        bitmap = numpy.packbits(there, bitorder="little").tobytes().ljust(_PAGES // 8, b"\0")
        for part in (_HEAD.pack(number, bitmap, len(packed)), packed):
            target.write(part)
            sha256.update(part)
            size += len(part)
        content += len(kept)
    return Facts(content, size, sha256.digest())


def read_image(source: BinaryIO, facts: Facts, memory: memoryview) -> None:
    """Fill `memory`, which is all zero, from an image.  Raises ImageError, OSError."""
    source.seek(0)
    if _sha256(source) != (facts.sha256, facts.size):
        raise ImageError("it is damaged or cut off")
    decompress = zstandard.ZstdDecompressor().decompress
    source.seek(0)
    while head := source.read(_HEAD.size):
        number, bitmap, length = _HEAD.unpack(head)
        piece = memory[number * CHUNK:(number + 1) * CHUNK]
        there = numpy.unpackbits(numpy.frombuffer(bitmap, numpy.uint8), bitorder="little")[:len(piece) // PAGE_SIZE]
        data = decompress(source.read(length), max_output_size=CHUNK)
        if len(data) != int(there.sum()) * PAGE_SIZE:
            raise ImageError("it is an image of another memory")
        pages: Any = numpy.frombuffer(piece, numpy.uint64).reshape(-1, PAGE_SIZE // 8)
        pages[there.astype(bool)] = numpy.frombuffer(data, numpy.uint64).reshape(-1, PAGE_SIZE // 8)


def _sha256(source: BinaryIO) -> tuple[bytes, int]:
    sha256, size = hashlib.sha256(), 0
    while data := source.read(CHUNK):
        sha256.update(data)
        size += len(data)
    return sha256.digest(), size


def _chunks(descriptor: int, size: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The chunks that may hold anything, each with the spans of its pages in which that is."""
    number, spans = 0, list[tuple[int, int]]()
    for start, end in data_pages(descriptor, size):
        while start < end:
            if start // _PAGES != number and spans:
                yield number, spans
                spans = []
            number = start // _PAGES
            until = min(end, (number + 1) * _PAGES)
            spans.append((start - number * _PAGES, until - number * _PAGES))
            start = until
    if spans:
        yield number, spans
