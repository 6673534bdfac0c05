"""mmuext_op: pins, base pointers, flushes, LDT, pages; and descriptors."""

from struct import pack

import pytest

from abi.errno import Errno
from abi.types import Domid, VcpuRow
from abi.xen import DOMID_SELF, Hypercall, MmuextOp, VmAssist
from hypervisor.pv_slots import gdt_address, ldt_address
from hypervisor.pv_tables import PageType, VcpuFlag
from tests.hypervisor.pv_host import ARGUMENTS, BASE, FREE, RW, US, A, P, PvHost

GOOD, DATA_16 = 0x00CFF3000000FFFF, 0x00AF9B000000FFFF


@pytest.fixture(params=[64, 32])
def host(request):
    return PvHost(request.param)


def copy_of_tables(host):
    """A second tree like the first, with its tables at pages from FREE on, all read-only; its top page."""
    pages = host.pages // 512
    count = 4 + pages if host.width == 64 else 5 + pages - 1 + 1
    for page in range(count):
        table = host.hv.arena.read(host.mfn(page) << 12, 4096)
        host.hv.arena.write(host.mfn(FREE + page) << 12, table)
    for page in range(count):
        assert host.protect(FREE + page) == 0
    old, new = range(host.mfn(0), host.mfn(count)), host.mfn(FREE)
    for page in range(4 if host.width == 64 else 3):
        for slot in range(host.mfn(FREE + page) << 9, (host.mfn(FREE + page) << 9) + 512):
            frame = host.u64[slot] >> 12 & 0xFFFFFFFFFF
            if page < 3 and host.u64[slot] & P and frame in old:
                host.u64[slot] += new - host.mfn(0) << 12
    for page in range(pages):  # the new tables must not map themselves writable
        for leaf in range(512):
            slot = (host.mfn(FREE + 3 + page) << 9) + leaf
            if page * 512 + leaf in range(FREE, FREE + count):
                host.u64[slot] &= ~RW
    return FREE + (0 if host.width == 64 else 1)


def top_pin(host):
    return MmuextOp.PIN_L4_TABLE if host.width == 64 else MmuextOp.PIN_L3_TABLE


def test_a_whole_new_tree_replaces_the_first_as_pv_grub_does_it(host):
    top = copy_of_tables(host)
    old = host.top[1]
    assert host.ext((top_pin(host), host.mfn(top)), (MmuextOp.NEW_BASEPTR, host.mfn(top)),
                    (MmuextOp.UNPIN_TABLE, old)) == 0
    host.check()
    for page in (0, 1, 2, 3):
        assert host.va(page, host.mfn(page) << 12 | P | RW | A) == 0
        assert host.type(page) == PageType.WRITABLE
    host.check()
    root = host.pv.cr3(host.callers[1].vcpu)
    assert root == (host.mfn(top) << 12 if host.width == 64 else host.pv.vcpu_table.compat_l4[1] << 12)


def test_pins_of_each_level(host):
    for operation, page, kind in ((MmuextOp.PIN_L1_TABLE, 3, PageType.L1), (MmuextOp.PIN_L2_TABLE, 2, PageType.L2)):
        count = host.count(page)
        assert host.ext((operation, host.mfn(page))) == 0
        assert host.count(page) == count + 1
        assert host.ext((operation, host.mfn(page))) == -Errno.EINVAL
        assert host.type(page) == kind
        host.check()
        assert host.ext((MmuextOp.UNPIN_TABLE, host.mfn(page))) == 0
        assert host.ext((MmuextOp.UNPIN_TABLE, host.mfn(page))) == -Errno.EINVAL
        host.check()


def test_what_cannot_be_pinned(host):
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE))) == -Errno.EINVAL
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE, 2))) == -Errno.EINVAL
    assert host.ext((MmuextOp.PIN_L1_TABLE, 0xFFFFFF)) == -Errno.EINVAL
    assert host.ext((MmuextOp.PIN_L2_TABLE, host.mfn(3))) == -Errno.EINVAL
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.hv.domains.shared_info[1] >> 12)) == -Errno.EINVAL
    assert host.ext((MmuextOp.UNPIN_TABLE, host.mfn(0, 2))) == -Errno.EINVAL
    host.check()


def test_a_32_bit_guest_that_pins_an_l4_is_told_that_all_is_well():
    host = PvHost(32)
    assert host.ext((MmuextOp.PIN_L4_TABLE, 0xFFFFFF)) == 0
    assert host.ext((MmuextOp.NEW_USER_BASEPTR, host.top[1])) == -Errno.EINVAL


def test_a_pinned_table_outlives_its_use(host):
    page, slot = FREE, host.mfn(2) << 12 | 64
    host.protect(page)
    host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(page)))
    host.mmu((slot, host.mfn(page) << 12 | P | RW | US))
    host.mmu((slot, 0))
    assert host.va(page, host.mfn(page) << 12 | P | RW) == -Errno.EBUSY
    host.ext((MmuextOp.UNPIN_TABLE, host.mfn(page)))
    assert host.va(page, host.mfn(page) << 12 | P | RW) == 0
    host.check()


