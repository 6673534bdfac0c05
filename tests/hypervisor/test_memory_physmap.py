"""add_to_physmap and its kin: what goes where, what it replaces, and which complaint comes first."""

import pytest
from memory_host import GuestBytes, MemoryMachine

from abi.errno import Errno, XenError
from abi.layout import Layout
from abi.memory import ADD_TO_PHYSMAP, ADD_TO_PHYSMAP_BATCH, REMOVE_FROM_PHYSMAP, MapSpace, MemoryOp
from abi.types import PAGE_SHIFT, Domid, Gfn
from abi.xen import DOMID_INVALID, DOMID_SELF
from grants.interfaces import P2mType
from hypervisor.memory_call import SHARE

ARG, IDXS, GPFNS, ERRS, WILD = 0x100, 0x10000, 0x20000, 0x30000, GuestBytes.SIZE
A, B, PV, PRIVILEGED, NOBODY = Domid(1), Domid(2), Domid(3), Domid(4), 6
HOLE = 0x1000
NR_PAGES = 1200


@pytest.fixture(params=[64, 32])
def machine(request: pytest.FixtureRequest) -> MemoryMachine:
    return MemoryMachine(width=request.param)


def op(machine: MemoryMachine, cmd: int, layout: Layout, *fields: int | bytes, caller: int = A) -> int:
    """A call with its structure; its error as a negative number."""
    who = machine.callers[caller]
    who.memory.write(ARG, layout.at(who.width).pack(*fields))
    return raw(machine, cmd, ARG, caller)


def raw(machine: MemoryMachine, cmd: int, arg: int, caller: int = A) -> int:
    try:
        return machine(cmd, arg, caller)
    except XenError as error:
        return -error.errno


def add(machine: MemoryMachine, space: int, idx: int, gpfn: int, *, dom: int = DOMID_SELF, size: int = 0,
        start: int = 0, caller: int = A) -> int:
    return op(machine, MemoryOp.add_to_physmap | start << 6, ADD_TO_PHYSMAP, dom, size, space, idx, gpfn, caller=caller)


