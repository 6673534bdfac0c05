"""Unpacking lzop files, which is what a kernel compressed with LZO is.

There is no library on PyPI that comes ready for all hosts, hence the few lines of LZO1X here.  A stream is a row of
instructions, each a copy of bytes from the output (a match) and up to three bytes of new text (literals); what an
instruction byte below 16 means depends on the literals before it (Documentation/staging/lzo.rst of Linux).
"""

from struct import error as StructError  # noqa: N812
from struct import unpack_from

MAGIC = b"\x89LZO\0\r\n\x1a\n"
_WITH_FILTER, _WITH_EXTRA = 0x800, 0x40
_CHECKED_UNPACKED, _CHECKED_PACKED = (0x1, 0x100), (0x2, 0x200)
_NEWER = 0x940
_START, _MANY = 0, 4
"""States: before the first literal of a run; after a run of four or more.  1 to 3 are so many literals."""


class LzoDecompressor:
    """As those of the standard library; what comes after the end of the file is not looked at."""

    def __init__(self) -> None:
        self.eof = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The content of an lzop file, or its first blocks where they pass `max_length`.  Raises ValueError."""
        output = bytearray()
        try:
            at, flags = _header(data)
            checks = sum(bool(flags & bit) for bit in _CHECKED_UNPACKED)
            packed_checks = sum(bool(flags & bit) for bit in _CHECKED_PACKED)
            while len(output) <= max_length:
                size, = unpack_from(">I", data, at)
                if not size:
                    self.eof = True
                    break
                packed, = unpack_from(">I", data, at + 4)
                at += 8 + 4 * (checks + (packed_checks if packed < size else 0))
                block = data[at:at + packed]
                if len(block) < packed:
                    break
                unpacked = lzo1x(block, size) if packed < size else block
                if len(unpacked) != size:
                    raise ValueError(f"a block of {size} bytes has {len(unpacked)}")
                output += unpacked
                at += packed
        except IndexError:
            raise ValueError("the LZO data ends too early") from None
        except StructError:
            pass  # the file ends here
        return bytes(output)


def _header(data: bytes) -> tuple[int, int]:
    """Where the blocks begin, and the file's flags."""
    version, = unpack_from(">H", data, 9)
    at = 9 + 4 + (2 if version >= _NEWER else 0) + 1 + (1 if version >= _NEWER else 0)
    flags, = unpack_from(">I", data, at)
    at += 4 + (4 if flags & _WITH_FILTER else 0) + 8 + (4 if version >= _NEWER else 0)
    at += 1 + data[at] + 4
    if flags & _WITH_EXTRA:
        extra, = unpack_from(">I", data, at)
        at += 4 + extra + 4
    return at, flags


def lzo1x(data: bytes, size: int) -> bytes:
    """One LZO1X stream that unpacks to at most `size` bytes.  Raises ValueError, IndexError."""
    output = bytearray()
    at, state = 0, _START
    if data[0] > 17:
        count = data[0] - 17
        output += data[1:1 + count]
        at, state = 1 + count, min(count, _MANY)
    while True:
        code = data[at]
        at += 1
        if code >= 64:
            literals, distance, length = code & 3, (code >> 2 & 7) + (data[at] << 3) + 1, (code >> 5) + 1
            at += 1
        elif code >= 16:
            mask = 31 if code >= 32 else 7
            length = code & mask
            if not length:
                at, length = _long(data, at, mask)
            word = data[at] | data[at + 1] << 8
            at += 2
            literals, distance = word & 3, (word >> 2) + 1
            if code < 32:
                distance += 0x3FFF + ((code & 8) << 11)
                if distance == 0x4000:
                    return bytes(output)
            length += 2
        elif state == _START:
            length = code
            if not length:
                at, length = _long(data, at, 15)
            output += data[at:at + length + 3]
            at, state = at + length + 3, _MANY
            continue
        else:
            literals, distance = code & 3, (code >> 2) + (data[at] << 2) + 1
            length = 2
            if state == _MANY:
                distance, length = distance + 0x800, 3
            at += 1
        start = len(output) - distance
        if start < 0 or len(output) + length > size:
            raise ValueError("the LZO data points outside of what it unpacks to")
        if distance >= length:
            output += output[start:start + length]
        else:
            output += (output[start:] * (length // distance + 1))[:length]
        output += data[at:at + literals]
        at, state = at + literals, literals


def _long(data: bytes, at: int, base: int) -> tuple[int, int]:
    """A length that did not fit into its instruction: zero bytes count 255 each, the byte after them ends it."""
    length = base
    while not data[at]:
        length += 255
        at += 1
    return at + 1, length + data[at]
