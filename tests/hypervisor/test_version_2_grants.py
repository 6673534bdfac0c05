"""Grant tables of version 2 and pages that change hands, on a whole host: domains 1 and 2 are PV, 3 is PVH."""

import pytest

from abi.errno import Errno, XenError
from abi.grant_table import (
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_SET_VERSION,
    GNTTAB_TRANSFER,
    GNTMAP_host_map,
    GnttabOp,
    GrantStatus,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_reading,
    GTF_transfer_committed,
    GTF_transfer_completed,
    GTF_writing,
)
from abi.memory import XENMAPIDX_grant_table_status
from abi.sched import ShutdownReason
from abi.types import Domid, Gfn, GrantRef
from abi.xen import DOMID_SELF, Hypercall
from grants.entries import Entry
from hypervisor.tables import DomainState
from tests.hypervisor.pv_host import ARGUMENTS, FREE, RW, A, D, P, PvHost
from tests.hypervisor.test_pv_grants import cache_flush

ONE, TWO, PVH, REF = Domid(1), Domid(2), Domid(3), GrantRef(8)
DONE = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed
HOLE = Gfn(0x80000)
LIST = ARGUMENTS + 1


class Host(PvHost):
    def gnttab(self, op, layout, *fields):
        """What domain 1's operation returned, and its argument afterwards."""
        shape = layout.at(self.width)
        address = self.put(shape.pack(*fields))
        result = self.call(Hypercall.grant_table_op, op, address, 1)
        return result, shape.named(self.hv.arena.read(self.mfn(ARGUMENTS) << 12, shape.size))

    def set_version(self, version):
        result, after = self.gnttab(GnttabOp.set_version, GNTTAB_SET_VERSION, version)
        assert after.version == self.hv.grants.domains.version[1]
        return result

    def status_frame(self):
        """The one status frame of domain 1, as it is told."""
        at = self.put(bytes(16), at=LIST)
        result, after = self.gnttab(GnttabOp.get_status_frames, GNTTAB_GET_STATUS_FRAMES, 1, DOMID_SELF, 77, at)
        assert (result, after.status) == (0, 0)
        return int.from_bytes(self.hv.arena.read(self.mfn(LIST) << 12, 8), "little")

    def entries(self, domid):
        return self.hv.grants._entries[self.hv.grants.domains.version[domid]]

    def accept(self, taker, page, giver=ONE):
        self.entries(taker).write(taker, REF, Entry(GTF_accept_transfer, giver, Gfn(page)))

    def transfer(self, page, taker=PVH):
        result, after = self.gnttab(GnttabOp.transfer, GNTTAB_TRANSFER, page, taker, REF, 77)
        assert result == 0
        return after.status

    def part_with(self, page):
        """Map a page of domain 1's no more, after writing into it; its frame."""
        self.hv.arena.write(self.mfn(page) << 12, b"gift")
        assert self.va(page, 0) == 0
        return self.mfn(page)


@pytest.fixture(params=[64, 32])
def host(request):
    return Host(request.param)


def test_a_pv_guest_maps_its_status_frame(host):
    assert host.set_version(2) == 0
    frame = host.status_frame()
    assert host.va(FREE, frame << 12 | P | RW | A | D) == 0
    assert host.pv.nested.find(ONE, frame) is not None
    host.hv.grants.seed(ONE, REF, PVH, Gfn(host.mfn(FREE + 1)))
    handle, _ = host.hv.grants.mappings.map_grant_ref(PVH, HOLE << 12, GNTMAP_host_map, REF, ONE)
    assert host.hv.arena.u16[(frame << 11) + REF] == GTF_reading | GTF_writing
    host.hv.grants.mappings.unmap_grant_ref(PVH, HOLE << 12, 0, handle)
    assert host.hv.arena.u16[(frame << 11) + REF] == 0


def test_a_pv_guest_unmaps_its_status_frame_before_it_has_version_1_again(host):
    assert host.set_version(2) == 0
    frame = host.status_frame()
    assert host.va(FREE, frame << 12 | P | RW | A | D) == 0
    assert host.set_version(1) == -Errno.EBUSY
    assert host.status_frame() == frame
    assert host.va(FREE, 0) == 0
    assert host.set_version(1) == 0
    assert host.va(FREE, frame << 12 | P | RW) != 0
    host.check()


def test_a_translated_guest_loses_sight_of_its_status_frame_with_version_2(host):
    hv = host.hv
    hv.grants.set_version(PVH, 2)
    frame = hv.grants.shared_frame(PVH, XENMAPIDX_grant_table_status)
    hv.memory.physmap.add_page(PVH, HOLE, frame)
    assert hv.grants.status_frames(PVH, 1) == [HOLE]
    hv.grants.set_version(PVH, 1)
    assert hv.memory.find(PVH, HOLE) is None
    assert hv.domains.state[PVH] != DomainState.SHUTDOWN