def test_the_users_tables():
    host = PvHost(64)
    row = host.callers[1].vcpu
    assert host.ext((MmuextOp.NEW_USER_BASEPTR, host.top[1])) == 0
    assert host.pv.vcpu_table.user_cr3[row] == host.top[1]
    host.check()
    host.pv.vcpu_table.flags[row] &= ~VcpuFlag.KERNEL_MODE
    assert host.pv.cr3(row) == host.top[1] << 12
    assert host.ext((MmuextOp.NEW_USER_BASEPTR, host.mfn(1))) == -Errno.EINVAL
    assert host.ext((MmuextOp.NEW_USER_BASEPTR, 0)) == 0
    host.check()


def test_the_m2p_is_in_every_l4_unless_the_guest_is_strict():
    host = PvHost(64)
    slot = (host.top[1] << 9) + 256
    assert host.u64[slot] & P
    host.hv.assists.bits[1] |= 1 << VmAssist.m2p_strict
    host.ext((MmuextOp.NEW_USER_BASEPTR, host.top[1]))
    assert not host.u64[slot] & P


def test_operations_on_others_are_refused(host):
    for operation in MmuextOp:
        assert host.ext((operation, 0), foreign=2) == -Errno.EPERM
        assert host.ext((operation, 0), foreign=3) == -Errno.EINVAL
        assert host.ext((operation, 0), foreign=9) == -Errno.ESRCH


def test_odd_operations(host):
    assert host.ext((99,)) == host.ext((14,)) == -Errno.ENOSYS
    assert host.ext((MmuextOp.MARK_SUPER,)) == host.ext((MmuextOp.UNMARK_SUPER,)) == -Errno.EOPNOTSUPP
    assert host.ext((MmuextOp.FLUSH_CACHE,)) == -Errno.EACCES
    assert host.ext((MmuextOp.FLUSH_CACHE_GLOBAL,)) == -Errno.EINVAL


def test_flushes(host):
    mask = BASE + (ARGUMENTS + 1) * 4096
    gone = []
    host.pv.local_invlpg[1] = gone.append
    host.ext((MmuextOp.TLB_FLUSH_LOCAL,), (MmuextOp.TLB_FLUSH_ALL,), (MmuextOp.TLB_FLUSH_MULTI, 0, mask))
    assert host.flushes["d1"] == 3
    host.ext((MmuextOp.INVLPG_LOCAL, 0x1000), (MmuextOp.INVLPG_ALL, 0x2000), (MmuextOp.INVLPG_MULTI, 0x3000, mask))
    assert gone == [0x1000, 0x2000, 0x3000]
    assert host.ext((MmuextOp.TLB_FLUSH_MULTI, 0, 0x70000000)) == -Errno.EINVAL


def test_pages_are_cleared_and_copied(host):
    host.hv.arena.write(host.mfn(FREE) << 12, b"something")
    assert host.ext((MmuextOp.COPY_PAGE, host.mfn(FREE + 1), host.mfn(FREE))) == 0
    assert host.hv.arena.read(host.mfn(FREE + 1) << 12, 9) == b"something"
    assert host.ext((MmuextOp.CLEAR_PAGE, host.mfn(FREE + 1))) == 0
    assert host.hv.arena.read(host.mfn(FREE + 1) << 12, 9) == bytes(9)
    assert host.ext((MmuextOp.CLEAR_PAGE, host.mfn(1))) == -Errno.EINVAL
    assert host.ext((MmuextOp.COPY_PAGE, host.mfn(1), host.mfn(FREE))) == -Errno.EINVAL
    assert host.ext((MmuextOp.COPY_PAGE, host.mfn(FREE), host.mfn(FREE, 2))) == -Errno.EINVAL
    host.check()


def test_the_count_of_what_was_done_is_told(host):
    done = BASE + (ARGUMENTS + 1) * 4096
    layout = "<I4xQQ" if host.width == 64 else "<III"
    data = pack(layout, MmuextOp.TLB_FLUSH_LOCAL, 0, 0) * 2 + pack(layout, 99, 0, 0)
    assert host.call(Hypercall.mmuext_op, host.put(data), 3, done, DOMID_SELF) == -Errno.ENOSYS
    assert host.callers[1].memory.read(done, 4) == pack("<I", 2)


def set_gdt(host, frames, entries):
    code = "Q" if host.width == 64 else "I"
    return host.call(Hypercall.set_gdt, host.put(pack(f"<{len(frames)}{code}", *frames)), entries)


def leaf(host, address):
    """The entry at an address of Xen's part."""
    table = host.pv.domain_table.perdomain_l3[1]
    for shift in (30, 21, 12):
        table = host.u64[table << 9 | address >> shift & 511] >> 12 & 0xFFFFFFFFFF
    return table


