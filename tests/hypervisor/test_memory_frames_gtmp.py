"""Frames have one owner, live while somebody holds them, and come back clean."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory_host import FIRST, POOL, Machine

from abi.errno import Errno, XenError
from abi.types import PAGE_SIZE, Domid, Mfn
from abi.xen import DOMID_INVALID, DOMID_XEN
from hypervisor.frames import FrameKind

START = FIRST + POOL
DOM, OTHER = Domid(1), Domid(2)


def enomem(action: object, *arguments: int) -> None:
    with pytest.raises(XenError) as caught:
        action(*arguments)  # type: ignore[operator]
    assert caught.value.errno == Errno.ENOMEM


def test_below_the_first_frame_there_is_no_memory() -> None:
    frames = Machine().frames
    assert not frames.valid(FIRST - 1)
    assert frames.valid(FIRST)
    assert not frames.valid(4096)
    assert frames.owner(Mfn(0)) == DOMID_XEN


def test_free_frames_and_frames_that_do_not_exist_belong_to_nobody() -> None:
    frames = Machine().frames
    assert frames.owner(Mfn(START)) == frames.owner(Mfn(1 << 40)) == DOMID_INVALID
    assert not frames.get_page(Mfn(START), Domid(0))
    assert not frames.get_page(Mfn(1 << 40), Domid(0))


def test_an_extent_is_aligned_as_wanted_and_the_gap_before_it_is_not_lost() -> None:
    machine = Machine()
    assert machine.frames.allocate_extent(DOM, 8) == START
    assert machine.frames.allocate_extent(DOM, 512, 512) == START + 512
    assert machine.frames.allocate_extent(DOM, 1) == START + 8
    assert machine.domains.tot_pages[DOM] == 521


def test_an_extent_lies_below_a_limit() -> None:
    frames = Machine().frames
    enomem(frames.allocate_extent, DOM, 3, 1, START + 2)
    assert frames.allocate_extent(DOM, 2, 1, START + 2) == START


def test_neighbours_that_are_freed_become_one_extent_again() -> None:
    machine = Machine()
    frames = machine.frames
    first = [frames.allocate_extent(DOM, 700) for _ in range(4)]
    for mfn in (first[1], first[3], first[0], first[2]):
        for index in range(700):
            frames.drop_allocation(Mfn(mfn + index))
    assert machine.free_extents() == [(START, 4096 - START)]


def test_a_full_machine_says_enomem() -> None:
    machine = Machine()
    everything = machine.heap.free_frames
    enomem(machine.frames.allocate_extent, DOM, everything + 1)
    machine.frames.allocate_extent(DOM, everything)
    enomem(machine.frames.allocate_extent, DOM, 1)
    for _ in range(POOL):
        machine.frames.allocate_xen_frame(DOM)
    enomem(machine.frames.allocate_xen_frame, DOM)


def test_the_pool_gives_a_freed_frame_again_clean() -> None:
    machine = Machine()
    mfn = machine.frames.allocate_xen_frame(DOM)
    machine.arena.write(mfn * PAGE_SIZE, b"secret")
    machine.frames.put_page(mfn)
    assert machine.frames.owner(mfn) == DOMID_INVALID
    assert machine.frames.allocate_table() == mfn
    assert machine.arena.read(mfn * PAGE_SIZE, PAGE_SIZE) == bytes(PAGE_SIZE)


def test_xen_frames_do_not_count_as_a_domains_memory() -> None:
    machine = Machine()
    mfn = machine.frames.allocate_xen_frame(DOM)
    assert machine.frames.is_xen_heap(mfn)
    assert machine.domains.tot_pages[DOM] == 0


def test_a_reference_keeps_a_frame_that_its_owner_has_given_back() -> None:
    machine = Machine()
    frames = machine.frames
    mfn = frames.allocate_extent(DOM, 1)
    assert frames.get_page(mfn, DOM)
    assert not frames.get_page(mfn, OTHER)
    frames.drop_allocation(mfn)
    assert frames.owner(mfn) == DOM
    assert machine.domains.tot_pages[DOM] == 1
    frames.put_page(mfn)
    assert frames.owner(mfn) == DOMID_INVALID
    assert machine.domains.tot_pages[DOM] == 0


def test_no_count_goes_below_zero() -> None:
    frames = Machine().frames
    mfn = frames.allocate_extent(DOM, 1)
    with pytest.raises(ValueError, match="invalid value"):
        frames.put_page(mfn)
    assert frames.table.refs[mfn] == 0


@pytest.mark.parametrize(("first", "pool"), [(0, 10), (10, 0), (4000, 97), (4096, 1)])
def test_a_pool_that_does_not_fit_is_refused(first: int, pool: int) -> None:
    machine = Machine()
    with pytest.raises(ValueError, match="does not fit"):
        machine.heap.format(first, pool)


def test_a_machine_that_is_all_pool_has_no_extents() -> None:
    machine = Machine(frames=512, pool=256)
    enomem(machine.frames.allocate_extent, DOM, 1)


class FramesHaveOneOwner(RuleBasedStateMachine):
    """Allocation, references and the end of domains against a model with a row for each frame."""

    @initialize()
    def begin(self) -> None:
        self.machine = Machine(frames=START + 1500)
        self.frames = self.machine.frames
        self.owner: dict[int, Domid] = {}
        self.refs: dict[int, int] = {}
        self.allocated: set[int] = set()

    def _gone(self, mfn: int) -> None:
        if mfn not in self.allocated and not self.refs[mfn]:
            del self.owner[mfn], self.refs[mfn]

    @rule(domid=st.integers(1, 3), count=st.sampled_from([1, 2, 7, 16, 512, 700]), align=st.sampled_from([1, 4, 512]))
    def allocate(self, domid: int, count: int, align: int) -> None:
        free = [mfn for mfn in range(START, START + 1500) if mfn not in self.owner]
        fits = any(mfn % align == 0 and all(mfn + index in set_of_free for index in range(count))
                   for set_of_free in [set(free)] for mfn in free)
        try:
            start = self.frames.allocate_extent(Domid(domid), count, align)
        except XenError:
            assert not fits
            return
        assert fits
        assert start % align == 0
        for mfn in range(start, start + count):
            assert mfn not in self.owner, "a frame with two owners"
            self.owner[mfn], self.refs[mfn] = Domid(domid), 0
            self.allocated.add(mfn)
        self.machine.arena.write(start * PAGE_SIZE, b"x")

    @precondition(lambda self: self.owner)
    @rule(data=st.data(), domid=st.integers(1, 3))
    def get(self, data: st.DataObject, domid: int) -> None:
        mfn = data.draw(st.sampled_from(sorted(self.owner)))
        if self.frames.get_page(Mfn(mfn), Domid(domid)):
            assert self.owner[mfn] == domid
            self.refs[mfn] += 1
        else:
            assert self.owner[mfn] != domid

    @precondition(lambda self: any(self.refs.values()))
    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        mfn = data.draw(st.sampled_from(sorted(mfn for mfn, refs in self.refs.items() if refs)))
        self.frames.put_page(Mfn(mfn))
        self.refs[mfn] -= 1
        self._gone(mfn)

    @precondition(lambda self: self.owner)
    @rule(data=st.data(), count=st.integers(1, 40))
    def give_back(self, data: st.DataObject, count: int) -> None:
        start = data.draw(st.sampled_from(sorted(self.owner)))
        for mfn in range(start, start + count):
            if mfn in self.owner:
                self.frames.drop_allocation(Mfn(mfn))
                self.allocated.discard(mfn)
                self._gone(mfn)

    @rule(domid=st.integers(1, 3))
    def end_of_a_domain(self, domid: int) -> None:
        kept = self.frames.release(Domid(domid), START, START + 1500)
        for mfn in [mfn for mfn, owner in self.owner.items() if owner == domid]:
            self.allocated.discard(mfn)
            self._gone(mfn)
        assert kept == sum(owner == domid for owner in self.owner.values())

    @invariant()
    def rows_say_what_the_model_says(self) -> None:
        rows = self.machine.rows
        for mfn in range(START, START + 1500):
            if mfn in self.owner:
                assert (rows.kind[mfn], rows.owner[mfn], rows.refs[mfn]) == (
                    FrameKind.RAM, self.owner[mfn], self.refs[mfn])
            else:
                assert (rows.kind[mfn], rows.refs[mfn], rows.flags[mfn]) == (FrameKind.FREE, 0, 0)
        for domid in range(1, 4):
            assert self.machine.domains.tot_pages[domid] == sum(owner == domid for owner in self.owner.values())

    @invariant()
    def free_memory_is_clean_and_in_as_few_extents_as_can_be(self) -> None:
        runs: list[list[int]] = []
        for mfn in range(START, START + 1500):
            if mfn in self.owner:
                continue
            assert not self.machine.arena.u8[mfn * PAGE_SIZE]
            if runs and sum(runs[-1]) == mfn:
                runs[-1][1] += 1
            else:
                runs.append([mfn, 1])
        assert self.machine.free_extents() == [(start, length) for start, length in runs]
        assert self.machine.heap.free_frames == 1500 - len(self.owner)


TestFramesHaveOneOwner = FramesHaveOneOwner.TestCase
TestFramesHaveOneOwner.settings = settings(max_examples=400, stateful_step_count=25, deadline=None)
