"""Whatever guests do, each reaches only its own frames, Xen's that were given to it, and those granted to it."""

from collections import Counter
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory_host import MemoryMachine

from abi.errno import XenError
from abi.memory import ADD_TO_PHYSMAP, MEMORY_RESERVATION, REMOVE_FROM_PHYSMAP, MapSpace, MemoryOp
from abi.types import Domid, Gfn, Mfn
from abi.xen import DOMID_SELF
from grants.interfaces import P2mType
from hypervisor.frames import INVALID_M2P, FrameKind
from hypervisor.physmap import RAM_TYPES

ARG, LIST = 0x100, 0x1000
GUESTS = (1, 2, 4)
PAGES = st.one_of(st.integers(0, 12), st.integers(510, 514), st.sampled_from([0x1000, 0x1001, 0xFEFFC, 1 << 26]))
DOMS = st.sampled_from(GUESTS)
BASE_PAGES = 520


class GuestsStayApart(RuleBasedStateMachine):
    """Guests balloon, move pages, map grants of each other, and die.  `held` are the grant tables' references."""

    @initialize()
    def begin(self) -> None:
        self.machine = MemoryMachine(pages=0, frames=4096 + 512)
        self.memory = self.machine.memory
        self.free = self.machine.free_extents()
        self.held: list[tuple[int, int, Mfn]] = []
        self.alive: set[int] = set()
        for domid in GUESTS:
            self.be_born(domid)

    def be_born(self, domid: int) -> None:
        if domid not in self.alive and not self.machine.domains.tot_pages[domid]:
            self.memory.allocate_domain(Domid(domid), BASE_PAGES)
            self.alive.add(domid)

    def call(self, domid: int, cmd: int, data: bytes) -> None:
        if domid in self.alive:
            self.machine.callers[domid].memory.write(ARG, data)
            with suppress(XenError):
                self.machine(cmd, ARG, domid)

    @rule(domid=DOMS)
    def birth(self, domid: int) -> None:
        self.be_born(domid)

    @rule(domid=DOMS, gfn=PAGES, order=st.sampled_from([0, 0, 2, 9]), op=st.sampled_from(
        [MemoryOp.increase_reservation, MemoryOp.decrease_reservation, MemoryOp.populate_physmap]))
    def balloon(self, domid: int, gfn: int, order: int, op: int) -> None:
        self.machine.callers[domid].memory.write(LIST, gfn.to_bytes(8, "little"))
        self.call(domid, op, MEMORY_RESERVATION.at(64).pack(LIST, 1, order, 0, DOMID_SELF))

    @rule(domid=DOMS, space=st.sampled_from([MapSpace.shared_info, MapSpace.grant_table, MapSpace.gmfn]),
          idx=st.integers(0, 1), source=PAGES, gfn=PAGES)
    def add_to_physmap(self, domid: int, space: int, idx: int, source: int, gfn: int) -> None:
        idx = source if space == MapSpace.gmfn else idx
        self.call(domid, MemoryOp.add_to_physmap, ADD_TO_PHYSMAP.at(64).pack(DOMID_SELF, 0, space, idx, gfn))

    @rule(domid=DOMS, gfn=PAGES)
    def remove_from_physmap(self, domid: int, gfn: int) -> None:
        self.call(domid, MemoryOp.remove_from_physmap, REMOVE_FROM_PHYSMAP.at(64).pack(DOMID_SELF, gfn))

    @rule(granter=DOMS, gfn=PAGES, grantee=DOMS, at=PAGES, readonly=st.booleans())
    def map_grant(self, granter: int, gfn: int, grantee: int, at: int, readonly: bool) -> None:
        if granter == grantee or not {granter, grantee} <= self.alive:
            return
        found = self.memory.find(Domid(granter), gfn)
        if found is None or not self.memory.get_page(found[0], Domid(granter)):
            return
        try:
            self.memory.map_grant(Domid(grantee), Gfn(at), found[0], readonly)
        except XenError:
            self.memory.put_page(found[0])
        else:
            self.held.append((grantee, at, found[0]))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unmap_grant(self, data: st.DataObject) -> None:
        mapping = data.draw(st.sampled_from(self.held))
        domid, gfn, mfn = mapping
        try:
            self.memory.unmap_grant(Domid(domid), Gfn(gfn), mfn)
        except XenError:  # the guest took it out of its address space; the handle lives until the guest dies
            return
        self.memory.put_page(mfn)
        self.held.remove(mapping)

    @rule(domid=DOMS)
    def death(self, domid: int) -> None:
        if domid not in self.alive:
            return
        for mapping in [mapping for mapping in self.held if mapping[0] == domid]:
            self.held.remove(mapping)
            with suppress(XenError):
                self.memory.unmap_grant(Domid(domid), Gfn(mapping[1]), mapping[2])
            self.memory.put_page(mapping[2])
        for key in [key for key in self.machine.grants.frames if key[0] == domid]:
            self.memory.put_page(self.machine.grants.frames.pop(key))
        kept = self.memory.free_domain(Domid(domid))
        self.alive.discard(domid)
        assert kept == self.machine.domains.tot_pages[domid] <= len(self.held)

    @invariant()
    def nobody_reaches_what_is_not_his(self) -> None:
        rows = self.machine.rows
        granted = {(domid, mfn) for domid, _, mfn in self.held}
        for domid in self.alive:
            seen = Counter[int]()
            for gfn, first, count, kind in self.machine.p2m.extents(Domid(domid)):
                for mfn in range(first, first + count):
                    if kind in RAM_TYPES:
                        assert rows.owner[mfn] == domid
                        assert rows.kind[mfn] in (FrameKind.RAM, FrameKind.XENHEAP)
                        assert rows.gfn[mfn] == gfn + mfn - first, "p2m and M2P disagree"
                        seen[mfn] += 1
                    else:
                        assert kind in (P2mType.GRANT_MAP_RW, P2mType.GRANT_MAP_RO)
                        assert (domid, mfn) in granted
            assert max(seen.values(), default=0) <= 1, "a page at two addresses"
            for mfn in range(self.machine.frames.count):
                if rows.kind[mfn] in (FrameKind.RAM, FrameKind.XENHEAP) and rows.owner[mfn] == domid:
                    assert (rows.gfn[mfn] != INVALID_M2P) == (mfn in seen)

    @invariant()
    def references_are_what_is_held(self) -> None:
        held = Counter(mfn for *_, mfn in self.held)
        rows = self.machine.rows
        for mfn in range(self.machine.heap.start, self.machine.frames.count):
            assert rows.refs[mfn] == held[Mfn(mfn)]

    def teardown(self) -> None:
        if hasattr(self, "alive"):
            for domid in GUESTS:
                self.death(domid)
            assert not self.held
            assert self.machine.free_extents() == self.free
            assert self.machine.pool_frames_in_use() == 0


TestGuestsStayApart = GuestsStayApart.TestCase
TestGuestsStayApart.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
