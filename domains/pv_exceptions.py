"""Exceptions of a PV vCPU, as its engine reports them: some are Xen's to deal with, the others go to the guest.

A page fault may be a write to a live page table, or an access of the processor's to an LDT that is not mapped yet; #GP
and #UD may be instructions that Xen does for a deprivileged kernel; #NM may be the guest's own CR0.TS.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from domains import delivery
from domains import envlayout as env
from domains.envlayout import HFLAGS
from domains.paging import PageFault
from domains.pv_emulate import Emulator
from domains.pv_msr import PvMsrs
from domains.pv_writes import TableWrites
from domains.segments import HF_CPL
from hypervisor.crash import GuestCrash
from hypervisor.pv_slots import ldt_address
from hypervisor.pv_tables import VcpuFlag

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_M64 = (1 << 64) - 1
_TASK_SWITCHED = int(VcpuFlag.TASK_SWITCHED)
_HYPERCALL_VECTOR = 0x82
_LDT_BYTES = 1 << 16
_PRESENT_AND_WRITE, _USER = 3, 4


class PvExceptions:
    """Of one vCPU."""

    def __init__(self, vcpu: "PvVcpu") -> None:
        self._vcpu, self._d, self._engine, self._traps = vcpu, vcpu.d, vcpu.engine, vcpu.traps
        self._table, self._row = vcpu.hv.pv_vcpus, vcpu.vcpu
        self._instructions = vcpu.instructions
        self.writes = TableWrites(vcpu)
        self._emulator = Emulator(vcpu, PvMsrs(vcpu, vcpu.tsc), vcpu.control)

    def handler(self, vector: int) -> Callable[[], None]:
        """What to do when the engine reports exception `vector`."""
        special = {delivery.PF: self._page_fault, delivery.GP: self.general_protection,
                   delivery.UD: self.invalid_opcode, delivery.NM: self._device_not_available, delivery.DB: self._debug}
        return special.get(vector) or partial(self._exception, vector)

    def _exception(self, vector: int) -> None:
        self._traps.exception(vector, self._d[env.ERROR_CODE] if vector in delivery.HAS_ERROR_CODE else None)

    def _page_fault(self) -> None:
        vcpu, address, code = self._vcpu, self._engine.fault_address, self._d[env.ERROR_CODE]
        if code & _PRESENT_AND_WRITE == _PRESENT_AND_WRITE and vcpu.kernel_mode() and self.writes.begin(address, code):
            return
        if self.writes.active and not self.writes.finish():
            return
        if not code & _USER:
            offset = address - ldt_address(vcpu.vcpu_id)
            if 0 <= offset < _LDT_BYTES:
                if vcpu.hv.pv.descriptors.map_ldt_page(self._row, offset):
                    vcpu.stale = True
                    return
                address = self._table.ldt_base[self._row] + offset & _M64
        vcpu.page_fault(address, code)

    def nested_page_fault(self) -> None:
        """Nobody's page tables lead there, were it not for a mistake of ours."""
        raise GuestCrash(self._vcpu.domid, self._vcpu.vcpu_id,
                         f"its page tables lead to {self._engine.fault_address:#x}, which it must not touch")

    def general_protection(self) -> None:
        """#GP, also in the place of an intercept for a privileged instruction."""
        code = self._d[env.ERROR_CODE]
        length = self._emulator.emulate() if not code else 0
        if length:
            self._instructions.advance(length)
        else:
            self._traps.exception(delivery.GP, code)

    def invalid_opcode(self) -> None:
        """#UD, also in the place of an intercept for an instruction that such a guest does not have."""
        try:
            length = self._emulator.forced_cpuid()
        except PageFault as fault:
            self._vcpu.page_fault(fault.address, 0)
            return
        if length:
            self._instructions.answer_cpuid(length)
        else:
            self._traps.exception(delivery.UD)

    def _device_not_available(self) -> None:
        if self._table.flags[self._row] & _TASK_SWITCHED:
            self._traps.exception(delivery.NM)
            self._vcpu.set_task_switched(False)

    def _debug(self) -> None:
        if self.writes.active and (not self.writes.finish() or not self.writes.guests_trap):
            return
        self._table.dr6[self._row] |= 1 << 14
        self._traps.exception(delivery.DB)

    def software(self, vector: int) -> None:
        """INT `vector`, with RIP behind it."""
        self._d[env.EXCEPTION_IS_INT] = 0  # left set, the next exit would restore a stale RIP
        if vector == _HYPERCALL_VECTOR and self._vcpu.width == 32 and self._d[HFLAGS] & HF_CPL == 1:
            self._vcpu.hypercall32()
        elif vector in (delivery.BP, delivery.OF):
            self._traps.exception(vector)
        else:
            self._traps.software(vector)
