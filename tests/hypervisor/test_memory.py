"""A domain gets its memory laid out as libxl lays it out, and the grant tables find what they are promised."""

import pytest
from memory_host import DOMAINS, POOL, MemoryMachine

from abi.errno import Errno, XenError
from abi.memory import E820_ACPI, E820_RAM, E820_RESERVED
from abi.types import PAGE_SHIFT, Domid, Gfn, Mfn
from abi.xen import DOMID_INVALID
from grants.interfaces import MemoryManager, P2mType
from hypervisor.memory import MOST_MAP_ENTRIES
from hypervisor.pvh_layout import ACPI_TABLES, CONSOLE_PFN, NR_SPECIAL_PAGES, SPECIAL_PAGES, STORE_PFN

A, B, PV = Domid(1), Domid(2), Domid(3)
G = 1 << 30
RAM = P2mType.RAM_RW


def refused(errno: Errno, action: object, *arguments: object) -> None:
    with pytest.raises(XenError) as caught:
        action(*arguments)  # type: ignore[operator]
    assert caught.value.errno == errno


@pytest.fixture
def machine() -> MemoryMachine:
    return MemoryMachine()


def big_machine(gigabytes: int) -> MemoryMachine:
    return MemoryMachine(pages=0, frames=gigabytes << 18)


def test_it_is_the_memory_manager_of_the_grant_tables(machine: MemoryMachine) -> None:
    manager: MemoryManager = machine.memory
    assert manager.owner(machine.mfn(A, 0)) == A


def test_ram_begins_at_page_0_and_special_pages_lie_below_4_gib(machine: MemoryMachine) -> None:
    seen = {gfn: count for gfn, _, count, _ in machine.p2m.extents(A)}
    assert sum(seen.values()) == 64 + NR_SPECIAL_PAGES + 1
    assert set(seen) == {*range(64), ACPI_TABLES, *range(SPECIAL_PAGES, SPECIAL_PAGES + NR_SPECIAL_PAGES)}
    assert {STORE_PFN, CONSOLE_PFN} <= set(seen)
    assert machine.domains.tot_pages[A] == 64 + NR_SPECIAL_PAGES + 1
    assert machine.domains.max_pages[A] == 64 + 256


def test_a_domain_is_one_extent_and_no_two_share_a_frame(machine: MemoryMachine) -> None:
    first = machine.mfn(A, 0)
    assert [machine.mfn(A, gfn) for gfn in range(64)] == list(range(first, first + 64))
    frames = [machine.mfn(domid, gfn) for domid in (A, B) for gfn in (*range(64), STORE_PFN, CONSOLE_PFN)]
    assert len(set(frames)) == len(frames)


def test_the_memory_map_is_libxls(machine: MemoryMachine) -> None:
    assert machine.memory.memory_map(A) == [
        (0, 64 << 12, E820_RAM), (0xFC000000, 0x1000, E820_ACPI), (0xFEFF8000, 0x8000, E820_RESERVED)]
    assert machine.memory.memory_map(PV) == []


