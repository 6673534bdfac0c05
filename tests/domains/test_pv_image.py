import gzip
from struct import pack, unpack_from

import pytest
from elf_maker import I386, X86_64, ElfMaker, note, phys32_entry
from hypothesis import given
from hypothesis import strategies as st
from real_images import grub

from abi.elfnote import Elfnote
from abi.features import Feature
from domains.elf import ImageError
from domains.pv_image import Features, c_number, parse_features, pv_image

BASE = 0xFFFFFFFF80000000
NEEDED = (note(Elfnote.XEN_VERSION, b"xen-3.0\0"), note(Elfnote.LOADER, b"generic\0"))
PAE = note(Elfnote.PAE_MODE, b"yes\0")


def number(kind, value, size=8):
    return note(kind, value.to_bytes(size, "little"))


def kernel(*notes, paddr=0x100000, memsz=0x3000, bits=64, machine=X86_64):
    return ElfMaker(bits, machine).load(paddr, b"\xf4" * 100, memsz).notes(*NEEDED, *notes)


def image(*notes, **options):
    return pv_image(kernel(*notes, **options).bytes())


def legacy(text, paddr=0, bits=64, machine=X86_64):
    maker = ElfMaker(bits, machine).load(paddr, b"\xf4" * 100, 0x200000)
    return maker.section("__xen_guest", 1, text + b"\0")


def refused(data):
    with pytest.raises(ImageError) as error:
        pv_image(data)
    return str(error.value)


# -- notes


def test_without_entry_base_or_p2m_everything_is_at_its_physical_address():
    found = image(paddr=0x100000)
    assert (found.entry, found.virt_base, found.start, found.end) == (0x100000, 0, 0x100000, 0x103000)
    assert (found.hypercall_page, found.p2m_base, found.symtab) == (None, None, None)
    assert not found.unmapped_ramdisk


def test_a_kernel_appears_at_its_virtual_base():
    found = image(number(Elfnote.VIRT_BASE, BASE), number(Elfnote.ENTRY, BASE + 0x100010),
                  number(Elfnote.HYPERCALL_PAGE, BASE + 0x102000), number(Elfnote.INIT_P2M, 0x8000000000),
                  number(Elfnote.MOD_START_PFN, 1))
    assert (found.virt_base, found.start, found.end) == (BASE, BASE + 0x100000, BASE + 0x103000)
    assert (found.entry, found.hypercall_page, found.p2m_base) == (BASE + 0x100010, BASE + 0x102000, 0x8000000000)
    assert found.unmapped_ramdisk
    assert [at for at, _ in found.pieces()] == [BASE + 0x100000]


def test_paddr_offset_is_taken_from_the_addresses_of_the_headers():
    found = image(number(Elfnote.VIRT_BASE, 0xC0000000), number(Elfnote.PADDR_OFFSET, 0xC0000000),
                  number(Elfnote.ENTRY, 0xC0100000), paddr=0xC0100000)
    assert (found.start, found.entry) == (0xC0100000, 0xC0100000)
    assert [at for at, _ in found.pieces()] == [0xC0100000]


def test_a_note_of_another_owner_says_nothing():
    foreign = note(Elfnote.VIRT_BASE, pack("<Q", BASE), owner=b"GNU\0")
    assert image(foreign).virt_base == 0


def test_the_section_counts_where_only_others_have_notes():
    maker = legacy(b"LOADER=generic,XEN_VER=xen-3.0,VIRT_BASE=0x400000,VIRT_ENTRY=0x400000", 0x400000)
    assert pv_image(maker.notes(note(3, pack("<I", 5), owner=b"GNU\0")).bytes()).virt_base == 0x400000


def test_the_last_note_may_run_past_the_end_of_the_file():
    found = image(PAE, note(Elfnote.VIRT_BASE, bytes(4), size=12), bits=32, machine=I386)
    assert found.virt_base == 0


@pytest.mark.parametrize(("mode", "extended"), [(b"yes", True), (b"yes,bimodal", True), (b"bimodal", True)])
def test_pae_mode_of_a_note(mode, extended):
    found = image(note(Elfnote.PAE_MODE, mode + b"\0"), bits=32, machine=I386)
    assert found.width == 32
    assert found.extended_cr3 == extended


@pytest.mark.parametrize("mode", [b"no", b""])
def test_a_32_bit_kernel_without_pae_is_refused(mode):
    assert "without PAE" in refused(kernel(note(Elfnote.PAE_MODE, mode + b"\0"), bits=32, machine=I386).bytes())


@pytest.mark.parametrize(("p2m", "kept"), [(0x8000000000, True), (0x8000000800, False), (BASE + (1 << 30), False)])
def test_a_p2m_goes_elsewhere_only_below_the_base_and_on_a_page(p2m, kept):
    found = image(number(Elfnote.VIRT_BASE, BASE), number(Elfnote.ENTRY, BASE + 0x100000),
                  number(Elfnote.INIT_P2M, p2m))
    assert found.p2m_base == (p2m if kept else None)


def test_the_features_of_both_notes_are_joined():
    found = image(note(Elfnote.FEATURES, b"!writable_page_tables|pae_pgdir_above_4gb\0"),
                  number(Elfnote.SUPPORTED_FEATURES, 1 << Feature.hvm_callback_vector, 4))
    assert found.features.required == 1 << Feature.writable_page_tables
    assert found.features.supported == (1 << Feature.writable_page_tables | 1 << Feature.pae_pgdir_above_4gb
                                        | 1 << Feature.hvm_callback_vector)


