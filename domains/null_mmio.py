"""Guest-physical memory that is not there: reads give ones, writes go nowhere, as from Xen with no device behind it.

There is no instruction emulator.  For the length of one instruction, which the guest executes under the trap flag, the
engine goes through a nested page table of its own: as the domain's, but with a page of ones where none is.  The p2m
itself is not touched, so that absent memory costs nothing, however much of it a guest looks at.  Writes to read-only
RAM are dropped the same way, on a copy.
"""

import numpy

from abi.types import Domid, VcpuId
from domains import envlayout as env
from domains.delivery import TF
from domains.engine import PRIVATE, PRIVATE_END, Engine
from domains.segments import HF_INHIBIT_IRQ
from grants.interfaces import P2mType
from hypervisor.crash import GuestCrash
from hypervisor.memory import Memory
from state.arena import Arena

_ONES = b"\xff" * 4096
_TABLE, _LEAF, _PRESENT = 0x67, 1 << 7, 1
_ADDRESS = 0x000FFFFFFFFFF000


class NullMmio:
    """Stands in for absent memory of one vCPU."""

    def __init__(self, engine: Engine, arena: Arena, memory: Memory, domid: Domid,
                 vcpu_id: VcpuId) -> None:
        self._engine, self._arena, self._memory, self._domid, self._vcpu_id = engine, arena, memory, domid, vcpu_id
        self._words = numpy.frombuffer(engine.low, numpy.uint64)
        self._next = PRIVATE
        """Where the private pages that are in use end: tables, and what stands in."""
        self._guests_trap = 0

    def begin(self, address: int, *, write: bool, fetch: bool) -> bool:
        """The access to guest-physical `address` faulted.  False where the guest has to get a #GP for it.

        Raises GuestCrash where one instruction needs more pages than there is room for.
        """
        gfn = address >> 12
        found = self._memory.find(self._domid, gfn)
        if fetch:
            return False
        if found is not None:
            if not write or found[1] in (P2mType.RAM_RW, P2mType.GRANT_MAP_RW):
                self._engine.flush_tlb()  # the translation was stale
                return True
            if found[1] != P2mType.RAM_RO:
                return False
        engine = self._engine
        if self._next == PRIVATE:
            self._guests_trap = engine.q[env.EFLAGS] & TF
            engine.q[env.EFLAGS] |= TF
            # An interrupt that came first would see the flag, and its handler what stands in.
            engine.d[env.HFLAGS] |= HF_INHIBIT_IRQ
            engine.q[env.NESTED_CR3] = self._copy(self._memory.root(self._domid))
        stand_in = self._page()
        engine.low[stand_in:stand_in + 4096] = _ONES if found is None else bytes(self._arena.page(found[0]))
        self._words[self._slot(gfn)] = stand_in | _TABLE
        engine.flush_tlb()
        return True

    def finish(self) -> bool:
        """Undo what `begin` did.  True where a #DB that brought us here was ours alone, not the guest's."""
        if self._next == PRIVATE:
            return False
        engine = self._engine
        self._next = PRIVATE
        engine.q[env.NESTED_CR3] = self._memory.root(self._domid)
        engine.flush_tlb()
        if self._guests_trap:
            return False
        engine.q[env.EFLAGS] &= ~TF
        return True

    def save(self) -> tuple[int, int]:
        """What is kept here, between two slices: bytes of private pages in use, and the guest's own trap flag."""
        return self._next - PRIVATE, self._guests_trap

    def restore(self, saved: tuple[int, int]) -> None:
        """Go on with what was saved; the private pages are the engine's."""
        size, self._guests_trap = saved
        self._next = PRIVATE + size

    def _page(self) -> int:
        page = self._next
        if page == PRIVATE_END:
            raise GuestCrash(self._domid, self._vcpu_id, "an instruction touches too much memory that is not there")
        self._next += 4096
        return page

    def _copy(self, table: int) -> int:
        """A private copy of a nested table of the domain's."""
        page = self._page()
        self._engine.low[page:page + 4096] = self._arena.u8[table:table + 4096]
        return page

    def _slot(self, gfn: int) -> int:
        """Where in the private tables, which grow to have it, the 4 KiB entry of a page is."""
        table = self._engine.q[env.NESTED_CR3]
        for shift in (27, 18, 9):
            at = (table >> 3) + (gfn >> shift & 511)
            entry = int(self._words[at])
            if not entry & _PRESENT or entry & _LEAF:
                below = self._split(entry, shift)
            elif entry & _ADDRESS >= PRIVATE_END:
                below = self._copy(entry & _ADDRESS)
            else:
                below = entry & _ADDRESS
            self._words[at] = below | _TABLE
            table = below
        return (table >> 3) + (gfn & 511)

    def _split(self, entry: int, shift: int) -> int:
        """A private table that says what an entry without one said: nothing, or a large page."""
        page = self._page()
        words = self._words[page >> 3:(page >> 3) + 512]
        words[:] = 0
        if entry & _PRESENT:
            size = 1 << shift - 9 + 12
            first = entry if shift > 18 else entry & ~_LEAF
            words[:] = numpy.uint64(first) + numpy.arange(512, dtype=numpy.uint64) * numpy.uint64(size)
        return page
