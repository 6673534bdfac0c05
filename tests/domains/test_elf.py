import sys
from pathlib import Path

import pytest
from elf_maker import I386, SHT_NOTE, X86_64, ElfMaker, note, phys32_entry, pvh_kernel
from hypothesis import given
from hypothesis import strategies as st

from domains.elf import Elf, ElfError
from domains.elf_notes import XenNotes

SIZES = pytest.mark.parametrize(("bits", "machine"), [(32, I386), (32, X86_64), (64, X86_64)])


def refused(data):
    with pytest.raises(ElfError) as error:
        Elf(data)
    assert "\n" not in str(error.value)
    return str(error.value)


# Images that can be loaded.


@SIZES
def test_an_image_says_what_goes_where(bits, machine):
    elf = Elf(ElfMaker(bits, machine).load(0x300000, b"data", vaddr=0x80300000).load(0x100000, b"text", 0x1000).bytes())
    assert (elf.bits, elf.machine, elf.entry) == (bits, machine, 0x100000)
    assert [(s.paddr, s.vaddr, s.memsz, bytes(s.data), s.end) for s in elf.segments] == [
        (0x100000, 0x100000, 0x1000, b"text", 0x101000), (0x300000, 0x80300000, 4, b"data", 0x300004)]
    assert (elf.start, elf.end) == (0x100000, 0x300004)


def test_a_segment_of_zeros_alone_is_loaded_and_an_empty_one_is_not():
    elf = Elf(ElfMaker().load(0x1000, b"", 0x5000).load(0x2000, b"").bytes())
    assert [(segment.paddr, segment.memsz) for segment in elf.segments] == [(0x1000, 0x5000)]


def test_segments_may_touch_in_the_middle_of_a_page():
    assert len(Elf(ElfMaker().load(0x1000, b"a" * 0x80).load(0x1080, b"b").bytes()).segments) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs an ELF file that somebody else made")
def test_a_real_program_can_be_read():
    data = Path(sys.executable).resolve().read_bytes()
    if data[18] not in (I386, X86_64):
        pytest.skip("another processor")
    elf = Elf(data)
    assert elf.section(".text") is not None
    assert elf.symbol_at(elf.entry) in (None, "_start")


# Images that cannot.


@pytest.mark.parametrize(("data", "complaint"), [
    (b"", "not an ELF file"), (b"MZ" + bytes(100), "not an ELF file"), (b"\x7fELF", "known class"),
    (b"\x7fELF\x03" + bytes(100), "known class"), (b"\x7fELF\x02\x02" + bytes(100), "little-endian"),
    (b"\x7fELF\x02\x01" + bytes(30), "cut off"), (b"\x7fELF\x01\x01" + bytes(100), "another processor")])
def test_files_of_another_kind_are_named(data, complaint):
    assert complaint in refused(data)


def test_an_object_file_is_no_kernel():
    data = bytearray(pvh_kernel().bytes())
    data[16] = 1
    assert "not an executable (ELF type 1)" in refused(bytes(data))


def test_an_arm_kernel_is_for_another_processor():
    assert "machine 183" in refused(ElfMaker(machine=183).load(0x1000, b"x").bytes())


def test_an_image_without_segments_has_nothing_to_load():
    assert "nothing to load" in refused(ElfMaker().bytes())
    assert "nothing to load" in refused(ElfMaker().notes(phys32_entry(0)).bytes())


@SIZES
def test_overlapping_segments_are_refused(bits, machine):
    maker = ElfMaker(bits, machine).load(0x1000, b"a" * 16, 0x2000).load(0x2FFF, b"b")
    assert refused(maker.bytes()) == "segments overlap: 0x1000-0x3000 and 0x2fff-0x3000"


def test_a_segment_that_wraps_around_is_refused():
    assert "wraps around" in refused(ElfMaker().load((1 << 64) - 4, b"12345").bytes())
    assert "wraps around" in refused(ElfMaker(32, I386).load((1 << 32) - 4, b"12345").bytes())


def test_a_segment_with_more_in_the_file_than_in_memory_is_refused():
    assert "0x5 bytes in the file but 0x4 in memory" in refused(ElfMaker().load(0x1000, b"12345", 4).bytes())


def test_a_file_that_is_cut_off_is_refused():
    data = pvh_kernel().bytes()
    assert "program headers end at byte" in refused(data[:70])
    assert refused(data[:200]).startswith("segment 0 ends at byte 0x114; the file has 0xc8")


# Sections and symbols.


@SIZES
def test_an_address_has_the_name_of_its_function(bits, machine):
    elf = Elf(pvh_kernel(bits, machine).symbols(start=(0x100000, 0x20), loop=(0x100020, 0), tail=(0x100040, 8)).bytes())
    assert [elf.symbol_at(at) for at in (0xFFFFF, 0x100000, 0x10001F, 0x100025, 0x100047, 0x100048)] == [
        None, "start", "start+0x1f", "loop+0x5", "tail+0x7", None]


def test_without_symbols_addresses_have_no_names():
    assert Elf(pvh_kernel().bytes()).symbol_at(0x100000) is None


