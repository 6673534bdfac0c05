"""RDMSR and WRMSR of PV guests: read_msr and write_msr of pv/emul-priv-op.c."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from abi.cpuid import XEN_HYPERCALL_MSR
from domains import envlayout as env
from domains.hypercall_page import pv_page
from domains.msr import MSR_EFER, MsrFault, Msrs
from hypervisor.pv_tables import PageType

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

MSR_FS_BASE, MSR_GS_BASE, MSR_SHADOW_GS_BASE = 0xC0000100, 0xC0000101, 0xC0000102
MSR_PAT = 0x277
_WORDS = {MSR_FS_BASE: env.SEGMENTS + 3 * env.FS + 1, MSR_GS_BASE: env.SEGMENTS + 3 * env.GS + 1,
          MSR_SHADOW_GS_BASE: env.KERNEL_GS_BASE}
_CANONICAL = (0, 0x1FFFF)
_XEN_PAT = 0x050100070406
_EFER = 0xD01
"""SCE, LME, LMA, NXE."""
_EFER_32 = 0x801


class PvMsrs:
    """Of one vCPU.  What is not special for PV guests is as in PVH guests."""

    def __init__(self, vcpu: "PvVcpu", tsc: Callable[[], int]) -> None:
        self._vcpu, self._q = vcpu, vcpu.q
        self._others = Msrs(vcpu.engine, tsc, XEN_HYPERCALL_MSR, self._fill_hypercall_page)

    def read(self, index: int) -> int:
        """The 64-bit value of MSR `index`.  Raises MsrFault."""
        word = _WORDS.get(index)
        if word is not None:
            if self._vcpu.width == 32:
                raise MsrFault
            return self._q[word]
        if index == MSR_EFER:
            return _EFER if self._vcpu.width == 64 else _EFER_32
        if index == MSR_PAT:
            return _XEN_PAT
        return self._others.read(index)

    def write(self, index: int, value: int) -> None:
        """Store `value` in MSR `index`.  Raises MsrFault."""
        word = _WORDS.get(index)
        if word is not None:
            if self._vcpu.width == 32 or value >> 47 not in _CANONICAL:
                raise MsrFault
            self._q[word] = value
        elif index in (MSR_EFER, MSR_PAT):
            if value != self.read(index):
                raise MsrFault
        else:
            self._others.write(index, value)

    def _fill_hypercall_page(self, value: int) -> None:
        """A write to the hypercall MSR: the page's machine address, its low 12 bits the page's number (0)."""
        vcpu, mfn = self._vcpu, value >> 12
        hv = vcpu.hv
        if value & 0xFFF or not hv.frames.valid(mfn) or hv.frames.owner(mfn) != vcpu.domid:  # type: ignore[arg-type]
            raise MsrFault
        if hv.pv.types.live(mfn) not in (PageType.NONE, PageType.WRITABLE):
            raise MsrFault
        hv.arena.write(mfn << 12, pv_page(vcpu.width))
        vcpu.engine.forget_code()