def test_unknown_features_matter_only_where_they_are_required():
    assert parse_features("warp_drive|dom0") == Features(1 << Feature.dom0, 0)
    with pytest.raises(ImageError, match="warp_drive"):
        parse_features("dom0|!warp_drive")


# -- the section


def test_the_section_of_mini_os():
    found = pv_image(legacy(b"GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,HYPERCALL_PAGE=0x2,"
                            b"LOADER=generic").bytes().replace(pack("<Q", 0x100000), bytes(8), 1))
    assert (found.virt_base, found.entry, found.hypercall_page) == (0, 0, 0x2000)


def test_addresses_of_a_section_s_time_are_virtual():
    found = pv_image(legacy(b"LOADER=generic,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,VIRT_ENTRY=0xC0100000,"
                            b"HYPERCALL_PAGE=0x104,PAE=yes,BSD_SYMTAB", 0xC0100000, 32, I386).bytes())
    assert (found.start, found.entry, found.hypercall_page) == (0xC0100000, 0xC0100000, 0xC0104000)
    assert not found.extended_cr3


@pytest.mark.parametrize(("text", "value"), [
    ("0x2f", 0x2F), ("017", 15), ("12", 12), ("0x10zz", 16), ("", 0), ("page", 0), ("08", 0), (" 5", 5),
    ("99999999999999999999999", (1 << 64) - 1)])
def test_numbers_are_read_as_c_reads_them(text, value):
    assert c_number(text) == value


# -- what is refused


def test_an_image_says_that_it_is_for_xen():
    assert "neither Xen's ELF notes nor" in refused(ElfMaker().load(0, b"x").bytes())
    assert "not made for this loader" in refused(ElfMaker().load(0, b"x").notes(NEEDED[0]).bytes())
    assert "xen-2.0" in refused(ElfMaker().load(0, b"x").notes(NEEDED[1], note(5, b"xen-2.0\0")).bytes())
    assert "a PVH kernel" in refused(ElfMaker().load(0, b"x").notes(phys32_entry(0)).bytes())


def test_linux_needs_no_generic_loader():
    maker = ElfMaker().load(0x100000, b"x").notes(NEEDED[0], note(Elfnote.GUEST_OS, b"linux\0"))
    assert pv_image(maker.bytes()).entry == 0x100000


@pytest.mark.parametrize("notes", [
    [number(Elfnote.PADDR_OFFSET, 0)], [number(Elfnote.ENTRY, 0x200000)], [number(Elfnote.VIRT_BASE, BASE)],
    [number(Elfnote.INIT_P2M, 0x101000)]])
def test_addresses_that_make_no_sense_are_refused(notes):
    assert refused(kernel(*notes).bytes())


def test_a_compressed_kernel_is_unpacked():
    assert pv_image(gzip.compress(kernel().bytes())).entry == 0x100000


@given(st.data())
def test_damage_is_never_worse_than_a_refusal(data):
    good = bytearray(kernel(number(Elfnote.VIRT_BASE, 0), PAE).symbols(main=(0x100000, 4)).bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = pv_image(bytes(good))
    except ImageError:
        return
    assert found.virt_base <= found.start <= found.entry <= found.end


# -- the symbol table


@pytest.mark.parametrize(("bits", "machine", "header", "section"), [(32, I386, 52, 40), (64, X86_64, 64, 64)])
def test_the_symbol_table_is_loaded_as_an_elf_file_behind_the_kernel(bits, machine, header, section):
    maker = kernel(PAE, note(Elfnote.BSD_SYMTAB, b"yes\0"), memsz=0x3001, bits=bits, machine=machine)
    found = pv_image(maker.symbols(main=(0x100000, 4), exit=(0x100010, 8)).bytes())
    word = bits // 8
    at, data = list(found.pieces())[-1]
    assert at == 0x103000 + word
    size, = unpack_from("<I", data)
    assert size == len(data) - 4
    assert found.end % word == 0
    assert 0 <= found.end - at - len(data) < word
    elf = bytes(data[4:])
    assert elf[:4] == b"\x7fELF"
    shoff, = unpack_from("<I" if bits == 32 else "<Q", elf, 0x20 if bits == 32 else 0x28)
    assert shoff == header
    assert unpack_from("<HHHHH", elf, header - 10) == (0, 0, section, 3, 0)
    shape = "<10I" if bits == 32 else "<IIQQQQIIQQ"
    empty, symbols, strings = (unpack_from(shape, elf, header + section * index) for index in range(3))
    assert not any(empty)
    assert (symbols[1], symbols[6], symbols[9]) == (2, 2, 16 if bits == 32 else 24)
    assert (symbols[4] + 4) % word == (strings[4] + 4) % word == 0
    table = elf[symbols[4]:symbols[4] + symbols[5]]
    names = elf[strings[4]:strings[4] + strings[5]]
    assert len(table) == 2 * symbols[9]
    assert names == b"\0main\0exit\0"


def test_a_kernel_without_symbols_gets_none():
    assert image(note(Elfnote.BSD_SYMTAB, b"yes\0")).symtab is None
    assert pv_image(kernel().symbols(main=(0x100000, 4)).bytes()).symtab is None


# -- other people's


@pytest.mark.parametrize("width", [64, 32])
def test_pv_grub(width):
    found = pv_image(grub(width))
    assert (found.width, found.entry, found.virt_base, found.start) == (width, 0, 0, 0)
    assert found.end == found.elf.end
    second = found.elf.segments[1]
    assert second.paddr & 0xFFF
    assert found.extended_cr3 == (width == 32)
