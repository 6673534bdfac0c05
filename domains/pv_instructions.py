"""Instructions of a PV vCPU that exit and are done here: CPUID, RDTSC and RDTSCP, PAUSE."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from domains import delivery
from domains import envlayout as env
from domains.cpuid import Cpuid, xen_leaves
from domains.delivery import TF
from domains.envlayout import EFLAGS, HFLAGS, RAX, RBX, RCX, RDX, RIP
from domains.guest_code import OF_RDTSCP
from domains.pv_control import CR4_TSD
from domains.segments import HF_CS64

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_LOW32, _M64 = 0xFFFFFFFF, (1 << 64) - 1
_PAUSE, _MOST_SPINS = 1_000, 6
"""Nanoseconds that a PAUSE takes, and how often a loop of them doubles that: 64 us, far less than a quantum.  Several
vCPUs that wait for one only yield to each other, so without that it would have its turn after a thousand exits."""


class PvInstructions:
    """Of one vCPU.  `cycles` turns nanoseconds into work."""

    def __init__(self, vcpu: "PvVcpu", cycles: Callable[[int], int]) -> None:
        self._vcpu, self._row, self._q, self._d, self._table = vcpu, vcpu.vcpu, vcpu.q, vcpu.d, vcpu.hv.pv_vcpus
        self._length, self._tsc, self._budget, self._virtual = vcpu.code.length, vcpu.tsc, vcpu.engine.budget, \
            vcpu.hv.clock.virtual
        self._code = vcpu.code
        self._cpuid_leaves = Cpuid(xen_leaves(vcpu.hv, vcpu.vcpu, hvm=False))
        self._pause_cycles = cycles(_PAUSE)

    def advance(self, length: int) -> None:
        """Step over an instruction that was emulated; a #DB under TF."""
        q = self._q
        q[RIP] = q[RIP] + length & (_M64 if self._d[HFLAGS] & HF_CS64 else _LOW32)
        if q[EFLAGS] & TF:
            self._table.dr6[self._row] |= 1 << 14
            self._vcpu.traps.exception(delivery.DB)

    def cpuid(self) -> None:
        self.answer_cpuid(self._length(2))

    def answer_cpuid(self, length: int) -> None:
        """CPUID in an instruction of `length` bytes."""
        q = self._q
        q[RAX], q[RBX], q[RCX], q[RDX] = self._cpuid_leaves.read(q[RAX] & _LOW32, q[RCX] & _LOW32)
        self.advance(length)

    def rdtsc(self) -> None:
        """RDTSC, and RDTSCP, for which the engine exits as it does for RDTSC."""
        if self._table.cr4[self._row] & CR4_TSD and not self._vcpu.kernel_mode():
            self._vcpu.traps.exception(delivery.GP, 0)
            return
        q, tsc, length = self._q, self._tsc(), self._length(2)
        self._table.spun_at[self._row] = 0  # it may wait for a time, which must not jump
        q[RAX], q[RDX] = tsc & _LOW32, tsc >> 32
        if self._code.here(length)[-1:] == OF_RDTSCP:
            q[RCX] = q[env.TSC_AUX]
            length += 1
        self.advance(length)

    def pause(self) -> None:
        """Somebody spins: let others get on."""
        table, row, rip = self._table, self._row, self._q[RIP]
        spins = 0 if table.spun_at[row] != rip else min(table.spins[row] + 1, _MOST_SPINS)
        table.spun_at[row], table.spins[row] = rip, spins
        if self._virtual:
            self._budget[0] -= max(self._pause_cycles, min(self._pause_cycles << spins, self._budget[0]))
        self._vcpu.now()
        self.advance(2)
        self._vcpu.hv.sched.yield_(row)
        self._vcpu.look_at_slice()
