"""A PV guest does what it likes with its page tables, and never has a writable mapping of a live one."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from abi.grant_table import GNTMAP_contains_pte, GNTMAP_host_map, GNTMAP_readonly
from abi.memory import MEMORY_RESERVATION, MemoryOp
from abi.types import Domid, Gfn, GrantRef
from abi.xen import DOMID_SELF, Hypercall, MmuextOp
from grants.errors import GrantError
from tests.hypervisor.pv_host import BASE, FREE, GUEST_PAGES, RW, US, P, PvHost

ONE, TWO = Domid(1), Domid(2)
PAGES = st.integers(FREE, FREE + 11)
TABLES = st.sampled_from([0, 1, 2, 3, *range(FREE, FREE + 12)])
SLOTS = st.sampled_from([0, 1, 2, 3, 4, 255, 256, 260, 272, 300, 428, 511])
FLAGS = st.sampled_from([0, P, P | RW, P | RW | US, P | US, P | 8])


class PvMachine(RuleBasedStateMachine):
    """Pages FREE to FREE + 11 of two domains are the playground: data, tables of any level, descriptors, grants."""

    @initialize(width=st.sampled_from([64, 32]))
    def begin(self, width):
        self.host = PvHost(width, pages=GUEST_PAGES)
        self.grants = {}
        for n in range(6):
            for giver, taker in ((ONE, TWO), (TWO, ONE)):
                self.host.hv.grants.seed(giver, GrantRef(8 + n), taker, Gfn(self.host.mfn(FREE + n, giver)))

    def frame(self, page, domid=1):
        return self.host.mfn(page, domid)

    @rule(at=PAGES, page=TABLES, flags=FLAGS)
    def map_at_an_address(self, at, page, flags):
        self.host.va(at, self.frame(page) << 12 | flags)

    @rule(at=PAGES)
    def take_away(self, at):
        self.host.va(at, 0)

    @rule(page=PAGES)
    def protect(self, page):
        self.host.protect(page)

    @rule(table=TABLES, slot=SLOTS, page=TABLES, flags=FLAGS, preserve=st.booleans())
    def update(self, table, slot, page, flags, preserve):
        if slot > 3 or table > 2:  # these lead to the arguments
            self.host.mmu((self.frame(table) << 12 | slot * 8 | 2 * preserve, self.frame(page) << 12 | flags))

    @rule(table=TABLES, requests=st.lists(st.tuples(st.integers(0, 511), TABLES, FLAGS), min_size=64, max_size=80))
    def update_many(self, table, requests):
        """The empty part of a table, so that the arguments stay mapped."""
        self.host.mmu(*((self.frame(table) << 12 | slot * 8, self.frame(page) << 12 | flags)
                        for slot, page, flags in requests if slot > 200 or table >= FREE))

    @rule(command=st.sampled_from([MmuextOp.PIN_L1_TABLE, MmuextOp.PIN_L2_TABLE, MmuextOp.PIN_L3_TABLE,
                                   MmuextOp.PIN_L4_TABLE]), page=TABLES)
    def pin(self, command, page):
        self.host.ext((command, self.frame(page)))

    @rule(page=TABLES)
    def unpin(self, page):
        self.host.ext((MmuextOp.UNPIN_TABLE, self.frame(page)))

    @rule(page=TABLES)
    def user_tables(self, page):
        self.host.ext((MmuextOp.NEW_USER_BASEPTR, self.frame(page)))

    @rule(page=PAGES, command=st.sampled_from([MmuextOp.CLEAR_PAGE, MmuextOp.COPY_PAGE]))
    def fill(self, page, command):
        self.host.ext((command, self.frame(page), self.frame(3)))

    @rule(page=PAGES)
    def descriptors(self, page):
        self.host.call(Hypercall.set_gdt, self.host.put(self.frame(page).to_bytes(8, "little")), 8)

    @rule(page=PAGES, offset=st.sampled_from([0, 4096]))
    def local_descriptors(self, page, offset):
        self.host.ext((MmuextOp.SET_LDT, BASE + page * 4096, 600))
        self.host.pv.descriptors.map_ldt_page(self.host.callers[1].vcpu, offset)

    @rule(table=TABLES, slot=st.integers(0, 511), page=TABLES, flags=FLAGS, half=st.booleans())
    def store(self, table, slot, page, flags, half):
        if slot > 200 or table >= FREE:
            self.host.pv.emulated_write(ONE, self.frame(table) << 9 | slot, self.frame(page) << 12 | flags, half)

    @rule(page=PAGES)
    def give_back(self, page):
        if self.host.hv.frames.owner(self.frame(page)) == ONE:
            self.reserve(MemoryOp.decrease_reservation, self.frame(page))

    @rule()
    def get_more(self):
        self.reserve(MemoryOp.populate_physmap, 5)

    def reserve(self, op, number):
        at = self.host.put(number.to_bytes(8, "little"), at=65)
        self.host.call(Hypercall.memory_op, op, self.host.put(
            MEMORY_RESERVATION.at(self.host.width).pack(at, 1, 0, 0, DOMID_SELF)))

    @rule(taker=st.sampled_from([ONE, TWO]), number=st.integers(0, 5), at=PAGES, readonly=st.booleans(),
          by_entry=st.booleans())
    def map_grant(self, taker, number, at, readonly, by_entry):
        address = self.host.mfn(3, taker) << 12 | at * 8 if by_entry else BASE + at * 4096
        flags = GNTMAP_host_map | GNTMAP_readonly * readonly | GNTMAP_contains_pte * by_entry
        try:
            handle, _ = self.host.hv.grants.mappings.map_grant_ref(taker, address, flags, GrantRef(8 + number),
                                                                   Domid(3 - taker))
        except GrantError:
            return
        self.grants[taker, handle] = address, self.host.mfn(FREE + number, 3 - taker)

    @rule(data=st.data(), new=st.sampled_from([0, BASE + FREE * 4096]))
    def unmap_grant(self, data, new):
        if not self.grants:
            return
        taker, handle = data.draw(st.sampled_from(sorted(self.grants)))
        address, _ = self.grants[taker, handle]
        try:
            self.host.hv.grants.mappings.unmap_grant_ref(taker, address, 0, handle, new)
        except GrantError:
            return
        del self.grants[taker, handle]

    @invariant()
    def all_counts_are_right_and_no_live_table_is_writable(self):
        if hasattr(self, "host"):
            self.host.check(extra=[(frame, False) for _, frame in self.grants.values()])

    def teardown(self):
        if hasattr(self, "host"):
            self.host.hv.destroy(ONE)
            del self.host.first[1]
            self.host.check(extra=[(frame, False) for (taker, _), (_, frame) in self.grants.items() if taker == TWO])
            self.host.hv.destroy(TWO)
            assert not self.host.hv.domains.tot_pages[1]
            assert not self.host.hv.domains.tot_pages[2]


PvMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestPvMachine = PvMachine.TestCase
