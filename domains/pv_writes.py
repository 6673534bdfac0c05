"""Writes of PV guests to their own live page tables, as if these were ordinary memory (ptwr_do_page_fault).

The guest sees its tables read-only.  There is no instruction emulator: for the length of one instruction, which runs
under the trap flag, the table is mapped writable; then each entry that differs is put back, and changed as the mmu
hypercalls change it.  Where that is refused the fault is the guest's, at the instruction, as if it had not been.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy

from domains import envlayout as env
from domains.delivery import TF
from hypervisor.pte import ACCESSED, DIRTY, MFN, PRESENT, WRITABLE
from hypervisor.pv_tables import PageType

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_LOW32 = 0xFFFFFFFF


class _Open(NamedTuple):
    """A table that is writable for a moment: the slot in `arena.u64` that maps it, what the slot held, its content."""

    slot: int
    entry: int
    mfn: int
    content: bytes


class TableWrites:
    """Of one vCPU."""

    def __init__(self, vcpu: "PvVcpu") -> None:
        hv = vcpu.hv
        self._vcpu, self._engine, self._q, self._u64 = vcpu, vcpu.engine, vcpu.q, hv.arena.u64
        self._arena, self._pv, self._frames, self._domid = hv.arena, hv.pv, hv.frames, vcpu.domid
        self._words = numpy.frombuffer(hv.arena.u64, numpy.uint64)
        self._open: list[_Open] = []
        self._before = b""
        self._flags = self._code = self._address = 0

    @property
    def active(self) -> bool:
        """A table is writable at this moment."""
        return bool(self._open)

    def begin(self, address: int, code: int) -> bool:
        """The kernel's write to `address` has raised #PF with `code`.  False where that is its own affair."""
        slot = self._pv.l1_slot(self._vcpu.vcpu, address)
        if slot is None:
            return False
        entry = self._u64[slot]
        mfn = entry >> 12 & MFN
        if entry & (PRESENT | WRITABLE) != PRESENT or mfn >= self._frames.count:
            return False
        if self._pv.types.live(mfn) != PageType.L1 or self._frames.owner(mfn) != self._domid:  # type: ignore[arg-type]
            return False
        if any(table.slot == slot for table in self._open):  # what refuses it is a level above
            return False
        if not self._open:
            self._before, self._flags = self._q.tobytes(), self._engine.rflags()
            self._address, self._code = address, code
            self._q[env.EFLAGS] |= TF
        self._open.append(_Open(slot, entry, mfn, self._arena.read(mfn << 12, 4096)))
        self._u64[slot] = entry | WRITABLE | ACCESSED | DIRTY
        self._engine.flush_page(address)  # other ways to the table may go on without the right
        return True

    def finish(self) -> bool:
        """The instruction is over, or has faulted elsewhere: close the tables and change what it changed.

        False where a change was refused: the vCPU is then where it was before, with the fault delivered.
        """
        opened, self._open = self._open, []
        for table in opened:
            now = self._u64[table.slot]
            if not (now ^ table.entry) & ~(WRITABLE | ACCESSED | DIRTY):
                self._u64[table.slot] = table.entry
        closed = [self._close(table) for table in opened]
        self._engine.flush_tlb()
        if not all(closed):
            self._q.cast("B")[:] = self._before
            self._engine.set_rflags(self._flags)
            self._vcpu.page_fault(self._address, self._code)
            return False
        if not self._flags & TF:
            self._q[env.EFLAGS] &= ~TF
        return True

    @property
    def guests_trap(self) -> bool:
        """The guest itself had set the trap flag before the last `begin`."""
        return bool(self._flags & TF)

    def _close(self, table: _Open) -> bool:
        first = table.mfn << 9
        before = numpy.frombuffer(table.content, numpy.uint64)
        allowed = True
        for index in numpy.flatnonzero(self._words[first:first + 512] != before).tolist():
            new, old = self._u64[first + index], int(before[index])
            self._u64[first + index] = old
            half = self._vcpu.width == 32 and not (new ^ old) & _LOW32
            allowed = self._pv.emulated_write(self._domid, first + index, new, half) and allowed
        return allowed
