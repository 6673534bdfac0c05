import gzip

import pytest
from elf_maker import I386, X86_64, ElfMaker, note, phys32_entry, pvh_kernel
from hypothesis import given
from hypothesis import strategies as st

from abi.start_info import HVM_MEMMAP_TABLE_ENTRY, HVM_MODLIST_ENTRY, HVM_START_INFO, MemmapType
from domains.elf import ImageError
from domains.pvh import Module, Region, build_pvh

MIB = 1 << 20
INFO, MODULE, ENTRY = HVM_START_INFO.at(64), HVM_MODLIST_ENTRY.at(64), HVM_MEMMAP_TABLE_ENTRY.at(64)


def ram(*pieces):
    return [Region(start, size, MemmapType.RAM) for start, size in pieces]


class Memory:
    """Guest memory that says no to what is not RAM, and to anything written twice."""

    def __init__(self, memory_map):
        self.map = memory_map
        self.bytes = bytearray(max(region.end for region in memory_map))
        self.written = []

    def write(self, at, data):
        if len(data) == 0:
            return
        assert any(r.type == MemmapType.RAM and r.start <= at and at + len(data) <= r.end for r in self.map)
        assert all(at + len(data) <= start or end <= at for start, end in self.written)
        self.written.append((at, at + len(data)))
        self.bytes[at:at + len(data)] = data

    def named(self, shape, at):
        return shape.named(bytes(self.bytes[at:at + shape.size]))

    def string(self, at):
        return bytes(self.bytes[at:self.bytes.index(0, at)]).decode()


def build(kernel=None, memory_map=None, **options):
    memory = Memory(memory_map or ram((0, 4 * MIB)))
    image = build_pvh(kernel or pvh_kernel().bytes(), memory.map, memory.write, **options)
    return memory, image


def refused(kernel=None, memory_map=None, **options):
    memory_map = memory_map or ram((0, 4 * MIB))
    writes = []
    with pytest.raises(ImageError) as error:
        build_pvh(kernel or pvh_kernel().bytes(), memory_map, lambda at, data: writes.append(at), **options)
    assert not writes
    return str(error.value)


@pytest.mark.parametrize(("bits", "machine"), [(32, I386), (32, X86_64), (64, X86_64)])
def test_a_kernel_is_loaded_and_finds_its_start_info(bits, machine):
    memory, image = build(pvh_kernel(bits, machine).bytes())
    assert memory.bytes[0x100000:0x100064] == b"\xf4" * 100
    assert image.start.eip == 0x100010
    assert image.start.ebx == 0x102000
    info = memory.named(INFO, image.start.ebx)
    assert (info.magic, info.version, info.flags, info.nr_modules) == (0x336EC578, 1, 0, 0)
    assert (info.modlist_paddr, info.cmdline_paddr, info.rsdp_paddr) == (0, 0, 0)
    assert image.end == 0x103000


def test_the_guest_is_told_its_memory():
    memory_map = [*ram((0, 0xA0000)), Region(0xF0000, 0x10000, MemmapType.RESERVED), *ram((MIB, 3 * MIB))]
    memory, image = build(memory_map=memory_map)
    info = memory.named(INFO, image.start.ebx)
    entries = [memory.named(ENTRY, info.memmap_paddr + ENTRY.size * index) for index in range(info.memmap_entries)]
    assert [(entry.addr, entry.size, entry.type, entry.reserved) for entry in entries] == [
        (0, 0xA0000, 1, 0), (0xF0000, 0x10000, 2, 0), (MIB, 3 * MIB, 1, 0)]


def test_a_command_line_ends_in_a_zero():
    memory, image = build(cmdline="console=hvc0 café")
    assert memory.string(memory.named(INFO, image.start.ebx).cmdline_paddr) == "console=hvc0 cafÃ©".encode(
        "latin-1").decode()


def test_modules_lie_on_pages_with_their_command_lines():
    memory, image = build(modules=[Module(b"r" * 5000, "initrd"), Module(b"second")], cmdline="quiet")
    info = memory.named(INFO, image.start.ebx)
    first, second = (memory.named(MODULE, info.modlist_paddr + MODULE.size * index) for index in range(info.nr_modules))
    assert (first.paddr, first.size, second.paddr, second.size) == (0x102000, 5000, 0x104000, 6)
    assert memory.bytes[first.paddr:first.paddr + 5000] == b"r" * 5000
    assert memory.bytes[second.paddr:second.paddr + 6] == b"second"
    assert memory.string(first.cmdline_paddr) == "initrd"
    assert second.cmdline_paddr == 0
    assert memory.string(info.cmdline_paddr) == "quiet"
    assert image.start.ebx == 0x105000


