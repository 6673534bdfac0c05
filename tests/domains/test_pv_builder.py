import gzip
from itertools import pairwise
from struct import pack, unpack

import pytest
from built_pv_domain import A, PvHost
from elf_maker import I386, X86_64, ElfMaker, note
from real_images import grub

from abi.elfnote import Elfnote
from abi.hvm import HvmParam
from abi.xen import SHARED_INFO, VCPU_INFO, VmAssist
from domains.elf import ImageError
from hypervisor.pv_tables import M2p32Table, PageType, VcpuFlag

MIB = 256
"""Pages."""
BASE = 0xFFFFFFFF80000000
ELSEWHERE = 0x8000000000
NEEDED = (note(Elfnote.XEN_VERSION, b"xen-3.0\0"), note(Elfnote.LOADER, b"generic\0"))
WIDTHS = pytest.mark.parametrize("width", [64, 32])


def number(kind, value):
    return note(kind, pack("<Q", value))


def kernel(width, *notes, code=b"\xf4" * 100, memsz=0x3000, paddr=0x100000):
    maker = ElfMaker(width, X86_64 if width == 64 else I386).load(paddr, code, memsz)
    return maker.notes(*NEEDED, note(Elfnote.PAE_MODE, b"yes\0"), *notes).bytes()


def linux(*notes):
    """A kernel that asks for what Linux asks for."""
    return kernel(64, number(Elfnote.VIRT_BASE, BASE), number(Elfnote.ENTRY, BASE + 0x100000),
                  number(Elfnote.INIT_P2M, ELSEWHERE), number(Elfnote.MOD_START_PFN, 1), *notes)


def built(data, pages=16 * MIB, **options):
    host = PvHost(pages)
    host.build(data, **options)
    return host


def refused(data, pages=16 * MIB, **options):
    host = PvHost(pages)
    before = bytes(host.hv.arena.u8)
    with pytest.raises(ImageError) as error:
        host.build(data, **options)
    assert bytes(host.hv.arena.u8) == before
    return str(error.value)


def check_tables(host):
    """Everything that holds of any new PV domain's memory."""
    hv, layout, width, first = host.hv, host.built.layout, host.built.start.width, host.first
    pages, tables = host.walk(), host.tables()
    # What is mapped is the domain's own, one page for each, from page 0 at the virtual base up.
    base = layout.mappings[0].area.at
    end = base + layout.mappings[0].area.pages * 4096
    low = {at: page for at, page in pages.items() if base <= at < end}
    assert sorted(low) == list(range(base, end, 4096))
    assert all(page.frame == first + (at - base >> 12) for at, page in low.items())
    assert end % (4 << 20) == 0 or base % (4 << 20)
    assert end - layout.stack.end >= 512 << 10
    # Page tables are mapped read-only, wherever they are mapped; everything else is writable.
    for at, page in pages.items():
        assert page.writable == (page.frame not in tables), hex(at)
        assert page.user == (width == 64)
    assert set(tables) == {first + table.pfn for table in layout.tables()}
    # The hypervisor knows each table for what it is, and each page for what maps it.
    types = hv.pv.types.table
    users = dict.fromkeys(range(first, first + host.pages), 0)
    for page in pages.values():
        users[page.frame] += page.writable
    for frame, count in users.items():
        if frame in tables:
            kind = tables[frame]
            assert (types.type[frame], types.count[frame]) == (kind, 2 if frame == host.built.start.cr3 else 1)
        else:
            assert types.count[frame] == count
            assert not count or types.type[frame] == PageType.WRITABLE
    assert hv.pv.types.table.flags[host.built.start.cr3] & 2
    # P2M and M2P are each other's inverse.
    size = width // 8
    p2m = unpack(f"<{host.pages}{'Q' if width == 64 else 'I'}", host.read(layout.p2m.at, host.pages * size))
    assert list(p2m) == list(range(first, first + host.pages))
    assert list(hv.frames.table.gfn[first:first + host.pages]) == list(range(host.pages))
    assert list(hv.state.table(M2p32Table).pfn[first:first + host.pages]) == list(range(host.pages))


