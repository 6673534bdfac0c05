"""Getting at the ELF image in what users call a kernel: a plain ELF file, a compressed one, or a Linux bzImage."""

from struct import unpack_from

from domains.decompressors import DAMAGE, DECOMPRESSORS
from domains.elf import ImageError

MOST = 1 << 30
"""Bytes of an unpacked image; a small file can hold a much larger one."""
_BOOT_FLAG, _HEADER, _VERSION = 0x1FE, 0x202, 0x206
_SETUP_SECTS, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 0x1F1, 0x248, 0x24C
_FIRST_WITH_PAYLOAD = 0x0208
_SECTOR = 512
_NESTED = 3


def elf_image(data: bytes) -> bytes:
    """The ELF file in `data`.  Raises ImageError where there is none, or where it is packed in a way unknown here."""
    for _ in range(_NESTED):
        if data.startswith(b"\x7fELF"):
            return data
        payload = _bzimage_payload(data)
        unpacked = _unpacked(payload if payload is not None else data)
        if unpacked is None:
            raise ImageError("not a kernel: expected an ELF file, a compressed one, or a Linux bzImage"
                             if payload is None else "a bzImage without an ELF image inside")
        data = unpacked
    raise ImageError(f"not a kernel: compressed more than {_NESTED} times")


HEAD = 0x206
"""Bytes of a file that `may_be_kernel` has to see."""


def may_be_kernel(head: bytes) -> bool:
    """Whether a file that begins with `head` is worth giving to `elf_image`, which then says what is wrong with it."""
    return head.startswith((b"\x7fELF", *(magic for magic, _ in DECOMPRESSORS))) or head[_HEADER:_HEADER + 4] == b"HdrS"


def _bzimage_payload(data: bytes) -> bytes | None:
    """The compressed kernel in a bzImage (Linux's x86 boot protocol), None where `data` is no bzImage."""
    if len(data) < _PAYLOAD_LENGTH + 4 or data[_BOOT_FLAG:_BOOT_FLAG + 2] != b"\x55\xaa" \
            or data[_HEADER:_HEADER + 4] != b"HdrS":
        return None
    version, = unpack_from("<H", data, _VERSION)
    if version < _FIRST_WITH_PAYLOAD:
        raise ImageError(f"a bzImage of boot protocol {version >> 8}.{version & 0xFF:02}, too old to hold an ELF image")
    offset, length = unpack_from("<II", data, _PAYLOAD_OFFSET)
    start = ((data[_SETUP_SECTS] or 4) + 1) * _SECTOR + offset
    if not length or start + length > len(data):
        raise ImageError("a bzImage whose payload is not within the file")
    return data[start:start + length]


def _unpacked(data: bytes) -> bytes | None:
    """`data` decompressed, or as it is where it is ELF; None where it is neither."""
    if data.startswith(b"\x7fELF"):
        return data
    for magic, make in DECOMPRESSORS:
        if data.startswith(magic):
            decompressor = make()
            try:
                unpacked = decompressor.decompress(data, MOST + 1)
            except DAMAGE as error:
                raise ImageError(f"a compressed kernel that is damaged: {error}") from None
            if len(unpacked) > MOST:
                raise ImageError(f"a compressed kernel of more than {MOST >> 20} MiB")
            if not decompressor.eof:
                raise ImageError("a compressed kernel that is cut off")
            return unpacked
    return None
