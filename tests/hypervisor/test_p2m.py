"""The p2m says what was put into it, to Xen's code and to a processor that walks it."""

import numpy
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory_host import Machine

from abi.errno import Errno, XenError
from abi.types import Domid
from grants.interfaces import P2mType
from hypervisor.p2m import GFN_BITS, MEMORY_TYPES, WRITABLE_TYPES

DOM = Domid(1)
RAM, READ_ONLY, GRANT, GRANT_RO = P2mType.RAM_RW, P2mType.RAM_RO, P2mType.GRANT_MAP_RW, P2mType.GRANT_MAP_RO


def processor_walk(machine: Machine, root: int, address: int) -> tuple[int, bool, bool] | None:
    """Machine address, writable, executable: a nested walk by the AMD64 manual (5.3, 15.25), None for a fault."""
    memory = machine.arena.u8
    base, writable, executable = root, True, True
    for level in (4, 3, 2, 1):
        shift = 12 + 9 * (level - 1)
        at = base + 8 * ((address >> shift) % 512)
        bits = "".join(f"{byte:08b}" for byte in reversed(bytes(memory[at:at + 8])))[::-1]  # bits[n] is bit n
        if bits[0] == "0":
            return None
        assert bits[2] == "1", "nested entries of a guest are user entries"
        writable, executable = writable and bits[1] == "1", executable and bits[63] == "0"
        large = level in (2, 3) and bits[7] == "1"
        assert level in (2, 3) or bits[7] == "0", "reserved in a PML4 entry, another memory type in the last level"
        frame = int(bits[12:52][::-1], 2) << 12
        if large or level == 1:
            low = (1 << shift) - 1
            assert not frame & low, "reserved bits of a large entry"
            return frame | address & low, writable, executable
        assert frame < 1 << 32, "tables lie below 4 GiB"
        base = frame
    raise AssertionError


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.p2m.create(DOM)
    return machine


def tables_in_use(machine: Machine) -> int:
    return machine.pool_frames_in_use()


def test_a_domain_without_a_p2m_has_no_pages(machine: Machine) -> None:
    assert machine.p2m.find(Domid(2), 0) is None
    with pytest.raises(XenError, match="ENOENT"):
        machine.p2m.set_entry(Domid(2), 1 << 20, 7, RAM)
    assert not any(machine.arena.read(0, 4096))


def test_a_page_is_found_with_its_type(machine: Machine) -> None:
    for gfn, kind in enumerate(sorted(MEMORY_TYPES)):
        machine.p2m.set_entry(DOM, gfn, 1000 + gfn, kind)
        assert machine.p2m.find(DOM, gfn) == (1000 + gfn, kind)
    assert machine.p2m.find(DOM, 511) is None


def test_64_mib_of_ram_and_the_special_pages_cost_five_tables(machine: Machine) -> None:
    machine.p2m.set_extent(DOM, 0, 1 << 20, 16384, RAM)
    assert tables_in_use(machine) == 3
    machine.p2m.set_extent(DOM, 0xFEFF8, 600, 8, RAM)
    assert tables_in_use(machine) == 5


def test_a_gigabyte_is_one_entry(machine: Machine) -> None:
    machine.p2m.set_extent(DOM, 0, 1 << 18, 3 << 18, RAM)
    assert tables_in_use(machine) == 2
    assert [count for *_, count, _ in machine.p2m.extents(DOM)] == [1 << 18] * 3
    assert machine.p2m.find(DOM, (3 << 18) - 1) == ((4 << 18) - 1, RAM)


def test_a_gigabyte_is_split_down_to_one_page(machine: Machine) -> None:
    machine.p2m.set_extent(DOM, 0, 1 << 18, 1 << 18, RAM)
    machine.p2m.set_entry(DOM, 12345, 7, READ_ONLY)
    assert tables_in_use(machine) == 4
    assert machine.p2m.find(DOM, 12345) == (7, READ_ONLY)
    for gfn in (0, 12344, 12346, (1 << 18) - 1):
        assert machine.p2m.find(DOM, gfn) == ((1 << 18) + gfn, RAM)


def test_beyond_the_address_space_there_is_nothing_and_goes_nothing(machine: Machine) -> None:
    beyond = 1 << GFN_BITS
    assert machine.p2m.find(DOM, beyond) is None
    for put in (lambda: machine.p2m.set_entry(DOM, beyond, 7, RAM), lambda: machine.p2m.fill(DOM, beyond, 7, GRANT),
                lambda: machine.p2m.set_extent(DOM, beyond - 1, 7, 2, RAM)):
        with pytest.raises(XenError) as caught:
            put()
        assert caught.value.errno == Errno.ENOENT
    machine.p2m.set_entry(DOM, beyond - 1, 7, RAM)
    assert machine.p2m.find(DOM, beyond - 1) == (7, RAM)


def test_the_highest_page_is_remembered(machine: Machine) -> None:
    machine.p2m.set_extent(DOM, 100, 1000, 50, RAM)
    machine.p2m.fill(DOM, 200, 7, GRANT)
    machine.p2m.clear(DOM, 200)
    assert machine.p2m.table.max_gfn[DOM] == 200


def test_engines_flush_when_something_present_changes_and_only_then(machine: Machine) -> None:
    machine.p2m.set_extent(DOM, 0, 512, 512, RAM)
    machine.p2m.fill(DOM, 512, 7, GRANT)
    assert not machine.p2m.fill(DOM, 512, 8, GRANT)
    assert machine.flushed == []
    machine.p2m.unfill(DOM, 512, 7)
    assert machine.flushed == [DOM]
    machine.p2m.set_entry(DOM, 3, 9, RAM)
    assert machine.flushed == [DOM] * 2
    machine.p2m.clear(DOM, 3)
    assert machine.flushed == [DOM] * 3
    machine.p2m.set_extent(DOM, 3, 700, 2, RAM)
    assert machine.flushed == [DOM] * 4


