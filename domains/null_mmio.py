"""Guest-physical memory that is not there: reads give ones, writes go nowhere, as from Xen with no device behind it.

There is no instruction emulator.  A page of ones is put in the missing one's place for the length of one instruction,
which the guest executes under the trap flag; then the page is taken out again.  Writes to read-only RAM are dropped
the same way, on a copy.
"""

from abi.types import Domid, Mfn
from domains import envlayout as env
from domains.delivery import TF
from domains.engine import ABSENT_PAGE, Engine
from grants.interfaces import P2mType
from hypervisor.memory import Memory
from state.arena import Arena

_ONES = b"\xff" * 4096


class NullMmio:
    """Stands in for absent memory of one vCPU."""

    def __init__(self, engine: Engine, arena: Arena, memory: Memory, domid: Domid) -> None:
        self._engine, self._arena, self._memory, self._domid = engine, arena, memory, domid
        self._replaced: list[tuple[int, tuple[Mfn, P2mType] | None]] = []
        self._guests_trap = 0

    def begin(self, address: int, *, write: bool, fetch: bool) -> bool:
        """The access to guest-physical `address` faulted.  False where the guest has to get a #GP for it."""
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
        if not self._replaced:
            self._guests_trap = engine.q[env.EFLAGS] & TF
            engine.q[env.EFLAGS] |= TF
        self._replaced.append((gfn, found))
        engine.low[ABSENT_PAGE:ABSENT_PAGE + 4096] = _ONES if found is None else bytes(self._arena.page(found[0]))
        # The stand-in is private to the engine: it lies below every frame that a domain can own.
        self._memory.p2m.set_entry(self._domid, gfn, ABSENT_PAGE >> 12, P2mType.RAM_RW)
        engine.flush_tlb()
        return True

    def finish(self) -> bool:
        """Undo what `begin` did.  True where a #DB that brought us here was ours alone, not the guest's."""
        if not self._replaced:
            return False
        engine = self._engine
        for gfn, found in reversed(self._replaced):
            if found is None:
                self._memory.p2m.clear(self._domid, gfn)
            else:
                self._memory.p2m.set_entry(self._domid, gfn, *found)
        self._replaced.clear()
        engine.flush_tlb()
        if self._guests_trap:
            return False
        engine.q[env.EFLAGS] &= ~TF
        return True
