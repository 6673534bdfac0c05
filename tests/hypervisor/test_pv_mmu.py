"""mmu_update and update_va_mapping: entries, types, counts, errors."""

from struct import pack

import pytest

from abi.errno import Errno
from abi.types import Domid
from abi.xen import DOMID_IO, DOMID_SELF, DOMID_XEN, UVMF_ALL, UVMF_INVLPG, UVMF_TLB_FLUSH, Hypercall, MmuextOp
from hypervisor.pte import GUEST_KERNEL, NX
from hypervisor.pv_tables import PageType
from tests.hypervisor.pv_host import ARGUMENTS, BASE, FREE, PAT, RW, US, A, D, G, P, PvHost


@pytest.fixture(params=[64, 32])
def host(request):
    return PvHost(request.param)


def test_a_domain_begins_with_its_counts_in_order(host):
    host.check()
    assert host.type(1) == PageType.L3
    assert host.type(FREE) == PageType.WRITABLE
    assert host.count(FREE) == host.refs(FREE) == 1


def test_an_entry_is_changed_by_its_address(host):
    assert host.va(FREE, host.mfn(FREE + 1) << 12 | P | RW) == 0
    assert host.count(FREE) == 0
    assert host.count(FREE + 1) == 2
    host.check()


def test_a_64_bit_kernels_page_becomes_a_user_page_with_a_mark():
    host = PvHost(64)
    host.va(FREE, host.mfn(FREE) << 12 | P)
    assert host.entry(FREE) == host.mfn(FREE) << 12 | P | US | GUEST_KERNEL
    host.va(FREE, host.mfn(FREE) << 12 | P | US | NX)
    assert host.entry(FREE) == host.mfn(FREE) << 12 | P | US | G | NX


def test_a_32_bit_entry_stays_as_it_is():
    host = PvHost(32)
    host.va(FREE, host.mfn(FREE) << 12 | P)
    assert host.entry(FREE) == host.mfn(FREE) << 12 | P


@pytest.mark.parametrize("bits", [8, 0x10, PAT])
def test_caching_attributes_are_not_for_a_domain_without_devices(host, bits):
    assert host.va(FREE, host.mfn(FREE) << 12 | P | bits) == -Errno.EINVAL


def test_what_is_not_memory_cannot_be_mapped(host):
    assert host.va(FREE, 5 << 12 | P) == -Errno.EPERM
    assert host.va(FREE, 1 << 35 | P) == -Errno.EPERM
    assert host.va(FREE, (1 << 52) - 4096 | P) == -Errno.EINVAL


def test_another_domains_frame_cannot_be_mapped(host):
    assert host.va(FREE, host.mfn(FREE, 2) << 12 | P) == -Errno.EBUSY
    host.check()


def test_a_table_cannot_be_mapped_writable_but_readable(host):
    assert host.va(FREE, host.mfn(1) << 12 | P | RW) == -Errno.EBUSY
    assert host.va(FREE, host.mfn(1) << 12 | P) == 0
    host.check()


def test_an_address_without_a_table_is_refused(host):
    assert host.call(Hypercall.update_va_mapping, 0x40000000, 0, 0, 0) == -Errno.EINVAL
    assert host.call(Hypercall.update_va_mapping, 0xF5800000 if host.width == 32 else 1 << 47, 0, 0, 0) == -Errno.EINVAL


def test_flushes_are_made_as_asked(host):
    entry = host.mfn(FREE) << 12 | P | RW
    host.va(FREE, entry)
    assert not host.flushes
    host.va(FREE, entry, UVMF_TLB_FLUSH | UVMF_ALL)
    assert host.flushes["d1"] == 1
    gone = []
    host.pv.local_invlpg[1] = gone.append
    host.va(FREE, entry, UVMF_INVLPG)
    assert gone == [BASE + FREE * 4096]
    assert host.va(FREE, entry, UVMF_INVLPG | 0x70000000) == -Errno.EFAULT