def test_flags_and_acpi_are_passed_on():
    memory, image = build(rsdp=0xFC000000, flags=3)
    info = memory.named(INFO, image.start.ebx)
    assert (info.rsdp_paddr, info.flags) == (0xFC000000, 3)


def test_compressed_kernels_boot_too():
    _, image = build(gzip.compress(pvh_kernel().bytes()))
    assert image.start.eip == 0x100010


def test_things_go_over_a_hole_where_they_do_not_fit_before_it():
    memory_map = [*ram((0, 0x103000), (2 * MIB, MIB)), Region(0x103000, 0x1000, MemmapType.RESERVED)]
    _, image = build(memory_map=memory_map, modules=[Module(b"x" * 0x2000)])
    assert image.start.ebx == 2 * MIB + 0x2000


# Kernels that cannot boot.


def test_a_kernel_without_the_note_is_told_which_it_has():
    pv = ElfMaker().load(0x100000, b"x").notes(note(1, bytes(8)), note(3, bytes(8)))
    assert refused(pv.bytes()) == "not a PVH kernel: no ELF note PHYS32_ENTRY (its Xen notes are ENTRY, VIRT_BASE)"
    assert "it has no Xen notes at all" in refused(ElfMaker().load(0x100000, b"x").bytes())
    old = ElfMaker().load(0x100000, b"x").section("__xen_guest", 1, b"XEN_VER=xen-3.0")
    assert "an old PV kernel: it has a __xen_guest section" in refused(old.bytes())


def test_an_entry_point_outside_the_kernel_is_refused():
    maker = ElfMaker().load(0x100000, b"x").notes(phys32_entry(0x200000))
    assert "entry point 0x200000 of its PHYS32_ENTRY note lies in nothing" in refused(maker.bytes())


def test_what_is_no_elf_file_is_refused():
    assert "not a kernel" in refused(b"hello")


def test_too_little_memory_says_how_much_is_needed():
    assert refused(memory_map=ram((0, MIB))) == (
        "the kernel's segment 0x100000-0x102000 does not fit: needs 2 MiB of memory, the domain has 1")
    assert refused(modules=[Module(bytes(8 * MIB))]) == (
        "module 0 does not fit: needs 10 MiB of memory, the domain has 4")
    assert "needs 2 MiB of memory, the domain has 1" in refused(memory_map=ram((0, 0x102000)))


def test_a_segment_in_a_hole_is_refused():
    memory_map = [*ram((0, MIB), (2 * MIB, 2 * MIB))]
    assert "0x100000-0x102000 falls into a hole of the guest's memory map" in refused(memory_map=memory_map)


def test_a_segment_beyond_4_gib_is_refused():
    maker = ElfMaker().load(1 << 33, b"x").notes(phys32_entry(0x100000))
    message = refused(maker.load(0x100000, b"y").bytes(), ram((0, 1 << 20 | 1 << 13)))
    assert "does not fit below 4 GiB" in message


def test_a_zero_byte_in_a_command_line_is_refused():
    assert "command line of the domain contains a zero byte" in refused(cmdline="a\0b")
    assert "command line of module 0" in refused(modules=[Module(b"", "\0")])


def test_a_command_line_that_is_no_text_is_refused():
    assert "the command line of the domain is not text" in refused(cmdline="a\ud800")


@given(sizes=st.lists(st.integers(0, 20_000), max_size=5), memory=st.integers(0x102, 0x140),
       cmdline=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300))
def test_nothing_is_ever_written_over_anything_else(sizes, cmdline, memory):
    modules = [Module(bytes([index + 1]) * size, cmdline[:index]) for index, size in enumerate(sizes)]
    try:
        built, image = build(memory_map=ram((0, memory << 12)), modules=modules, cmdline=cmdline)
    except ImageError as error:
        if "does not fit" in str(error):
            return
        raise
    assert image.end <= memory << 12
    assert len(built.written) >= 3
