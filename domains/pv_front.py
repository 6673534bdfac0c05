"""The native front of a 64-bit PV domain's exits: `pv_front.c`.  Its vCPUs share it, as they share their engine.

As `FastPath`; where time is the host's it reads the same clock as the Python side.
"""

import ctypes
from typing import TYPE_CHECKING

from unicorn.unicorn_py3.unicorn import uclib
from unicorn.x86_const import UC_X86_REG_RFLAGS

from abi.x86_64 import HYPERVISOR_VIRT_END
from abi.xen import VCPU_INFO, Hypercall
from domains.fast_path import NAMES, FastPath
from hypervisor.p2m import P2mTable
from hypervisor.pv_tables import LdtFrameTable, PageTypeTable, PvNestedTable

if TYPE_CHECKING:
    from domains.vcpu import Vcpu

TRAP = 1_000
"""Nanoseconds that an exception takes, whose handler may well be the next."""


def _entry(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


class PvFront(FastPath):
    """`syscall_hook` is for the engine, too."""

    names = (
        *NAMES, "python_syscall", "python_event", "reg_read", "flush_page", "cpu", "fault_address", "vcpu_flags",
        "kernel_cr3", "user_cr3", "kernel_ss", "kernel_sp", "syscall_ip", "iopl", "cr4", "spun_at", "nmi",
        "trap_address", "trap_flags", "ldt", "assists", "flushes", "type", "type_flags", "type_count", "stamp", "cr2",
        "xen_end", "rflags", "trap_cycles")
    served = (Hypercall.xen_version, Hypercall.iret, Hypercall.stack_switch, Hypercall.update_va_mapping,
              Hypercall.mmu_update, Hypercall.mmuext_op)
    size = "domus_pv_size"
    exit = "domus_pv_exit"

    def __init__(self, library: ctypes.CDLL) -> None:
        super().__init__(library)
        self.syscall_hook = library.domus_pv_syscall

    def set_python_calls(self, syscall: object, event: object) -> None:
        """The hook of a SYSCALL that is not done here, and what delivers an event that is pending: `void event()`."""
        self._set({}, {"python_syscall": _entry(syscall), "python_event": _entry(event)})

    def fill(self, vcpu: "Vcpu", flush_tlb: int) -> None:
        hv, engine, table = vcpu.hv, vcpu.engine, vcpu.hv.state.table
        pv, traps, types = hv.pv_vcpus, hv.traps, table(PageTypeTable)
        super().fill(vcpu, flush_tlb)
        nested: P2mTable = table(PvNestedTable)
        columns = {name: getattr(pv, name) for name in (
            "kernel_cr3", "user_cr3", "kernel_ss", "kernel_sp", "syscall_ip", "iopl", "cr4", "spun_at",
            "nmi")}
        self._set(columns | {
            "directory": nested.directory, "max_gfn": nested.max_gfn, "fault_address": engine.fault_word,
            "vcpu_flags": pv.flags, "trap_address": traps.address, "trap_flags": traps.flags,
            "ldt": table(LdtFrameTable).mfn, "assists": hv.assists.bits, "flushes": hv.pv.domain_table.flushes,
            "type": types.type, "type_flags": types.flags, "type_count": types.count, "stamp": types.stamp,
        }, {
            "reg_read": _entry(uclib.uc_reg_read), "flush_page": _entry(uclib.tlb_flush_page_x86_64),
            "cpu": engine.cpu, "cr2": VCPU_INFO.at(64).offset["arch_cr2"], "xen_end": HYPERVISOR_VIRT_END,
            "rflags": UC_X86_REG_RFLAGS, "trap_cycles": vcpu.hv.clock.cycles(TRAP),
        })

    def arm_upcall(self) -> bool:
        return False  # the frame of a PV upcall is made in Python