def test_a_large_domain_goes_on_above_4_gib_with_few_entries() -> None:
    machine = big_machine(8)
    machine.memory.allocate_domain(A, 6 << 18)
    assert machine.memory.memory_map(A) == [
        (0, 0xF0000000, E820_RAM), (0xFC000000, 0x1000, E820_ACPI), (0xFEFF8000, 0x8000, E820_RESERVED),
        (4 * G, 9 * G // 4, E820_RAM)]
    entries = list(machine.p2m.extents(A))
    assert [count for *_, count, _ in entries].count(1 << 18) == 3
    assert len(entries) == 3 + 3 * 128 + 1 + 8 + 2 * 512 + 128
    assert machine.mfn(A, 1 << 20) == machine.mfn(A, 0) + 0xF0000
    assert machine.memory.find(A, 0xF0000) is None
    assert machine.p2m.table.max_gfn[A] == (1 << 20) + (9 << 18) // 4 - 1


def test_where_no_gigabyte_is_aligned_2_mib_will_do() -> None:
    machine = MemoryMachine(pages=0, frames=(2 << 18) - 1024)
    machine.memory.allocate_domain(A, (1 << 18) + 512)
    assert {count for gfn, _, count, _ in machine.p2m.extents(A) if gfn < ACPI_TABLES} == {512}


def test_a_pv_domain_has_no_p2m_and_its_frames_are_its_pages(machine: MemoryMachine) -> None:
    assert machine.memory.root(PV) == 0
    mfn = next(mfn for mfn in range(machine.frames.count) if machine.frames.owner(Mfn(mfn)) == PV)
    assert machine.memory.lookup(PV, Gfn(mfn)) == (mfn, RAM)
    refused(Errno.ENOENT, machine.memory.lookup, PV, Gfn(0))
    refused(Errno.ENOENT, machine.memory.lookup, PV, Gfn(machine.frames.count))


def test_a_domain_that_does_not_fit_leaves_nothing_behind(machine: MemoryMachine) -> None:
    free, pool = machine.heap.free_frames, machine.pool_frames_in_use()
    refused(Errno.ENOMEM, machine.memory.allocate_domain, Domid(5), free + 1)
    refused(Errno.ENOMEM, machine.memory.allocate_domain, Domid(5), free - 1)  # no room for the special pages
    assert (machine.heap.free_frames, machine.pool_frames_in_use()) == (free, pool)
    assert machine.domains.tot_pages[5] == 0


def test_a_domain_for_which_the_pool_is_too_small_leaves_nothing_behind(machine: MemoryMachine) -> None:
    free = machine.heap.free_frames
    while machine.pool_frames_in_use() < POOL - 3:
        machine.frames.allocate_table()
    refused(Errno.ENOMEM, machine.memory.allocate_domain, Domid(5), 64)
    assert (machine.heap.free_frames, machine.pool_frames_in_use()) == (free, POOL - 3)


def test_a_dead_domain_gives_everything_back() -> None:
    machine = MemoryMachine(pages=0)
    free = machine.free_extents()
    for domid in range(1, DOMAINS - 3):
        machine.memory.allocate_domain(Domid(domid), 600)
    for domid in (2, 4, 1, 3):
        assert machine.memory.free_domain(Domid(domid)) == 0
    assert (machine.free_extents(), machine.pool_frames_in_use()) == (free, 0)
    assert machine.memory.memory_map(A) == []
    assert not machine.domains.shared_info[A]


def test_a_frame_that_others_map_outlives_its_domain(machine: MemoryMachine) -> None:
    mfn = machine.grant(A, 7, B, 0x1000)
    machine.arena.write(mfn << PAGE_SHIFT, b"still here")
    assert machine.memory.free_domain(A) == 1
    assert machine.domains.tot_pages[A] == 1
    assert machine.arena.read(machine.memory.machine_address(B, 0x1000), 10) == b"still here"
    machine.memory.unmap_grant(B, Gfn(0x1000), mfn)
    machine.memory.put_page(mfn)
    assert machine.memory.owner(mfn) == DOMID_INVALID
    assert machine.domains.tot_pages[A] == 0


def test_the_next_domain_finds_only_zeros() -> None:
    machine = MemoryMachine(pages=0)
    for mfn in (machine.memory.allocate_domain(A, 64), machine.domains.shared_info[A] >> 12):
        machine.arena.write(mfn << PAGE_SHIFT, b"secret")
    machine.memory.free_domain(A)
    machine.memory.allocate_domain(B, 64)
    for address in (machine.memory.machine_address(B, 0), machine.domains.shared_info[B]):
        assert not any(machine.arena.read(address, 4096))


def test_xen_frames_are_the_domains_to_see_but_not_its_memory(machine: MemoryMachine) -> None:
    before = machine.domains.tot_pages[A]
    mfn = machine.memory.allocate_xen_frame(A)
    assert machine.memory.owner(mfn) == A
    assert machine.domains.tot_pages[A] == before
    assert machine.memory.gfn_of(A, mfn) is None
    machine.memory.physmap.add_page(A, 0x2000, mfn)
    assert machine.memory.gfn_of(A, mfn) == 0x2000
    assert machine.memory.gfn_of(B, mfn) is None
    machine.memory.put_page(mfn)
    assert machine.memory.find(A, 0x2000) is None, "a frame that is gone is nobody's to see"


def test_a_memory_map_can_be_as_long_as_a_page_holds(machine: MemoryMachine) -> None:
    entries = [(index << 20, 4096, E820_RAM) for index in range(MOST_MAP_ENTRIES)]
    machine.memory.set_memory_map(PV, entries)
    assert machine.memory.memory_map(PV) == entries
    refused(Errno.ENOMEM, machine.memory.set_memory_map, PV, [*entries, (0, 1, 1)])


class TestMappingGrants:
    def test_in_a_hole(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(A, 7, B, 0x1000)
        assert machine.memory.lookup(B, Gfn(0x1000)) == (mfn, P2mType.GRANT_MAP_RW)
        assert machine.memory.gfn_of(A, mfn) == 7
        assert machine.memory.gfn_of(B, mfn) is None

    def test_read_only(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(A, 7, B, 0x1000, readonly=True)
        assert machine.memory.lookup(B, Gfn(0x1000)) == (mfn, P2mType.GRANT_MAP_RO)

    def test_over_ram_hides_it_but_does_not_free_it(self, machine: MemoryMachine) -> None:
        hidden = machine.mfn(B, 3)
        mfn = machine.grant(A, 7, B, 3)
        assert machine.mfn(B, 3) == mfn
        assert machine.memory.owner(hidden) == B
        assert machine.memory.gfn_of(B, hidden) is None
        machine.memory.unmap_grant(B, Gfn(3), mfn)
        assert machine.memory.find(B, 3) is None

    def test_over_a_grant_crashes_the_domain(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(A, 7, B, 0x1000)
        refused(Errno.EPERM, machine.memory.map_grant, B, Gfn(0x1000), machine.mfn(A, 8), False)
        assert machine.crashed == [B]
        assert machine.mfn(B, 0x1000) == mfn

    def test_beyond_the_address_space(self, machine: MemoryMachine) -> None:
        refused(Errno.ENOENT, machine.memory.map_grant, B, Gfn(1 << 52), machine.mfn(A, 8), False)

    def test_unmapping_what_is_not_mapped_there(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(A, 7, B, 0x1000)
        for gfn, frame in ((0x1001, mfn), (0x1000, mfn + 1), (3, machine.mfn(B, 3)), (1 << 52, mfn)):
            with pytest.raises(XenError):
                machine.memory.unmap_grant(B, Gfn(gfn), Mfn(frame))

    def test_of_a_frame_of_ones_own_leaves_it_where_it_was(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(B, 7, B, 0x1000)
        assert machine.mfn(B, 7) == machine.mfn(B, 0x1000) == mfn


class TestForeignMappings:
    def test_hold_a_reference_until_they_are_removed(self, machine: MemoryMachine) -> None:
        machine.memory.physmap.add_foreign(B, 0x1000, A, 5)
        mfn = machine.mfn(A, 5)
        assert machine.memory.lookup(B, Gfn(0x1000)) == (mfn, P2mType.MAP_FOREIGN)
        assert machine.rows.refs[mfn] == 1
        machine.memory.physmap.remove_page(B, 0x1000, mfn)
        assert machine.rows.refs[mfn] == 0
        assert machine.memory.gfn_of(A, mfn) == 5

    def test_end_with_the_domain_that_has_them(self, machine: MemoryMachine) -> None:
        machine.memory.physmap.add_foreign(B, 0x1000, A, 5)
        assert machine.memory.free_domain(B) == 0
        assert machine.rows.refs[machine.mfn(A, 5)] == 0

    def test_replace_ram_and_free_it(self, machine: MemoryMachine) -> None:
        covered = machine.mfn(B, 3)
        machine.memory.physmap.add_foreign(B, 3, A, 5)
        assert machine.memory.owner(covered) == DOMID_INVALID

    def test_do_not_replace_a_grant(self, machine: MemoryMachine) -> None:
        machine.grant(A, 7, B, 0x1000)
        refused(Errno.ENXIO, machine.memory.physmap.add_foreign, B, 0x1000, A, 5)
        assert machine.rows.refs[machine.mfn(A, 5)] == 0

    def test_are_of_another_domains_ram(self, machine: MemoryMachine) -> None:
        machine.grant(B, 1, A, 0x1000)
        for foreign, page in ((B, 1), (A, 0x999), (A, 0x1000)):
            refused(Errno.EINVAL, machine.memory.physmap.add_foreign, B, 0x2000, foreign, page)


def test_what_a_pv_guest_says_of_its_highest_page_is_believed(machine: MemoryMachine) -> None:
    assert machine.memory.maximum_gpfn(PV) == -1
    machine.arena.write(machine.domains.shared_info[PV] + 64 * 32 + 1024 + 16, (1000).to_bytes(8, "little"))
    assert machine.memory.maximum_gpfn(PV) == 999