def test_a_translated_guest_whose_status_frame_is_used_otherwise_does_not_survive_it(host):
    hv = host.hv
    hv.grants.set_version(PVH, 2)
    assert hv.memory.get_page(hv.grants.shared_frame(PVH, XENMAPIDX_grant_table_status), PVH)
    with pytest.raises(XenError) as error:
        hv.grants.set_version(PVH, 1)
    assert error.value.errno == Errno.EBUSY
    assert hv.domains.shutdown_code[PVH] == ShutdownReason.crash


def test_caches_are_flushed_of_what_is_mapped_by_version_2(host):
    hv, frame = host.hv, host.mfn(FREE, 2)
    hv.grants.set_version(TWO, 2)
    hv.grants.seed(TWO, REF, ONE, Gfn(frame))
    assert cache_flush(host, frame) == -Errno.EINVAL
    page = (FREE << 12) + 0x400000
    handle, _ = hv.grants.mappings.map_grant_ref(ONE, page, GNTMAP_host_map, REF, TWO)
    assert cache_flush(host, frame) == 0
    hv.grants.mappings.unmap_grant_ref(ONE, page, 0, handle)
    assert cache_flush(host, frame) == -Errno.EINVAL
    host.check()


@pytest.mark.parametrize("version", [1, 2])
def test_a_page_goes_to_a_translated_guest(host, version):
    hv, totals = host.hv, list(host.hv.domains.tot_pages)
    hv.grants.set_version(PVH, version)
    host.accept(PVH, HOLE)
    frame = host.part_with(FREE)
    assert host.transfer(frame) == GrantStatus.okay
    assert host.entries(PVH).read(PVH, REF) == (DONE, ONE, HOLE)
    found, _ = hv.memory.find(PVH, HOLE)
    assert hv.arena.read(found << 12, 5) == b"gift\0"
    assert (hv.frames.owner(found), hv.memory.gfn_of(PVH, found)) == (PVH, HOLE)
    assert host.pv.nested.find(ONE, frame) is None
    assert host.va(FREE, frame << 12 | P) != 0
    assert [hv.domains.tot_pages[domid] - totals[domid] for domid in (ONE, PVH)] == [-1, 1]
    assert not any(hv.arena.page(frame))
    host.check()


@pytest.mark.parametrize("version", [1, 2])
def test_a_page_goes_to_a_pv_guest_which_is_told_its_frame(host, version):
    hv = host.hv
    hv.grants.set_version(TWO, version)
    host.accept(TWO, 0x7000)
    assert host.transfer(host.part_with(FREE), TWO) == GrantStatus.okay
    flags, giver, frame = host.entries(TWO).read(TWO, REF)
    assert (flags, giver, hv.frames.table.gfn[frame]) == (DONE, ONE, 0x7000)
    assert hv.arena.read(frame << 12, 5) == b"gift\0"
    assert host.va(FREE, frame << 12 | P | RW, domid=2) == 0
    host.check()


def test_what_a_pv_guest_cannot_give(host):
    host.accept(PVH, HOLE)
    info = host.hv.domains.shared_info[1] >> 12
    for frame in (host.mfn(FREE), host.mfn(FREE, 2), host.top[1], info, 0, 1 << 25):
        assert host.transfer(frame) == GrantStatus.bad_page
    assert host.entries(PVH).read(PVH, REF).flags == GTF_accept_transfer
    host.check()


def test_a_page_that_is_not_taken_is_lost(host):
    total = host.hv.domains.tot_pages[1]
    assert host.transfer(host.part_with(FREE)) == GrantStatus.general_error
    assert host.hv.domains.tot_pages[1] == total - 1
    host.check()


def test_a_guest_that_has_all_its_memory_takes_no_page(host):
    host.accept(PVH, HOLE)
    host.hv.domains.max_pages[PVH] = host.hv.domains.tot_pages[PVH]
    assert host.transfer(host.part_with(FREE)) == GrantStatus.general_error


def test_a_page_for_where_there_is_no_place_is_the_takers_and_unseen(host):
    total = host.hv.domains.tot_pages[PVH]
    host.accept(PVH, 1 << 30)
    assert host.transfer(host.part_with(FREE)) == GrantStatus.okay
    assert host.hv.domains.tot_pages[PVH] == total + 1


def test_a_page_for_where_a_grant_is_mapped_is_the_end_of_the_taker(host):
    hv = host.hv
    hv.grants.seed(TWO, REF, PVH, Gfn(host.mfn(FREE, 2)))
    hv.grants.mappings.map_grant_ref(PVH, HOLE << 12, GNTMAP_host_map, REF, TWO)
    host.accept(PVH, HOLE)
    host.transfer(host.part_with(FREE))
    assert hv.domains.shutdown_code[PVH] == ShutdownReason.crash


def test_a_translated_guest_gives_nothing(host):
    with pytest.raises(XenError) as error:
        host.hv.grants.transfers._pages.givable(PVH, Gfn(5))
    assert error.value.errno == Errno.EOPNOTSUPP


def test_an_entry_that_permits_access_takes_no_page(host):
    host.entries(PVH).write(PVH, REF, Entry(GTF_permit_access, ONE, HOLE))
    assert host.transfer(host.part_with(FREE)) == GrantStatus.general_error