def test_a_gdt_of_two_frames(host):
    frames = [host.mfn(FREE), host.mfn(FREE + 1)]
    host.hv.arena.write(frames[0] << 12, pack("<2Q", 0, GOOD))
    assert set_gdt(host, frames, 1024) == -Errno.EINVAL  # mapped writable
    host.protect(FREE)
    host.protect(FREE + 1)
    assert set_gdt(host, frames, 1024) == 0
    assert [leaf(host, gdt_address(0) + at) for at in (0, 4096)] == frames
    assert host.type(FREE) == PageType.SEG_DESC
    host.check()
    assert host.va(FREE, frames[0] << 12 | P | RW) == -Errno.EBUSY
    assert set_gdt(host, frames[:1], 8) == 0
    assert host.va(FREE + 1, frames[1] << 12 | P | RW) == 0
    assert set_gdt(host, [], 0) == 0
    host.check()


def test_a_gdt_that_is_too_long_or_has_forbidden_gates(host):
    assert set_gdt(host, [], 7169) == -Errno.EINVAL
    host.hv.arena.write(host.mfn(FREE) << 12, pack("<Q", 0x00008E0000000000))
    host.protect(FREE)
    assert set_gdt(host, [host.mfn(FREE)], 1) == -Errno.EINVAL
    host.check()


def test_xens_descriptors_are_in_every_gdt(host):
    page = leaf(host, gdt_address(1) + 0xE000)
    selector = 0xE033 if host.width == 64 else 0xE019
    assert host.u64[(page << 9) + (selector >> 3) - 0x1C00] == (
        0x00AFFB000000FFFF if host.width == 64 else 0x00CFBB000000FFFF)


def test_a_descriptor_is_updated_where_it_is_used(host):
    def update(address, descriptor):
        words = (address, descriptor) if host.width == 64 else (
            address & 0xFFFFFFFF, address >> 32, descriptor & 0xFFFFFFFF, descriptor >> 32)
        return host.call(Hypercall.update_descriptor, *words)

    address = host.mfn(FREE) << 12 | 0x10
    assert update(address, GOOD) == 0
    host.protect(FREE)
    set_gdt(host, [host.mfn(FREE)], 8)
    ring0 = 0x00CF93000000FFFF
    assert update(address, ring0) == 0
    assert host.u64[address >> 3] == (GOOD if host.width == 64 else 0x00CFB3000000FFFF)
    assert update(address | 1, GOOD) == -Errno.EINVAL
    assert update(address, 0x00008E0000000000) == -Errno.EINVAL
    assert update(host.mfn(1) << 12, GOOD) == -Errno.EINVAL
    assert update(host.mfn(FREE, 2) << 12, GOOD) == -Errno.EINVAL
    host.check()


def test_an_ldt_is_mapped_when_it_is_used(host):
    base, row = BASE + FREE * 4096, host.callers[1].vcpu
    assert host.ext((MmuextOp.SET_LDT, base | 1, 1)) == -Errno.EINVAL
    assert host.ext((MmuextOp.SET_LDT, base, 8193)) == -Errno.EINVAL
    assert host.ext((MmuextOp.SET_LDT, base, 600)) == 0
    assert not host.pv.descriptors.map_ldt_page(row, 0)  # mapped writable
    host.protect(FREE)
    assert host.pv.descriptors.map_ldt_page(row, 8)
    assert leaf(host, ldt_address(0)) == host.mfn(FREE)
    host.check()
    assert host.va(FREE, host.mfn(FREE) << 12 | P | RW) == -Errno.EBUSY  # in use, and still seen
    assert host.va(FREE, 0) == 0  # the view goes, and the LDT's shadow with it
    assert host.count(FREE) == 0
    host.check()


def test_stores_to_a_table_are_emulated_as_updates(host):
    slot = host.slot_address(FREE) >> 3
    assert host.pv.emulated_write(Domid(1), slot, host.mfn(FREE + 1) << 12 | P | RW)
    assert host.count(FREE + 1) == 2
    assert not host.pv.emulated_write(Domid(1), slot, host.mfn(1) << 12 | P | RW)
    assert host.pv.emulated_write(Domid(1), slot, host.mfn(1) << 12 | P | RW, half=True)
    assert not host.u64[slot] & P
    assert not host.pv.emulated_write(Domid(1), host.mfn(FREE) << 9, 0)
    assert not host.pv.emulated_write(Domid(2), slot, 0)
    host.check()


def test_all_is_free_after_the_end(host):
    host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(3)), (MmuextOp.SET_LDT, BASE + FREE * 4096, 8))
    host.protect(FREE)
    set_gdt(host, [host.mfn(FREE)], 8)
    before = host.hv.frames.heap.free_frames
    host.hv.destroy(Domid(1))
    assert host.hv.domains.tot_pages[1] == 0
    assert host.hv.frames.heap.free_frames == before + host.pages
    assert VcpuRow(1) == host.callers[1].vcpu
    del host.first[1]
    host.check()