@WIDTHS
def test_grub_is_laid_out_as_libxenguest_does(width):
    host = built(grub(width), 64 * MIB)
    check_tables(host)
    layout, start = host.built.layout, host.built.start
    order = [layout.kernel, layout.p2m, layout.start_info, layout.xenstore, layout.console, layout.page_tables,
             layout.stack]
    for before, after in pairwise(order):
        assert before.end == after.at
        assert before.pfn + before.pages == after.pfn
    assert layout.kernel.at == 0
    assert (start.width, start.rip, start.rsi, start.rsp) == (width, 0, layout.start_info.at, layout.stack.end)
    for segment in host.built.elf.segments:
        assert host.read(segment.paddr, len(segment.data)) == bytes(segment.data)


@WIDTHS
def test_start_info_is_complete(width):
    host = built(kernel(width), cmdline="console=hvc0 quiet", ramdisk=b"initrd" * 1000)
    info, layout, hv = host.start_info(), host.built.layout, host.hv
    assert info.magic.rstrip(b"\0") == (b"xen-3.0-x86_64" if width == 64 else b"xen-3.0-x86_32p")
    assert info.nr_pages == host.pages
    assert info.shared_info == hv.domains.shared_info[A]
    assert info.store_mfn == host.first + layout.xenstore.pfn == hv.params.get(A, HvmParam.STORE_PFN)
    assert info.store_evtchn == hv.params.get(A, HvmParam.STORE_EVTCHN) != 0
    console = unpack("<II" if width == 32 else "<QI", info.console[:8 if width == 32 else 12])
    assert console == (host.first + layout.console.pfn, hv.params.get(A, HvmParam.CONSOLE_EVTCHN))
    assert console[0] == hv.params.get(A, HvmParam.CONSOLE_PFN)
    assert host.page(info.pt_base).frame == host.built.start.cr3
    assert info.nr_pt_frames == len(host.tables())
    assert info.mfn_list == layout.p2m.at
    assert (info.first_p2m_pfn, info.nr_p2m_frames) == (layout.p2m.pfn, host.pages * width // 8 // 4096)
    assert info.cmd_line.rstrip(b"\0") == b"console=hvc0 quiet"
    assert host.read(info.mod_start, 6000) == b"initrd" * 1000
    assert info.mod_len == 8192
    assert info.flags & 8 == 0


def test_a_kernel_at_a_high_base():
    host = built(kernel(64, number(Elfnote.VIRT_BASE, BASE), number(Elfnote.ENTRY, BASE + 0x100000)))
    check_tables(host)
    assert host.built.start.rip == BASE + 0x100000
    assert host.read(BASE + 0x100000, 4) == b"\xf4" * 4
    assert host.built.layout.mappings[0].area.at == BASE


@pytest.mark.parametrize("base", [0x400000, 0xBFC00000, 0xC0000000])
def test_a_32_bit_kernel_at_a_high_base(base):
    host = built(kernel(32, number(Elfnote.VIRT_BASE, base), number(Elfnote.ENTRY, base + 0x100000)))
    check_tables(host)
    assert host.read(base + 0x100000, 4) == b"\xf4" * 4


def test_the_p2m_lies_where_linux_wants_it():
    host = built(linux(), ramdisk=b"x" * 5000)
    check_tables(host)
    info, layout = host.start_info(), host.built.layout
    assert info.mfn_list == ELSEWHERE
    assert info.first_p2m_pfn == layout.p2m.pfn
    assert info.nr_p2m_frames == host.pages * 8 // 4096 + len(layout.mappings[1].tables)
    assert layout.p2m.pfn << 12 >= layout.mappings[0].area.pages << 12
    assert [table.level for table in layout.mappings[1].tables] == [3, 2, 1]


def test_a_ramdisk_that_is_not_mapped_is_told_by_its_page():
    host = built(linux(), ramdisk=b"x" * 5000)
    info = host.start_info()
    assert info.flags & 8
    assert info.mod_len == 8192
    assert host.hv.arena.read(host.first + info.mod_start << 12, 5001) == b"x" * 5000 + b"\0"
    assert host.first + info.mod_start not in {page.frame for page in host.walk().values()}


def test_a_gzipped_ramdisk_goes_in_unpacked():
    host = built(kernel(64), ramdisk=gzip.compress(b"cpio" * 3000))
    assert host.read(host.start_info().mod_start, 12000) == b"cpio" * 3000
    damaged = gzip.compress(b"cpio" * 3000)[:-9]
    host = built(kernel(64), ramdisk=damaged)
    assert host.read(host.start_info().mod_start, len(damaged)) == damaged


def test_a_32_bit_guest_always_has_the_table_of_its_last_gib():
    host = built(kernel(32))
    check_tables(host)
    levels = list(host.tables().values())
    assert (levels.count(3), levels.count(2)) == (1, 4)
    assert host.hv.domains.width[A] == 32
    assert host.hv.domains.evtchn_limit[A] == 1024
    assert host.hv.assists.bits[A] == 1 << VmAssist.pae_extended_cr3


def test_a_kernel_of_64_mib_needs_many_tables():
    host = built(kernel(64, memsz=64 << 20), 128 * MIB)
    check_tables(host)
    assert list(host.tables().values()).count(1) >= 33


@pytest.mark.parametrize(("width", "entry", "iret"), [
    (64, "514153b805000000 0f05 415b59c3", "51415350b817000000 0f05"), (32, "b805000000 cd82 c3", "50b817000000 cd82")])
def test_a_hypercall_page_is_filled_where_it_is_wanted(width, entry, iret):
    host = built(kernel(width, number(Elfnote.HYPERCALL_PAGE, 0x102000)))
    page = host.read(0x102000, 4096)
    assert page[5 * 32:].startswith(bytes.fromhex(entry))
    assert page[23 * 32:].startswith(bytes.fromhex(iret))


@WIDTHS
def test_upcalls_begin_masked(width):
    host = built(kernel(width))
    at = host.hv.domains.shared_info[A]
    data = host.hv.arena.read(at, 4096)
    masks = [data[index * 64 + VCPU_INFO.at(width).offset["evtchn_upcall_mask"]] for index in range(32)]
    assert masks == [1] * 32
    assert unpack("<I", data[SHARED_INFO.at(width).offset["wc_sec"]:][:4]) == (1_700_000_000,)


@WIDTHS
def test_the_first_vcpu_is_on_the_page_tables_in_kernel_mode(width):
    host = built(kernel(width))
    row = host.hv.domains.vcpu_base[A]
    vcpu = host.hv.pv.vcpu_table
    assert vcpu.kernel_cr3[row] == host.built.start.cr3
    assert vcpu.flags[row] & VcpuFlag.KERNEL_MODE
    assert (vcpu.kernel_ss[row], vcpu.kernel_sp[row]) == (0xE02B if width == 64 else 0xE021, host.built.start.rsp)


@WIDTHS
def test_a_dead_domain_leaves_nothing_behind(width):
    host = PvHost(16 * MIB)
    free = host.hv.frames.heap.free_frames
    host.build(kernel(width))
    host.hv.destroy(A)
    assert host.hv.frames.heap.free_frames == free + 16 * MIB
    assert not any(host.hv.pv.types.table.count[host.first:host.first + 16 * MIB])


@pytest.mark.parametrize(("width", "base"), [
    (32, 0xF5400000), (64, 0xFFFF800000000000), (64, 0xFFFF87FFFFE00000), (64, 0x7FFFFFC00000), (64, 1 << 50)])
def test_addresses_of_xen_are_refused(width, base):
    image = kernel(width, number(Elfnote.VIRT_BASE, base), number(Elfnote.ENTRY, base + 0x100000), memsz=0x300000)
    assert "addresses that it cannot have" in refused(image)


def test_a_64_bit_guest_has_no_assist_of_32_bit_ones():
    assert built(kernel(64)).hv.assists.bits[A] == 0


def test_what_does_not_fit_is_refused_before_anything_is_written():
    assert "the kernel does not fit: needs 17 MiB" in refused(kernel(64, memsz=16 << 20))
    assert "the ramdisk does not fit" in refused(kernel(64), ramdisk=bytes(16 << 20))
    assert "first page tables map does not fit" in refused(kernel(64), 3 * MIB)
    assert "hypercall page" in refused(kernel(64, number(Elfnote.HYPERCALL_PAGE, 1 << 40)))
    assert "command line of 1024 bytes" in refused(kernel(64), cmdline="x" * 1024)
    assert "zero byte" in refused(kernel(64), cmdline="a\0b")
