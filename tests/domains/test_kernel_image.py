import bz2
import gzip
import lzma
from struct import pack_into

import lz4.block
import lz4.frame
import pytest
import zstandard
from elf_maker import pvh_kernel
from hypothesis import given
from hypothesis import strategies as st

from domains import kernel_image
from domains.elf import ImageError
from domains.kernel_image import elf_image

KERNEL = pvh_kernel().bytes()


def old_lz4(data):
    """As `lz4 -l`, with blocks of 1 KiB."""
    packed = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), 1024):
        block = lz4.block.compress(data[at:at + 1024], store_size=False)
        packed += len(block).to_bytes(4, "little") + block
    return packed


PACKERS = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE), "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4.frame.compress, "old lz4": old_lz4}


def bzimage(payload, version=0x020F, sectors=3):
    """A Linux bzImage around `payload`."""
    image = bytearray(0x1000)
    image[0x1F1] = sectors
    image[0x1FE:0x200], image[0x202:0x206] = b"\x55\xaa", b"HdrS"
    pack_into("<H", image, 0x206, version)
    pack_into("<II", image, 0x248, 0x1000 - (sectors + 1) * 512, len(payload))
    return bytes(image) + payload


def refused(data):
    with pytest.raises(ImageError) as error:
        elf_image(data)
    return str(error.value)


def test_a_plain_image_is_taken_as_it_is():
    assert elf_image(KERNEL) == KERNEL


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_compressed_images_are_unpacked(pack):
    assert elf_image(pack(KERNEL)) == KERNEL
    assert elf_image(pack(KERNEL) + b"padding") == KERNEL


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_bzimage_has_an_elf_image_inside(pack):
    payload = pack(KERNEL) + len(KERNEL).to_bytes(4, "little")  # Linux appends the size
    assert elf_image(bzimage(payload)) == KERNEL
    assert elf_image(bzimage(KERNEL)) == KERNEL
    assert elf_image(gzip.compress(bzimage(payload))) == KERNEL


def test_what_is_no_kernel_is_said():
    assert "expected an ELF file, a compressed one, or a Linux bzImage" in refused(b"#!/bin/sh\n")
    assert "expected an ELF file" in refused(b"")
    assert "expected an ELF file" in refused(gzip.compress(b"text"))
    assert "without an ELF image inside" in refused(bzimage(b"\0" * 64))


def test_a_bzimage_that_lies_about_its_payload_is_refused():
    image = bytearray(bzimage(gzip.compress(KERNEL)))
    pack_into("<I", image, 0x24C, 0xFFFFFFFF)
    assert "payload is not within the file" in refused(bytes(image))


def test_an_old_bzimage_is_refused():
    assert "boot protocol 2.07" in refused(bzimage(gzip.compress(KERNEL), version=0x0207))


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_damage_is_noticed(pack):
    packed = pack(KERNEL)
    assert "cut off" in refused(packed[:-8])
    damaged = bytearray(packed)
    damaged[len(packed) // 2:] = b"\xaa" * (len(packed) - len(packed) // 2)
    refused(bytes(damaged))


def test_a_small_file_that_holds_a_huge_one_is_refused(monkeypatch):
    monkeypatch.setattr(kernel_image, "MOST", 1 << 20)
    assert "more than 1 MiB" in refused(gzip.compress(bytes(2 << 20)))


def test_packed_again_and_again_is_refused():
    data = KERNEL
    for _ in range(5):
        data = gzip.compress(data)
    assert "compressed more than 3 times" in refused(data)


@given(pack=st.sampled_from(list(PACKERS.values())), data=st.data())
def test_any_damage_is_an_image_error_or_another_image(pack, data):
    packed = bytearray(pack(KERNEL))
    for _ in range(data.draw(st.integers(1, 5))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        elf_image(bytes(packed))
    except ImageError:
        return
