"""Ballooning: the number of extents done says all there is to say."""

import pytest
from memory_host import GuestBytes, MemoryMachine

from abi.errno import Errno, XenError
from abi.memory import MEMORY_RESERVATION, MemoryOp, XENMEMF_exact_node_request, XENMEMF_populate_on_demand
from abi.types import Domid
from abi.xen import DOMID_INVALID, DOMID_SELF

ARG, LIST, WILD = 0x100, 0x10000, GuestBytes.SIZE
A, B, PV, PRIVILEGED, NOBODY = Domid(1), Domid(2), Domid(3), Domid(4), 6
INCREASE, DECREASE, POPULATE = (
    MemoryOp.increase_reservation, MemoryOp.decrease_reservation, MemoryOp.populate_physmap)
HOLE = 0x1000


@pytest.fixture(params=[64, 32])
def machine(request: pytest.FixtureRequest) -> MemoryMachine:
    return MemoryMachine(width=request.param)


def reserve(machine: MemoryMachine, op: int, gfns: list[int], *, order: int = 0, flags: int = 0, dom: int = DOMID_SELF,
            start: int = 0, caller: int = A, count: int | None = None, at: int = LIST) -> int:
    who = machine.callers[caller]
    word = who.width // 8
    if gfns:
        who.memory.write(LIST, b"".join(gfn.to_bytes(word, "little") for gfn in gfns))
    who.memory.write(ARG, MEMORY_RESERVATION.at(who.width).pack(
        at, len(gfns) if count is None else count, order, flags, dom))
    return machine(op | start << 6, ARG, caller)


def total(machine: MemoryMachine, domid: int = A) -> int:
    return machine.domains.tot_pages[domid]


class TestDecrease:
    def test_gives_pages_back(self, machine: MemoryMachine) -> None:
        frames = [machine.mfn(A, gfn) for gfn in (3, 5)]
        before = total(machine)
        assert reserve(machine, DECREASE, [3, 5]) == 2
        assert total(machine) == before - 2
        assert machine.memory.find(A, 3) is machine.memory.find(A, 5) is None
        assert [machine.memory.owner(mfn) for mfn in frames] == [DOMID_INVALID] * 2

    def test_stops_at_a_hole(self, machine: MemoryMachine) -> None:
        assert reserve(machine, DECREASE, [3, HOLE, 5]) == 1
        assert machine.memory.find(A, 5) is not None

    def test_an_extent_with_a_hole_is_not_done_but_begun(self, machine: MemoryMachine) -> None:
        assert reserve(machine, DECREASE, [62], order=2) == 0
        assert machine.memory.find(A, 63) is None

    def test_does_not_give_back_what_is_borrowed(self, machine: MemoryMachine) -> None:
        machine.grant(B, 1, A, HOLE)
        assert reserve(machine, DECREASE, [HOLE]) == 0
        assert machine.memory.find(A, HOLE) is not None

    def test_a_page_that_others_map_is_theirs_until_they_are_done(self, machine: MemoryMachine) -> None:
        mfn = machine.grant(A, 3, B, HOLE)
        before = total(machine)
        assert reserve(machine, DECREASE, [3]) == 1
        assert machine.memory.owner(mfn) == A
        assert total(machine) == before
        machine.memory.unmap_grant(B, HOLE, mfn)  # type: ignore[arg-type]
        machine.memory.put_page(mfn)
        assert machine.memory.owner(mfn) == DOMID_INVALID
        assert total(machine) == before - 1

    def test_a_page_of_xens_only_vanishes(self, machine: MemoryMachine) -> None:
        mfn = machine.memory.allocate_xen_frame(A)
        machine.memory.physmap.add_page(A, HOLE, mfn)
        assert reserve(machine, DECREASE, [HOLE]) == 1
        assert machine.memory.owner(mfn) == A
        assert machine.memory.find(A, HOLE) is None