def test_a_section_table_that_is_cut_off_means_no_sections():
    data = pvh_kernel().symbols(start=(0x100000, 0x20)).bytes()
    assert Elf(data).section(".symtab") is not None
    elf = Elf(data[:-10])
    assert elf.sections == ()
    assert elf.symbol_at(0x100000) is None


# Notes.


@SIZES
def test_notes_are_read_from_the_note_segment(bits, machine):
    maker = ElfMaker(bits, machine).load(0x1000, b"x").notes(
        note(6, b"Mini-OS\0"), phys32_entry(0x100010), note(3, (1 << 63).to_bytes(8, "little")), note(99, b""))
    notes = XenNotes(Elf(maker.bytes()))
    assert notes.source == "PT_NOTE"
    assert notes.names() == ["VIRT_BASE", "GUEST_OS", "PHYS32_ENTRY", "type 99"]
    assert notes.number(18) == 0x100010
    assert notes.number(3) == 1 << 63
    assert notes.string(6) == "Mini-OS"
    assert (notes.number(1), notes.string(1), notes.raw(1)) == (None, None, None)
    assert 18 in notes
    assert 1 not in notes


def test_notes_of_other_owners_do_not_count():
    elf = Elf(ElfMaker().load(0x1000, b"x").notes(note(1, b"abcd", b"GNU\0"), note(18, b"1234", b"NetBSD\0")).bytes())
    assert XenNotes(elf).source == ""


def test_the_last_note_of_a_type_counts():
    elf = Elf(ElfMaker().load(0x1000, b"x").notes(phys32_entry(1), phys32_entry(2)).bytes())
    assert XenNotes(elf).number(18) == 2


def test_without_note_segments_note_sections_count():
    elf = Elf(ElfMaker().load(0x1000, b"x").notes(note(1, b"", b"GNU\0"))
              .section(".note.Xen", SHT_NOTE, phys32_entry(7)).bytes())
    assert (XenNotes(elf).source, XenNotes(elf).number(18)) == ("SHT_NOTE", 7)


def test_the_old_section_counts_where_there_are_no_notes():
    text = b"GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x0,HYPERCALL_PAGE=0x2,BSD_SYMTAB,LOADER=generic\0junk"
    notes = XenNotes(Elf(ElfMaker().load(0x1000, b"x").section("__xen_guest", 1, text).bytes()))
    assert notes.source == "__xen_guest"
    assert notes.legacy == {"GUEST_OS": "Mini-OS", "XEN_VER": "xen-3.0", "VIRT_BASE": "0x0", "HYPERCALL_PAGE": "0x2",
                            "BSD_SYMTAB": "", "LOADER": "generic"}
    assert notes.names() == []


def test_the_last_note_may_run_past_the_end():
    """PV GRUB's 32-bit image is like that."""
    maker = ElfMaker(32, X86_64).load(0x1000, b"x").notes(phys32_entry(5), note(13, b"\1\0\0\0\0\0\0\0", size=16))
    notes = XenNotes(Elf(maker.bytes()))
    assert notes.number(18) == 5
    assert notes.raw(13) == b"\1\0\0\0\0\0\0\0"


def test_a_number_of_a_strange_size_is_0():
    elf = Elf(ElfMaker().load(0x1000, b"x").notes(note(18, b"123")).bytes())
    assert XenNotes(elf).number(18) == 0


# Whatever comes.


def read_all(data):
    """Everything that can be asked of an image; ElfError is the only way to fail."""
    try:
        elf = Elf(data)
    except ElfError:
        return
    notes = XenNotes(elf)
    assert all(segment.end <= 1 << elf.bits and len(segment.data) <= segment.memsz for segment in elf.segments)
    for kind in range(20):
        notes.number(kind)
        notes.string(kind)
    notes.names()
    for address in (0, 0x100000, 0x100020, (1 << 64) - 1):
        elf.symbol_at(address)


IMAGES = [pvh_kernel(bits, machine).section(".note", SHT_NOTE, phys32_entry(1)).symbols(
    start=(0x100000, 0x20), end=(0x100020, 0)).section("__xen_guest", 1, b"A=b,C").bytes()
    for bits, machine in ((32, I386), (64, X86_64))]
interesting = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])


@given(image=st.sampled_from(IMAGES), data=st.data())
def test_an_image_with_wrong_bytes_is_read_or_refused(image, data):
    changed = bytearray(image)
    for _ in range(data.draw(st.integers(1, 12))):
        headers, anywhere, sections = ((0, 0xC0), (0, len(image) - 1), (len(image) - 600, len(image) - 1))
        at = data.draw(st.integers(*headers) | st.integers(*anywhere) | st.integers(*sections))
        changed[at] = data.draw(interesting | st.integers(0, 255))
    read_all(bytes(changed))


@given(image=st.sampled_from(IMAGES), word=st.binary(min_size=8, max_size=8), data=st.data())
def test_an_image_with_a_wild_word_is_read_or_refused(image, word, data):
    at = data.draw(st.integers(0, len(image) - 8))
    read_all(image[:at] + word + image[at + 8:])


@given(image=st.sampled_from(IMAGES), data=st.data())
def test_an_image_that_is_cut_off_is_read_or_refused(image, data):
    read_all(image[:data.draw(st.integers(0, len(image)))])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    read_all(data)
    read_all(IMAGES[0][:20] + data)
    read_all(IMAGES[1][:20] + data)