def test_the_other_domain_is_looked_up_first(host):
    def other(domid):
        return host.call(Hypercall.update_va_mapping_otherdomain, BASE, *((0,) * (host.width == 32)), 0, 0, domid)

    assert other(9) == other(1) == -Errno.ESRCH
    assert other(2) == other(DOMID_XEN) == -Errno.EPERM
    assert other(DOMID_SELF) == 0


def test_updates_stop_at_the_first_that_fails(host):
    good = (host.slot_address(FREE), 0)
    count = BASE + (ARGUMENTS + 1) * 4096
    address = host.put(pack("<6Q", *good, host.slot_address(FREE + 1), host.mfn(0, 2) << 12 | P, *good))
    assert host.call(Hypercall.mmu_update, address, 3, count, DOMID_SELF) == -Errno.EBUSY
    assert host.callers[1].memory.read(count, 4) == pack("<I", 1)
    assert host.entry(FREE) == 0
    assert host.entry(FREE + 1) != 0
    host.check()


def test_nothing_to_do_is_done(host):
    assert host.mmu() == 0


def test_who_is_meant(host):
    slot = host.slot_address(FREE)
    assert host.mmu((slot, 0), foreign=9) == -Errno.ESRCH
    assert host.mmu((slot, 0), foreign=1) == -Errno.ESRCH
    assert host.mmu((slot, 0), foreign=2) == -Errno.EPERM
    assert host.mmu((slot, 0), foreign=(9 + 1) << 16 | DOMID_SELF) == -Errno.EINVAL
    assert host.mmu((slot, 0), foreign=(2 + 1) << 16 | DOMID_SELF) == -Errno.EPERM
    assert host.mmu((slot, 0), foreign=(1 + 1) << 16 | DOMID_SELF) == 0
    assert host.mmu((slot, 6 << 12 | P), foreign=DOMID_IO) == -Errno.EPERM
    assert host.mmu((slot, host.mfn(FREE) << 12 | P), foreign=DOMID_IO) == -Errno.EBUSY


def test_an_unknown_command_and_one_without_translation_are_refused(host):
    assert host.mmu((host.slot_address(FREE) | 3, 0)) == -Errno.ENOSYS
    assert host.mmu((host.slot_address(FREE) | 4, 0)) == -Errno.ENOSYS


def test_accessed_and_dirty_bits_are_kept_if_wanted(host):
    host.va(FREE, host.mfn(FREE) << 12 | P | A | D)
    host.mmu((host.slot_address(FREE) | 2, host.mfn(FREE + 1) << 12 | P))
    assert host.entry(FREE) & (A | D) == A | D
    host.mmu((host.slot_address(FREE), host.mfn(FREE + 1) << 12 | P))
    assert host.entry(FREE) & (A | D) == 0


def test_ordinary_memory_is_written_too(host):
    host.mmu((host.mfn(FREE) << 12 | 0x18, 0x1234567890))
    assert host.u64[(host.mfn(FREE) << 9) + 3] == 0x1234567890
    assert host.mmu((host.mfn(FREE, 2) << 12, 1)) == -Errno.EINVAL
    host.check()


def test_the_m2p_is_changed_in_both_forms(host):
    assert host.mmu((host.mfn(FREE) << 12 | 1, 77)) == 0
    assert host.hv.frames.table.gfn[host.mfn(FREE)] == 77
    address = host.hv.state.address(type(host.pv.types.table)) and host.pv._m2p32[host.mfn(FREE)]
    assert address == 77
    assert host.mmu((host.mfn(FREE, 2) << 12 | 1, 77)) == -Errno.EINVAL
    assert host.mmu((host.mfn(FREE) << 12 | 1, 77), foreign=(2 + 1) << 16 | DOMID_SELF) == -Errno.EPERM


def test_a_large_batch_is_as_one_after_the_other(host):
    twin = PvHost(host.width)
    requests = [(host.slot_address(FREE + n) - host.slot_address(0), (FREE + n * 7 % 512, P | (RW if n % 3 else 0)))
                for n in range(300)]
    for h, step in ((host, 250), (twin, 1)):
        base = h.slot_address(0)
        for at in range(0, 300, step):
            assert h.mmu(*((base + slot, h.mfn(page) << 12 | flags)
                           for slot, (page, flags) in requests[at:at + step])) == 0
        h.check()
    assert [host.count(page) for page in range(host.pages)] == [twin.count(page) for page in range(host.pages)]
    assert [host.entry(page) for page in range(host.pages)] == [twin.entry(page) for page in range(host.pages)]