def test_only_a_grant_mapping_of_that_frame_is_unfilled(machine: Machine) -> None:
    machine.p2m.set_entry(DOM, 1, 7, RAM)
    machine.p2m.fill(DOM, 2, 7, GRANT_RO)
    assert not machine.p2m.unfill(DOM, 1, 7)
    assert not machine.p2m.unfill(DOM, 2, 6)
    assert machine.p2m.unfill(DOM, 2, 7)
    assert not machine.p2m.unfill(DOM, 2, 7)


def test_the_end_gives_every_table_back_clean(machine: Machine) -> None:
    machine.p2m.set_extent(DOM, 3, 1000, 2000, RAM)
    machine.p2m.set_entry(DOM, 1 << 26, 7, RAM)
    machine.p2m.destroy(DOM)
    assert tables_in_use(machine) == 0
    assert not numpy.frombuffer(machine.arena.u8, numpy.uint8).any()
    machine.p2m.destroy(DOM)


def test_without_frames_for_tables_it_is_enomem() -> None:
    machine = Machine(pool=4)
    machine.p2m.create(DOM)
    machine.p2m.set_extent(DOM, 0, 512, 512, RAM)
    machine.p2m.set_entry(DOM, 0, 7, RAM)
    with pytest.raises(XenError, match="ENOMEM"):
        machine.p2m.set_entry(DOM, 1 << 20, 7, RAM)
    machine.p2m.destroy(DOM)
    machine.frames.allocate_table(), machine.frames.allocate_table(), machine.frames.allocate_table()
    with pytest.raises(XenError, match="ENOMEM"):
        machine.p2m.create(DOM)
    assert tables_in_use(machine) == 3


PAGES = st.one_of(st.integers(0, 1100), st.sampled_from([0x3FFFF, 0x40000, 0xFEFF8, 1 << 20, (1 << GFN_BITS) - 1]))
TYPES = st.sampled_from(sorted(MEMORY_TYPES))
MFNS = st.integers(1, (1 << 36) - 2048)


class P2mAgreesWithADictionary(RuleBasedStateMachine):
    """Random changes, large and small, against a model with a row for each page."""

    @initialize()
    def begin(self) -> None:
        self.machine = Machine()
        self.p2m = self.machine.p2m
        self.p2m.create(DOM)
        self.model: dict[int, tuple[int, P2mType]] = {}
        self.touched = {0}

    @rule(gfn=PAGES, mfn=MFNS, kind=TYPES)
    def set_entry(self, gfn: int, mfn: int, kind: P2mType) -> None:
        self.p2m.set_entry(DOM, gfn, mfn, kind)
        self.model[gfn] = mfn, kind
        self.touched.add(gfn)

    @rule(gfn=PAGES, mfn=MFNS, kind=st.sampled_from([GRANT, GRANT_RO]))
    def fill(self, gfn: int, mfn: int, kind: P2mType) -> None:
        assert self.p2m.fill(DOM, gfn, mfn, kind) == (gfn not in self.model)
        self.model.setdefault(gfn, (mfn, kind))
        self.touched.add(gfn)

    @rule(data=st.data())
    def unfill(self, data: st.DataObject) -> None:
        gfn = data.draw(st.sampled_from(sorted(self.touched)))
        mfn, kind = self.model.get(gfn, (1, RAM))
        assert self.p2m.unfill(DOM, gfn, mfn) == (kind in (GRANT, GRANT_RO))
        if kind in (GRANT, GRANT_RO):
            del self.model[gfn]

    @rule(gfn=st.sampled_from([0, 1, 511, 512, 513, 1024]), mfn=st.sampled_from([512, 1024, 1025, 1 << 20]),
          count=st.sampled_from([1, 2, 511, 512, 513, 1030]), kind=TYPES)
    def set_extent(self, gfn: int, mfn: int, count: int, kind: P2mType) -> None:
        self.p2m.set_extent(DOM, gfn, mfn, count, kind)
        self.model.update({gfn + index: (mfn + index, kind) for index in range(count)})
        self.touched |= {gfn, gfn + count - 1, gfn + count}

    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        if self.model:
            gfn = data.draw(st.sampled_from(sorted(self.model)))
            self.p2m.clear(DOM, gfn)
            del self.model[gfn]
            self.touched |= {min(gfn + 1, (1 << GFN_BITS) - 1), max(gfn - 1, 0)}

    @invariant()
    def what_was_touched_is_found(self) -> None:
        root = self.p2m.table.root[DOM]
        for gfn in self.touched:
            expected = self.model.get(gfn)
            assert self.p2m.find(DOM, gfn) == expected
            walked = processor_walk(self.machine, root, gfn << 12 | 0xABC)
            if expected is None:
                assert walked is None
            else:
                mfn, kind = expected
                assert walked == (mfn << 12 | 0xABC, kind in WRITABLE_TYPES, True)

    def teardown(self) -> None:
        if hasattr(self, "model"):
            listed = {gfn + index: (mfn + index, kind)
                      for gfn, mfn, count, kind in self.p2m.extents(DOM) for index in range(count)}
            assert listed == self.model
            self.p2m.destroy(DOM)
            assert self.machine.pool_frames_in_use() == 0


TestP2mAgreesWithADictionary = P2mAgreesWithADictionary.TestCase
TestP2mAgreesWithADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
