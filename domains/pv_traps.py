"""What a PV guest is told: exceptions, software interrupts, system calls and events, each through what it registered.

This is pv_inject_event, permit_softint and the system-call entries of Xen 4.17 (xen/arch/x86/pv/traps.c and entry.S).
"""

from typing import TYPE_CHECKING

from abi.x86_64 import FLAT_USER_CS32, FLAT_USER_CS64, FLAT_USER_SS64
from domains import delivery
from domains import envlayout as env
from domains.envlayout import HFLAGS, R11, RCX, RIP
from domains.pv_frames32 import Frames32
from domains.pv_frames64 import Frames64
from domains.segments import HF_CS64
from hypervisor.crash import GuestCrash
from hypervisor.pv_tables import TRAPS, VcpuFlag

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_CS, _SS = env.SEGMENTS + 3 * env.CS, env.SEGMENTS + 3 * env.SS
_MASKS_EVENTS = 4
_NOT_RESUMED = frozenset((delivery.DB, delivery.NMI, delivery.BP, delivery.OF, delivery.DF, delivery.MC))
_BY_IDT = 2
_SYSCALL_MASKS, _SYSCALL32_MASKS = int(VcpuFlag.SYSCALL_DISABLES_EVENTS), int(VcpuFlag.SYSCALL32_DISABLES_EVENTS)
_LENGTH = 2


class Traps:
    """For one vCPU."""

    def __init__(self, vcpu: "PvVcpu", frames: Frames64 | Frames32) -> None:
        self._vcpu, self._q, self._d, self._frames = vcpu, vcpu.q, vcpu.d, frames
        self._table, self._row = vcpu.hv.pv_vcpus, vcpu.vcpu
        traps, self._first = vcpu.hv.traps, vcpu.vcpu * TRAPS
        self._cs, self._address, self._flags = traps.cs, traps.address, traps.flags

    def exception(self, vector: int, error: int | None = None) -> None:
        """Raise an exception at the current RIP.  Raises GuestCrash where the guest has no handler."""
        at = self._first + vector
        address = self._address[at]
        self._vcpu.charge_trap()
        if not address:
            raise GuestCrash(self._vcpu.domid, self._vcpu.vcpu_id,
                             f"unhandled exception {delivery.NAMES.get(vector, vector)}"
                             + ("" if error is None else f", error code {error:#x}")
                             + (f" at address {self._vcpu.cr2():#x}" if vector == delivery.PF else ""))
        self._frames.bounce(address, bool(self._flags[at] & _MASKS_EVENTS), error,
                            0 if vector in _NOT_RESUMED else delivery.RF, self._cs[at])

    def software(self, vector: int) -> None:
        """INT n, with RIP behind it: allowed by the entry's ring, or a #GP."""
        at = self._first + vector
        ring = 1 if self._vcpu.kernel_mode() else 3
        if self._flags[at] & 3 >= ring and self._address[at]:
            self._frames.bounce(self._address[at], bool(self._flags[at] & _MASKS_EVENTS), None, 0, self._cs[at])
        else:
            self._q[RIP] -= _LENGTH
            self.exception(delivery.GP, vector << 3 | _BY_IDT)

    def system_call(self) -> None:
        """SYSCALL that is no hypercall, with RIP behind it.  A guest without a handler gets #UD."""
        q, table, row, compat = self._q, self._table, self._row, not self._d[HFLAGS] & HF_CS64
        flags = self._vcpu.rflags()
        if compat:
            ip, mask, cs = table.syscall32_ip[row], _SYSCALL32_MASKS, FLAT_USER_CS32
        else:
            ip, mask, cs = table.syscall_ip[row], _SYSCALL_MASKS, FLAT_USER_CS64
        if not ip:
            q[RIP] -= _LENGTH
            self.exception(delivery.UD)
            return
        if self._vcpu.width == 64:
            # As the processor, which keeps neither selector nor flags but in RCX and R11.
            q[_CS], q[_SS] = cs, FLAT_USER_SS64
        q[RCX], q[R11] = q[RIP], flags
        self._frames.bounce(ip, bool(table.flags[row] & mask), None, 0, table.syscall32_cs[row])

    def event(self) -> None:
        """An upcall."""
        table, row = self._table, self._row
        self._frames.bounce(table.event_ip[row], True, None, 0, table.event_cs[row])