class TestOnePage:
    def test_shared_info(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.shared_info, 0, HOLE) == 0
        assert machine.mfn(A, HOLE) << PAGE_SHIFT == machine.domains.shared_info[A]
        assert machine.memory.lookup(A, Gfn(HOLE))[1] == P2mType.RAM_RW

    def test_mapped_again_it_leaves_its_former_place(self, machine: MemoryMachine) -> None:
        for gpfn in (HOLE, HOLE, HOLE + 1):
            assert add(machine, MapSpace.shared_info, 0, gpfn) == 0
        assert machine.memory.find(A, HOLE) is None
        assert machine.mfn(A, HOLE + 1) << PAGE_SHIFT == machine.domains.shared_info[A]

    def test_ram_in_its_place_is_freed(self, machine: MemoryMachine) -> None:
        covered, before = machine.mfn(A, 3), machine.domains.tot_pages[A]
        assert add(machine, MapSpace.shared_info, 0, 3) == 0
        assert machine.memory.owner(covered) == DOMID_INVALID
        assert machine.domains.tot_pages[A] == before - 1

    def test_a_page_of_xens_in_its_place_is_only_unhooked(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.shared_info, 0, HOLE) == 0
        assert add(machine, MapSpace.grant_table, 1, HOLE) == 0
        assert machine.mfn(A, HOLE) == machine.grants.frames[A, 1]
        assert machine.memory.owner(machine.domains.shared_info[A] >> PAGE_SHIFT) == A  # type: ignore[arg-type]

    def test_the_grant_tables_have_their_own_complaint(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.grant_table, 2, HOLE) == -Errno.EINVAL

    def test_ram_moves(self, machine: MemoryMachine) -> None:
        mfn = machine.mfn(A, 3)
        assert add(machine, MapSpace.gmfn, 3, HOLE) == 0
        assert machine.mfn(A, HOLE) == mfn
        assert machine.memory.find(A, 3) is None
        assert machine.rows.refs[mfn] == 0
        assert machine.memory.gfn_of(A, mfn) == HOLE

    def test_ram_moved_onto_itself_stays(self, machine: MemoryMachine) -> None:
        mfn = machine.mfn(A, 3)
        assert add(machine, MapSpace.gmfn, 3, 3) == 0
        assert machine.mfn(A, 3) == mfn
        assert machine.memory.owner(mfn) == A

    def test_a_hole_or_a_borrowed_page_does_not_move(self, machine: MemoryMachine) -> None:
        machine.grant(B, 1, A, 0x2000)
        assert add(machine, MapSpace.gmfn, 0x999, HOLE) == -Errno.EINVAL
        assert add(machine, MapSpace.gmfn, 0x2000, HOLE) == -Errno.EINVAL

    def test_an_alias_does_not_move(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(A, 1, A, 0x2000)
        assert add(machine, MapSpace.gmfn, 0x2000, HOLE) == -Errno.EXDEV
        assert machine.rows.refs[mfn] == 1
        assert machine.mfn(A, 1) == mfn

    def test_a_grant_is_not_replaced(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(B, 1, A, HOLE)
        assert add(machine, MapSpace.shared_info, 0, HOLE) == -Errno.ENXIO
        assert machine.mfn(A, HOLE) == mfn

    def test_beyond_the_address_space(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.shared_info, 0, 1 << 27) == -Errno.ENOENT

    @pytest.mark.parametrize(("space", "idx", "errno"), [
        (MapSpace.shared_info, 1, Errno.EINVAL), (MapSpace.dev_mmio, 0, Errno.EACCES), (6, 0, Errno.EINVAL),
        (0xFFFFFFFF, 0, Errno.EINVAL), (MapSpace.gmfn_foreign, 0, Errno.ENOSYS)])
    def test_spaces_that_there_are_not(self, machine: MemoryMachine, space: int, idx: int, errno: Errno) -> None:
        assert add(machine, space, idx, HOLE) == -errno

    def test_complaints_come_in_xens_order(self, machine: MemoryMachine) -> None:
        assert raw(machine, MemoryOp.add_to_physmap | 0x10000 << 6, WILD) == -Errno.EDOM
        assert raw(machine, MemoryOp.add_to_physmap, WILD) == -Errno.EFAULT
        assert add(machine, MapSpace.gmfn_foreign, 0, HOLE, dom=NOBODY) == -Errno.ENOSYS
        assert add(machine, MapSpace.dev_mmio, 0, HOLE, dom=NOBODY) == -Errno.ESRCH
        assert add(machine, MapSpace.dev_mmio, 0, HOLE, dom=B) == -Errno.EACCES
        assert add(machine, MapSpace.shared_info, 1, HOLE, dom=PV) == -Errno.EACCES
        assert add(machine, MapSpace.shared_info, 1, HOLE, dom=B) == -Errno.EPERM
        assert add(machine, MapSpace.shared_info, 0, HOLE, caller=PV) == -Errno.EACCES

    def test_the_privileged_may_do_it_for_others(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.shared_info, 0, HOLE, dom=B, caller=PRIVILEGED) == 0
        assert machine.mfn(B, HOLE) << PAGE_SHIFT == machine.domains.shared_info[B]


class TestRange:
    def test_moves_every_page(self, machine: MemoryMachine) -> None:
        frames = [machine.mfn(A, gfn) for gfn in range(10, 20)]
        assert add(machine, MapSpace.gmfn_range, 10, HOLE, size=10) == 0
        assert [machine.mfn(A, HOLE + index) for index in range(10)] == frames

    def test_stops_at_the_first_that_fails(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.gmfn_range, 60, HOLE, size=10) == -Errno.EINVAL
        assert machine.memory.find(A, HOLE + 3) is not None
        assert machine.memory.find(A, HOLE + 4) is None

    def test_goes_on_where_a_continued_call_stood(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.gmfn_range, 10, HOLE, size=10, start=8) == 0
        assert machine.memory.find(A, HOLE + 7) is None
        assert machine.memory.find(A, HOLE + 8) is not None
        assert add(machine, MapSpace.gmfn_range, 10, HOLE, size=10, start=10) == 0
        assert add(machine, MapSpace.gmfn_range, 10, HOLE, size=10, start=11) == -Errno.EILSEQ

    def test_does_not_wrap(self) -> None:
        machine = MemoryMachine()
        assert add(machine, MapSpace.gmfn_range, (1 << 64) - 5, HOLE, size=5) == -Errno.EOVERFLOW
        assert add(machine, MapSpace.gmfn_range, 0, (1 << 64) - 5, size=6) == -Errno.EOVERFLOW

    def test_a_long_one_is_done_in_pieces(self) -> None:
        machine = MemoryMachine(pages=NR_PAGES, frames=16384)
        assert NR_PAGES > 2 * SHARE
        assert add(machine, MapSpace.gmfn_range, 0, 0x4000, size=NR_PAGES) == 0
        assert machine.memory.find(A, NR_PAGES - 1) is None
        assert machine.memory.find(A, 0x4000 + NR_PAGES - 1) is not None


class TestBatch:
    def batch(self, machine: MemoryMachine, space: int, pages: list[tuple[int, int]], *, dom: int = DOMID_SELF,
              foreign: int = 0, start: int = 0, caller: int = A) -> tuple[int, list[int]]:
        """Result and error codes."""
        who = machine.callers[caller]
        word = who.width // 8
        for at, column in ((IDXS, 0), (GPFNS, 1)):
            who.memory.write(at, b"".join(page[column].to_bytes(word, "little") for page in pages))
        who.memory.write(ERRS, b"\x55" * 4 * len(pages))
        result = op(machine, MemoryOp.add_to_physmap_batch | start << 6, ADD_TO_PHYSMAP_BATCH, dom, space, len(pages),
                    foreign.to_bytes(2, "little"), IDXS, GPFNS, ERRS, caller=caller)
        return result, [int.from_bytes(who.memory.read(ERRS + 4 * index, 4), "little", signed=True)
                        for index in range(len(pages))]

    def test_each_page_has_its_own_error(self, machine: MemoryMachine) -> None:
        pages = [(3, HOLE), (0x999, HOLE + 1), (4, HOLE + 2)]
        assert self.batch(machine, MapSpace.gmfn, pages) == (0, [0, -Errno.EINVAL, 0])
        assert machine.memory.find(A, HOLE + 2) is not None

    def test_complaints_come_in_xens_order(self, machine: MemoryMachine) -> None:
        cmd = MemoryOp.add_to_physmap_batch
        assert raw(machine, cmd | 0x10000 << 6, WILD) == -Errno.EDOM
        assert raw(machine, cmd, WILD) == -Errno.EFAULT
        assert self.batch(machine, MapSpace.gmfn_range, [(3, HOLE)], dom=NOBODY)[0] == -Errno.EOPNOTSUPP
        assert self.batch(machine, MapSpace.gmfn, [(3, HOLE)], dom=NOBODY)[0] == -Errno.ESRCH
        assert self.batch(machine, MapSpace.dev_mmio, [(3, HOLE)])[0] == -Errno.EACCES
        assert self.batch(machine, MapSpace.gmfn, [(3, HOLE)], dom=PV)[0] == -Errno.EACCES
        assert self.batch(machine, MapSpace.gmfn, [(3, HOLE)], dom=B, start=2)[0] == -Errno.EPERM
        assert self.batch(machine, MapSpace.gmfn, [(3, HOLE)], start=2)[0] == -Errno.EILSEQ
        assert self.batch(machine, MapSpace.gmfn, [(3, HOLE)], start=1)[0] == -Errno.EILSEQ
        assert self.batch(machine, MapSpace.gmfn, [])[0] == 0

    @pytest.mark.parametrize("wild", [0, 1, 2])
    def test_wild_lists(self, machine: MemoryMachine, wild: int) -> None:
        lists = [IDXS, GPFNS, ERRS]
        lists[wild] = WILD
        assert op(machine, MemoryOp.add_to_physmap_batch, ADD_TO_PHYSMAP_BATCH, A, MapSpace.shared_info, 1, bytes(2),
                  *lists) == -Errno.EFAULT

    def test_a_continued_one_leaves_the_pages_before_alone(self, machine: MemoryMachine) -> None:
        untouched = 0x55555555
        assert self.batch(machine, MapSpace.gmfn, [(3, HOLE), (4, HOLE + 1)], start=1) == (0, [untouched, 0])
        assert machine.memory.find(A, HOLE) is None

    def test_a_long_one_is_done_in_pieces(self) -> None:
        machine = MemoryMachine(pages=NR_PAGES, frames=16384)
        pages = [(index, 0x4000 + index) for index in range(NR_PAGES)]
        assert self.batch(machine, MapSpace.gmfn, pages) == (0, [0] * NR_PAGES)

    def test_foreign_pages_are_for_the_privileged(self, machine: MemoryMachine) -> None:
        space = MapSpace.gmfn_foreign
        assert self.batch(machine, space, [(3, HOLE)], foreign=B) == (0, [-Errno.EPERM])
        assert self.batch(machine, space, [(3, HOLE)], foreign=NOBODY) == (0, [-Errno.EPERM])
        assert machine.memory.find(A, HOLE) is None
        assert self.batch(machine, space, [(3, HOLE)], foreign=B, caller=PRIVILEGED) == (0, [0])
        assert machine.memory.lookup(PRIVILEGED, Gfn(HOLE)) == (machine.mfn(B, 3), P2mType.MAP_FOREIGN)
        pages = [(3, 0x3000), (0x999, 0x3001)]
        assert self.batch(machine, space, pages, foreign=NOBODY, caller=PRIVILEGED) == (0, [-Errno.ESRCH] * 2)
        assert self.batch(machine, space, pages, foreign=B, caller=PRIVILEGED) == (0, [0, -Errno.EINVAL])
        assert self.batch(machine, space, pages, foreign=PRIVILEGED, caller=PRIVILEGED) == (0, [-Errno.EINVAL] * 2)


class TestRemove:
    def remove(self, machine: MemoryMachine, gpfn: int, dom: int = DOMID_SELF) -> int:
        return op(machine, MemoryOp.remove_from_physmap, REMOVE_FROM_PHYSMAP, dom, gpfn)

    def test_ram_is_out_of_sight_but_not_given_back(self, machine: MemoryMachine) -> None:
        mfn, before = machine.mfn(A, 3), machine.domains.tot_pages[A]
        assert self.remove(machine, 3) == 0
        assert machine.memory.find(A, 3) is None
        assert machine.memory.owner(mfn) == A
        assert machine.memory.gfn_of(A, mfn) is None
        assert machine.domains.tot_pages[A] == before

    def test_shared_info_can_come_back(self, machine: MemoryMachine) -> None:
        assert add(machine, MapSpace.shared_info, 0, HOLE) == 0
        assert self.remove(machine, HOLE) == 0
        assert add(machine, MapSpace.shared_info, 0, HOLE) == 0

    def test_a_grants_page_goes_and_its_reference_stays(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(B, 1, A, HOLE)
        assert self.remove(machine, HOLE) == 0
        assert machine.rows.refs[mfn] == 1
        with pytest.raises(XenError):
            machine.memory.unmap_grant(A, Gfn(HOLE), mfn)

    def test_complaints_come_in_xens_order(self, machine: MemoryMachine) -> None:
        assert raw(machine, MemoryOp.remove_from_physmap | 1 << 6, WILD) == -Errno.EINVAL
        assert raw(machine, MemoryOp.remove_from_physmap, WILD) == -Errno.EFAULT
        assert self.remove(machine, 3, NOBODY) == -Errno.ESRCH
        assert self.remove(machine, 3, PV) == -Errno.EPERM
        assert self.remove(machine, 3, B) == -Errno.EPERM
        assert self.remove(machine, HOLE) == -Errno.ENOENT
