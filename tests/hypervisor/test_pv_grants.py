"""Grants mapped into PV address spaces, and page types that keep others' hands off page tables."""

from struct import pack

import pytest

from abi.errno import Errno
from abi.grant_table import (
    GNTCOPY_dest_gref,
    GNTMAP_application_map,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabOp,
    GrantStatus,
)
from abi.types import Domid, Gfn, GrantRef
from abi.xen import DOMID_SELF, Hypercall, MmuextOp
from grants.errors import GrantError
from hypervisor.pte import GUEST_KERNEL, NX
from hypervisor.pv_tables import PageType
from tests.hypervisor.pv_host import BASE, FREE, RW, US, A, D, G, P, PvHost

ONE, TWO, PVH, REF = Domid(1), Domid(2), Domid(3), GrantRef(8)


class Granted(PvHost):
    """Domain 2 grants its page FREE to domain 1 (ref 8), and its page FREE + 1 to domain 3 (ref 9)."""

    def __init__(self, width, entries=(4, 0)):
        super().__init__(width)
        for ref, grantee in ((REF, ONE), (GrantRef(9), PVH)):
            self.hv.grants.seed(TWO, ref, grantee, Gfn(self.mfn(FREE + ref - REF, 2)))
        self.mappings = self.hv.grants.mappings

    def map(self, page=FREE, flags=GNTMAP_host_map, address=None):
        address = BASE + page * 4096 if address is None else address
        return self.mappings.map_grant_ref(ONE, address, flags, REF, TWO)[0]

    def unmap(self, handle, page=FREE, address=None, new=0):
        address = BASE + page * 4096 if address is None else address
        self.mappings.unmap_grant_ref(ONE, address, 0, handle, new)

    def reachable(self):
        return self.pv.nested.find(ONE, self.mfn(FREE, 2)) is not None


@pytest.fixture(params=[64, 32])
def host(request):
    return Granted(request.param)


def status(call, *arguments, **options):
    with pytest.raises(GrantError) as error:
        call(*arguments, **options)
    return error.value.status


def test_a_grant_is_mapped_by_address(host):
    handle = host.map()
    frame = host.mfn(FREE, 2)
    marks = GUEST_KERNEL | US if host.width == 64 else 0
    assert host.entry(FREE) == frame << 12 | P | RW | A | D | NX | marks
    assert host.reachable()
    assert host.count(FREE) == 0
    assert host.type(FREE, 2) == PageType.WRITABLE
    host.check(extra=[(frame, False)])
    host.unmap(handle)
    assert host.entry(FREE) == 0
    assert not host.reachable()
    host.check()


def test_the_flags_of_the_entry(host):
    handle = host.map(flags=GNTMAP_host_map | GNTMAP_readonly | GNTMAP_application_map | 5 << 16)
    marks = US | (G if host.width == 64 else 0)
    assert host.entry(FREE) == host.mfn(FREE, 2) << 12 | P | A | D | NX | marks | 5 << 9
    host.unmap(handle)
    host.check()


def test_a_grant_is_mapped_by_its_entry(host):
    flags, address = GNTMAP_host_map | GNTMAP_contains_pte, host.slot_address(FREE)
    assert status(host.map, flags=flags, address=address | 4) == GrantStatus.general_error
    assert status(host.map, flags=flags, address=host.mfn(2) << 12) == GrantStatus.general_error
    assert status(host.map, flags=flags, address=host.mfn(3, 2) << 12) == GrantStatus.general_error
    handle = host.map(flags=flags, address=address)
    assert status(host.unmap, handle, address=address, new=BASE) == GrantStatus.general_error
    host.check(extra=[(host.mfn(FREE, 2), False)])
    host.unmap(handle, address=address)
    host.check()


def test_an_address_without_a_table(host):
    assert status(host.map, address=0x40000000) == GrantStatus.general_error
    host.check()
    assert not host.reachable()


def test_another_entry_takes_the_place_of_a_grants(host):
    handle = host.map()
    host.va(FREE + 1, host.mfn(FREE) << 12 | P | RW)
    before = host.entry(FREE + 1)
    host.unmap(handle, new=BASE + (FREE + 1) * 4096)
    assert host.entry(FREE) == before
    assert host.entry(FREE + 1) == 0
    host.check()


def test_a_replacement_that_fails_has_lost_its_source(host):
    handle = host.map()
    host.va(FREE, 0)  # the guest overwrites the grant's entry
    assert status(host.unmap, handle, new=BASE + (FREE + 1) * 4096) == GrantStatus.general_error
    assert host.entry(FREE + 1) == 0
    assert not host.reachable()
    host.check(extra=[(host.mfn(FREE, 2), False)])