class TestPopulate:
    def test_fills_holes(self, machine: MemoryMachine) -> None:
        before = total(machine)
        assert reserve(machine, POPULATE, [HOLE, HOLE + 7]) == 2
        assert total(machine) == before + 2
        assert machine.memory.gfn_of(A, machine.mfn(A, HOLE + 7)) == HOLE + 7

    def test_what_was_given_back_can_be_had_again(self, machine: MemoryMachine) -> None:
        machine.arena.write(machine.mfn(A, 3) << 12, b"old")
        reserve(machine, DECREASE, [3])
        assert reserve(machine, POPULATE, [3]) == 1
        assert machine.arena.read(machine.mfn(A, 3) << 12, 3) == bytes(3)

    def test_extents_are_naturally_aligned(self, machine: MemoryMachine) -> None:
        assert reserve(machine, POPULATE, [HOLE, HOLE + 16], order=4) == 2
        assert machine.mfn(A, HOLE + 16) % 16 == 0
        assert machine.mfn(A, HOLE + 31) == machine.mfn(A, HOLE + 16) + 15

    def test_not_beyond_the_maximum(self, machine: MemoryMachine) -> None:
        room = machine.domains.max_pages[A] - total(machine)
        assert reserve(machine, POPULATE, list(range(HOLE, HOLE + room + 5))) == room

    def test_over_ram_the_old_frame_stays_with_the_domain(self, machine: MemoryMachine) -> None:
        old, before = machine.mfn(A, 3), total(machine)
        assert reserve(machine, POPULATE, [3]) == 1
        assert machine.memory.owner(old) == A
        assert machine.memory.gfn_of(A, old) is None
        assert total(machine) == before + 1

    def test_over_a_grant_crashes_the_domain(self, machine: MemoryMachine) -> None:
        machine.grant(B, 1, A, HOLE + 1)
        assert reserve(machine, POPULATE, [HOLE, HOLE + 1]) == 1
        assert machine.crashed == [A]

    def test_on_demand_is_nothing_for_oneself(self, machine: MemoryMachine) -> None:
        assert reserve(machine, POPULATE, [HOLE], flags=XENMEMF_populate_on_demand) == 0
        assert machine.log_lines == []

    def test_the_privileged_may_do_it_for_others(self, machine: MemoryMachine) -> None:
        assert reserve(machine, POPULATE, [HOLE], dom=B, caller=PRIVILEGED) == 1
        assert machine.memory.find(B, HOLE) is not None


class TestIncrease:
    def test_adds_frames_that_the_domain_does_not_see(self, machine: MemoryMachine) -> None:
        before, mapped = total(machine), len(list(machine.p2m.extents(A)))
        assert reserve(machine, INCREASE, [], count=3, order=1, at=0) == 3
        assert total(machine) == before + 6
        assert len(list(machine.p2m.extents(A))) == mapped

    def test_not_beyond_the_maximum(self, machine: MemoryMachine) -> None:
        room = machine.domains.max_pages[A] - total(machine)
        assert reserve(machine, INCREASE, [], count=10_000) == room


class TestEveryOne:
    @pytest.mark.parametrize("op", [INCREASE, DECREASE, POPULATE])
    def test_errors_are_nothing_done(self, machine: MemoryMachine, op: int) -> None:
        before = total(machine)
        assert machine(op, WILD) == 0
        assert machine(op | 5 << 6, WILD) == 5
        for dom in (NOBODY, B, PV):
            assert reserve(machine, op, [3], dom=dom) == 0
        assert reserve(machine, op, [3], order=10) == 0
        assert reserve(machine, op, [3], order=0xFFFFFFFF) == 0
        assert reserve(machine, op, [3], flags=5) == 0
        assert reserve(machine, op, [3], flags=1 << 8 | XENMEMF_exact_node_request) == 0
        assert reserve(machine, op, [3], start=1) == 1
        assert reserve(machine, op, [3], start=7) == 7
        assert reserve(machine, op, [3], count=(1 << machine.callers[A].width - 6)) == 0
        if op != INCREASE:
            assert reserve(machine, op, [], count=5, at=WILD) == 0
        assert total(machine) == before

    def test_a_node_or_a_wide_address_is_no_wish(self, machine: MemoryMachine) -> None:
        assert reserve(machine, POPULATE, [HOLE], flags=1 << 8 | 64) == 1
        assert reserve(machine, POPULATE, [HOLE + 1], flags=65 << 8, dom=A, caller=PRIVILEGED) == 0

    def test_memory_below_an_address(self, machine: MemoryMachine) -> None:
        low = reserve(machine, POPULATE, [HOLE, HOLE + 1], flags=23)
        assert low == 2
        assert machine.mfn(A, HOLE + 1) < 2048
        assert reserve(machine, POPULATE, [HOLE + 2], flags=21) == 0

    def test_a_continued_call_begins_where_it_stood(self, machine: MemoryMachine) -> None:
        assert reserve(machine, DECREASE, [3, 4, 5], start=1) == 3
        assert machine.memory.find(A, 3) is not None

    @pytest.mark.parametrize("op", [DECREASE, POPULATE])
    def test_a_long_call_is_done_in_pieces(self, op: int) -> None:
        machine = MemoryMachine(pages=1200, frames=16384)
        machine.domains.max_pages[A] = 10_000
        gfns = list(range(1200)) if op == DECREASE else list(range(0x8000, 0x8000 + 1200))
        assert reserve(machine, op, gfns) == 1200

    def test_of_pv_domains_they_are_not_there_yet(self, machine: MemoryMachine) -> None:
        with pytest.raises(XenError) as caught:
            reserve(machine, DECREASE, [3], caller=PV)
        assert caught.value.errno == Errno.ENOSYS
        assert "decrease_reservation of a PV domain" in machine.log_lines[0]
