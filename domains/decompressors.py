"""Decompressors for kernels, like those of the standard library: one call, a limit, and whether the end was seen."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from struct import unpack_from
from typing import Protocol

import lz4.block
import lz4.frame
import zstandard

from domains.lzo import MAGIC as LZO
from domains.lzo import LzoDecompressor

_PIECE = 1 << 16
_LEGACY_BLOCK = 8 << 20
_LEGACY_BOUND = _LEGACY_BLOCK + _LEGACY_BLOCK // 255 + 16
"""How large a packed block can be."""


class Decompressor(Protocol):
    @property
    def eof(self) -> bool:
        """The end of the packed data was there."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """What is packed in `data`, up to about `max_length` bytes of it.  Raises one of DAMAGE."""


class ZstdDecompressor:
    """One frame, as Linux writes it."""

    def __init__(self) -> None:
        self.eof = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 30).decompressobj()
        output = bytearray()
        for at in range(0, len(data), _PIECE):
            output += decompressor.decompress(data[at:at + _PIECE])
            if decompressor.eof or len(output) > max_length:
                break
        self.eof = decompressor.eof
        return bytes(output)


class LegacyLz4Decompressor:
    """The old format that Linux uses: blocks of up to 8 MiB with their packed sizes, and no end but that of the file.

    Behind the blocks may be the unpacked size, as in a bzImage, or anything that is no size of a block.
    """

    def __init__(self) -> None:
        self.eof = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output, at = bytearray(), 4
        while len(output) <= max_length:
            left = len(data) - at
            size = unpack_from("<I", data, at)[0] if left >= 4 else 0
            if left < 4 or not 0 < size <= _LEGACY_BOUND or (left == 4 and size == len(output)):
                self.eof = bool(output)
                break
            if left - 4 < size:
                break
            output += lz4.block.decompress(data[at + 4:at + 4 + size], uncompressed_size=_LEGACY_BLOCK)
            at += 4 + size
        return bytes(output)


DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, lz4.block.LZ4BlockError, OSError, ValueError, EOFError,
          RuntimeError)
"""What decompressors raise for data that makes no sense."""

DECOMPRESSORS: tuple[tuple[bytes, Callable[[], Decompressor]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
    (b"\x5d\0\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE)),
    (b"\x28\xb5\x2f\xfd", ZstdDecompressor),
    (b"\x02\x21\x4c\x18", LegacyLz4Decompressor),
    (b"\x04\x22\x4d\x18", lz4.frame.LZ4FrameDecompressor),
    (LZO, LzoDecompressor),
)
"""By the bytes that packed data begins with."""
