"""The MSR policy: what reading and writing each MSR does in a guest.

MSRs that the engine handles natively (EFER, STAR, FS base, PAT, SYSENTER_*...) never get here.  As under Xen 4.17, an
MSR that is not known raises #GP for reads and writes.
"""

from collections.abc import Callable

from domains import envlayout as env
from domains.engine import Engine
from domains.segments import CR0_PG
from hypervisor.apic import APIC_BASE_ADDRESS, APIC_BASE_BSP, APIC_BASE_EN, APIC_BASE_EXTD, MSR_APIC_BASE, X2APIC_MSRS
from hypervisor.vlapic import ApicFault, Vlapic

MSR_TSC, MSR_PATCH_LEVEL, MSR_TSC_ADJUST = 0x10, 0x8B, 0x3B
MSR_EFER, MSR_TSC_AUX = 0xC0000080, 0xC0000103
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11
_EFER_WRITABLE = EFER_SCE | EFER_LME | EFER_NXE
MSR_SYSCFG, MSR_HWCR, MSR_NB_CFG, MSR_DE_CFG = 0xC0010010, 0xC0010015, 0xC001001F, 0xC0011029
MSR_LS_CFG, MSR_IC_CFG, MSR_DC_CFG, MSR_BU_CFG2 = 0xC0011020, 0xC0011021, 0xC0011022, 0xC001102A
MSR_AMD_PSTATE_CUR_LIMIT, MSR_OSVW_LENGTH, MSR_OSVW_STATUS = 0xC0010061, 0xC0010140, 0xC0010141
_NO_APIC = APIC_BASE_ADDRESS | APIC_BASE_BSP
_X2APIC = APIC_BASE_ADDRESS | APIC_BASE_EXTD | APIC_BASE_EN
"""An APIC is in x2APIC mode from the start, as firmware may leave it, and stays there."""
HWCR_TSC_FREQ_SEL = 1 << 24
"""The TSC counts at the frequency of the first performance state; Linux calls its absence a bug of the firmware."""

_READ_ZERO = frozenset((
    MSR_PATCH_LEVEL, MSR_SYSCFG, MSR_HWCR, MSR_NB_CFG, MSR_DE_CFG, MSR_LS_CFG, MSR_IC_CFG, MSR_DC_CFG, MSR_BU_CFG2,
    MSR_AMD_PSTATE_CUR_LIMIT, MSR_OSVW_LENGTH, MSR_OSVW_STATUS,
    *range(0xC0010000, 0xC0010008),  # performance counters: Linux probes them on AMD
    *range(0xC0010200, 0xC001020C)))


class MsrFault(Exception):  # noqa: N818
    """The access raises #GP(0)."""


class Msrs:
    """RDMSR and WRMSR of one vCPU.

    `tsc` gives the vCPU's time stamp; `fill_hypercall_page(gpa)` writes the page or raises MsrFault; `apic` is its
    local APIC, if it has one.
    """

    def __init__(self, engine: Engine, tsc: Callable[[], int], hypercall_msr: int,
                 fill_hypercall_page: Callable[[int], None], apic: Vlapic | None = None) -> None:
        self._q, self._tsc, self._flush = engine.q, tsc, engine.flush_tlb
        self._apic, self._apic_base = apic, _NO_APIC
        if apic is not None:
            self._apic_base = _X2APIC | (0 if apic.vcpu_id else APIC_BASE_BSP)
        self._hypercall_msr, self._fill = hypercall_msr, fill_hypercall_page

    def read(self, index: int) -> int:
        """The 64-bit value of MSR `index`.  Raises MsrFault."""
        if index == MSR_TSC:
            return self._tsc()
        if index == MSR_TSC_AUX:
            return self._q[env.TSC_AUX]
        if index == MSR_APIC_BASE:
            return self._apic_base
        if index == MSR_HWCR:
            return HWCR_TSC_FREQ_SEL
        if index in _READ_ZERO or index == self._hypercall_msr:  # Xen does not tell where the hypercall page is
            return 0
        if index in X2APIC_MSRS and self._apic is not None:
            try:
                return self._apic.read(index - X2APIC_MSRS.start)
            except ApicFault:
                raise MsrFault from None
        raise MsrFault

    def write(self, index: int, value: int) -> None:
        """Store `value` in MSR `index`.  Raises MsrFault."""
        if index == self._hypercall_msr:
            self._fill(value)
        elif index == MSR_EFER:
            self._write_efer(value)
        elif index == MSR_TSC_AUX:
            if value >> 32:
                raise MsrFault
            self._q[env.TSC_AUX] = value
        elif index == MSR_APIC_BASE:
            if value != self._apic_base:
                raise MsrFault
        elif index in X2APIC_MSRS and self._apic is not None:
            try:
                self._apic.write(index - X2APIC_MSRS.start, value)
            except ApicFault:
                raise MsrFault from None
        elif index != MSR_TSC and index not in _READ_ZERO:
            raise MsrFault

    def _write_efer(self, value: int) -> None:
        """As AMD64 has it: LMA is the processor's, LME stays as it is while paging is on, the rest is reserved."""
        old = self._q[env.EFER]
        if value & ~(_EFER_WRITABLE | EFER_LMA) or ((value ^ old) & EFER_LME and self._q[env.CR0] & CR0_PG):
            raise MsrFault
        self._q[env.EFER] = old & EFER_LMA | value & _EFER_WRITABLE
        self._flush()