def test_one_bad_request_in_a_large_batch_fails_alone(host):
    requests = [(host.slot_address(FREE + n), host.mfn(FREE) << 12 | P) for n in range(200)]
    requests[150] = (requests[150][0], host.mfn(1) << 12 | P | RW)
    assert host.mmu(*requests) == -Errno.EBUSY
    assert host.entry(FREE + 149) >> 12 & 0xFFFFFFFFFF == host.mfn(FREE)
    assert host.entry(FREE + 150) >> 12 & 0xFFFFFFFFFF == host.mfn(FREE + 150)
    host.check()


def test_an_upper_entry_takes_a_whole_table_and_gives_it_back(host):
    new, l2 = FREE, host.mfn(2)
    assert host.mmu((l2 << 12 | 8 * 8, host.mfn(new) << 12 | P | RW | US)) == -Errno.EINVAL  # it is mapped writable
    assert host.protect(new) == 0
    assert host.mmu((l2 << 12 | 8 * 8, host.mfn(new) << 12 | P | RW | US)) == 0
    assert host.type(new) == PageType.L1
    assert host.va(new, host.mfn(new) << 12 | P | RW) == -Errno.EBUSY
    host.check()
    assert host.mmu((l2 << 12 | 8 * 8, 0)) == 0
    assert host.va(new, host.mfn(new) << 12 | P | RW) == 0
    host.check()


def test_a_table_with_a_bad_entry_is_none(host):
    host.u64[(host.mfn(FREE) << 9) + 100] = host.mfn(1) << 12 | P | RW
    host.u64[host.mfn(FREE) << 9] = host.mfn(FREE + 1) << 12 | P | RW
    host.protect(FREE)
    assert host.mmu((host.mfn(2) << 12 | 64, host.mfn(FREE) << 12 | P)) == -Errno.EBUSY
    host.check()


def test_large_pages_are_refused(host):
    assert host.mmu((host.mfn(2) << 12 | 64, host.mfn(512) << 12 | P | RW | PAT)) == -Errno.EINVAL


def test_xens_slots_cannot_be_changed():
    host = PvHost(64)
    for slot in (256, 260, 271):
        assert host.mmu((host.mfn(0) << 12 | slot * 8, 0)) == -Errno.EINVAL
    assert host.mmu((host.mfn(0) << 12 | 272 * 8, 0)) == 0
    narrow = PvHost(32)
    last = narrow.u64[(narrow.mfn(1) << 9) + 3] >> 12
    assert narrow.mmu((last << 12 | 0x1AC * 8, 0)) == -Errno.EPERM
    assert narrow.mmu((last << 12 | 0x1AB * 8, 0)) == 0
    assert narrow.mmu((narrow.mfn(1) << 12 | 3 * 8, 0)) == -Errno.EINVAL


def test_a_table_may_name_itself_read_only_as_the_level_below():
    host = PvHost(64)
    top = host.mfn(0)
    assert host.mmu((top << 12 | 300 * 8, top << 12 | P | RW)) == -Errno.EINVAL
    assert host.mmu((top << 12 | 300 * 8, top << 12 | P)) == 0
    host.check()
    assert host.mmu((top << 12 | 300 * 8, 0)) == 0
    host.check()


def test_a_new_type_waits_for_the_flush_of_writable_translations(host):
    assert host.protect(FREE) == 0
    assert not host.flushes
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE))) == 0
    assert host.flushes["d1"] == 1
    host.protect(FREE + 1)
    host.protect(FREE + 2)
    host.pv.flush(Domid(1))
    assert host.flushes["d1"] == 2
    host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE + 1)), (MmuextOp.PIN_L1_TABLE, host.mfn(FREE + 2)))
    assert host.flushes["d1"] == 2