def test_an_overwritten_grant_cannot_be_unmapped_and_ends_with_its_domain(host):
    handle = host.map()
    host.va(FREE, host.mfn(FREE) << 12 | P | RW)
    assert status(host.unmap, handle) == GrantStatus.general_error
    host.hv.destroy(ONE)
    del host.first[1]
    host.check()


def test_a_dying_domain_leaves_nothing_mapped(host):
    host.map()
    host.map(page=FREE + 1, flags=GNTMAP_host_map | GNTMAP_device_map)
    host.hv.destroy(ONE)
    del host.first[1]
    assert host.hv.domains.tot_pages[1] == 0
    host.check()


def test_many_mappings_of_one_frame(host):
    handles = [host.map(page=FREE + n) for n in range(20)]
    for n, handle in enumerate(handles):
        assert host.reachable()
        host.unmap(handle, page=FREE + n)
    assert not host.reachable()
    host.check()


def test_a_granted_page_table_cannot_be_mapped_for_writing(host):
    host.protect(FREE, domid=2)
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE, 2)), domid=2) == 0
    assert status(host.map) == GrantStatus.general_error
    host.check()
    handle = host.map(flags=GNTMAP_host_map | GNTMAP_readonly)
    host.unmap(handle)


def test_a_mapped_grant_cannot_become_a_page_table(host):
    handle = host.map()
    host.protect(FREE, domid=2)
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE, 2)), domid=2) != 0
    host.unmap(handle)
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE, 2)), domid=2) == 0


def test_a_pvh_guests_mapping_counts_as_writable(host):
    gfn = 0x100000
    handle = host.mappings.map_grant_ref(PVH, gfn << 12, GNTMAP_host_map, GrantRef(9), TWO)[0]
    host.protect(FREE + 1, domid=2)
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE + 1, 2)), domid=2) != 0
    host.mappings.unmap_grant_ref(PVH, gfn << 12, 0, handle)
    assert host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE + 1, 2)), domid=2) == 0
    assert status(host.mappings.map_grant_ref, PVH, gfn << 12, GNTMAP_host_map, GrantRef(9),
                  TWO) == GrantStatus.general_error
    host.check()


def test_a_copy_never_writes_to_a_page_table(host):
    def copy():
        host.hv.grants.copies.copy(ONE, host.mfn(FREE), DOMID_SELF, 0, REF, TWO, 0, 16, GNTCOPY_dest_gref)

    copy()
    host.protect(FREE, domid=2)
    host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE, 2)), domid=2)
    assert status(copy) == GrantStatus.general_error
    host.map(flags=GNTMAP_host_map | GNTMAP_readonly)
    assert status(copy) == GrantStatus.general_error


def test_the_grant_tables_own_frames_can_be_mapped(host):
    frame = host.hv.grants.setup_table(ONE, 1)[0]
    assert host.va(FREE, frame << 12 | P | RW) == 0
    assert host.pv.nested.find(ONE, frame) is not None
    assert host.va(FREE, host.mfn(FREE) << 12 | P | RW) == 0
    host.check()


def cache_flush(host, mfn, offset=0, length=64, operation=1, domid=1):
    data = pack("<QHHI", mfn << 12, offset, length, operation)
    return host.call(Hypercall.grant_table_op, GnttabOp.cache_flush, host.put(data, domid), 1, domid=domid)


def test_caches_are_flushed_of_ones_own_frames_and_of_mapped_ones(host):
    mine, other = host.mfn(FREE), host.mfn(FREE, 2)
    assert [cache_flush(host, mine, operation=operation) for operation in (0, 1, 3, 2, 4, 1 << 31)] == [
        0, 0, 0, -Errno.EOPNOTSUPP, -Errno.EINVAL, -Errno.EINVAL]
    assert cache_flush(host, mine, 4000, 97) == -Errno.EINVAL
    assert cache_flush(host, mine, 4096, 0) == -Errno.EINVAL
    assert cache_flush(host, other) == -Errno.EINVAL
    handle = host.map(FREE + 4)
    assert cache_flush(host, other) == 0
    host.unmap(handle, FREE + 4)
    assert cache_flush(host, other) == -Errno.EINVAL
    assert cache_flush(host, 1 << 35) == -Errno.EINVAL
    assert host.call(Hypercall.grant_table_op, GnttabOp.cache_flush, BASE + (1 << 28), 1) == -Errno.EFAULT
