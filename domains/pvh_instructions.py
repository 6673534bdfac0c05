"""Instructions of a PVH vCPU that exit and are done here: CPUID, RDMSR and WRMSR, MOV to and from CR8,
RDTSC and RDTSCP, WBINVD."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from abi.cpuid import XEN_HYPERCALL_MSR
from domains import delivery
from domains import envlayout as env
from domains.cpuid import Cpuid, xen_leaves
from domains.delivery import TF
from domains.envlayout import EFLAGS, HFLAGS, RIP
from domains.guest_code import OF_RDTSCP
from domains.msr import MsrFault, Msrs
from domains.segments import HF_CS64, HF_INHIBIT_IRQ
from hypervisor.apic import X2APIC_MSRS, ApicRegister

if TYPE_CHECKING:
    from domains.pvh_vcpu import PvhVcpu

_PLAIN = HF_CS64 | HF_INHIBIT_IRQ
_LOW32 = 0xFFFFFFFF
_WRMSR = 0x30
"""The last byte of WRMSR; that of RDMSR is another."""
_MOV_FROM_CR, _REX, _REX_B = 0x20, 0x40, 1


class PvhInstructions:
    """Of one vCPU.  `throw(vector, error code)` raises an exception; `fill_hypercall_page` is what that MSR does."""

    def __init__(self, vcpu: "PvhVcpu", throw: Callable[[int, int | None], None],
                 fill_hypercall_page: Callable[[int], None]) -> None:
        engine, code = vcpu.engine, vcpu.code
        self._q, self._d, self._code, self._length = engine.q, engine.d, code, code.length
        self._tsc = vcpu.tsc
        self._throw = throw
        self._cpuid_leaves = Cpuid(xen_leaves(vcpu.hv, vcpu.vcpu, hvm=True))
        self._msrs = Msrs(engine, vcpu.tsc, XEN_HYPERCALL_MSR, fill_hypercall_page, vcpu.apic)
        self._apic, self._front = vcpu.apic, vcpu.front
        self._now, self._after = vcpu.now, vcpu.after_call

    def advance(self, length: int) -> None:
        """Step over an instruction that was emulated here, with what its end means: no shadow, and #DB under TF."""
        q, hflags = self._q, self._d[HFLAGS]
        if hflags & _PLAIN == HF_CS64:
            q[RIP] += length
        else:
            q[RIP] = q[RIP] + length & (-1 if hflags & HF_CS64 else _LOW32)
            self._d[HFLAGS] = hflags & ~HF_INHIBIT_IRQ
        if q[EFLAGS] & TF:
            self._throw(delivery.DB, None)

    def cpuid(self) -> None:
        q = self._q
        leaf, subleaf = q[env.RAX] & _LOW32, q[env.RCX] & _LOW32
        registers = self._cpuid_leaves.read(leaf, subleaf)
        if self._front is not None:
            self._front.remember_cpuid(leaf, subleaf, registers)
        q[env.RAX], q[env.RBX], q[env.RCX], q[env.RDX] = registers
        self.advance(self._length(2))

    def msr(self) -> None:
        """RDMSR and WRMSR."""
        q = self._q
        index = q[env.RCX] & _LOW32
        length = self._length(2)
        if index in X2APIC_MSRS:
            self._now()
        try:
            if self._code.here(length)[-1] == _WRMSR:
                self._msrs.write(index, q[env.RDX] << 32 & ~_LOW32 & (1 << 64) - 1 | q[env.RAX] & _LOW32)
            else:
                value = self._msrs.read(index)
                q[env.RAX], q[env.RDX] = value & _LOW32, value >> 32
        except MsrFault:
            self._throw(delivery.GP, 0)
            return
        self.advance(length)
        if index in X2APIC_MSRS:  # it may have sent itself an interrupt, allowed one, or set a timer
            self._after()

    def cr8(self) -> None:
        """MOV to and from CR8: the upper half of the APIC's task priority."""
        length = self._length(3)
        code = self._code.here(length)
        if len(code) < length:  # it was run from a translation that its page tables have no more
            self._throw(delivery.UD, None)
            return
        extended = length > 3 and self._d[HFLAGS] & HF_CS64 and code[-4] & 0xF0 == _REX and code[-4] & _REX_B
        register = code[-1] & 7 | (8 if extended else 0)
        if code[-2] == _MOV_FROM_CR:
            self._q[register] = self._apic.read(ApicRegister.TPR) >> 4
        elif self._q[register] > 15:
            self._throw(delivery.GP, 0)
            return
        else:
            self._now()
            self._apic.write(ApicRegister.TPR, self._q[register] << 4)
        self.advance(length)
        self._after()

    def rdtsc(self) -> None:
        """RDTSC, and RDTSCP, for which the engine exits as it does for RDTSC."""
        q, tsc, length = self._q, self._tsc(), self._length(2)
        q[env.RAX], q[env.RDX] = tsc & _LOW32, tsc >> 32
        if self._code.here(length)[-1:] == OF_RDTSCP:
            q[env.RCX] = q[env.TSC_AUX]
            length += 1
        self.advance(length)

    def nothing(self) -> None:
        """WBINVD and INVD: there is no cache."""
        self.advance(self._length(2))
