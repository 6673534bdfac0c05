"""Control registers of a PV vCPU as its kernel sees them: read_cr and write_cr of pv/emul-priv-op.c."""

from typing import TYPE_CHECKING

from abi.errno import XenError
from domains import envlayout as env
from hypervisor.pv_tables import VcpuFlag

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

CR0 = 0x80050033
"""PG, AM, WP, NE, ET, MP, PE: what the processor has, but for TS."""
TS = 1 << 3
CR4_TSD, CR4_DE, CR4_FSGSBASE = 1 << 2, 1 << 3, 1 << 16
CR4_FIXED = 0x620
"""PAE, OSFXSR, OSXMMEXCPT."""
CR4_GUEST = CR4_TSD | CR4_DE | CR4_FSGSBASE
"""What the guest may choose."""
_FOLDED = 0xFFFFF000
_TASK_SWITCHED = int(VcpuFlag.TASK_SWITCHED)


class ControlRegisters:
    """Of one vCPU."""

    def __init__(self, vcpu: "PvVcpu") -> None:
        self._vcpu, self._table, self._row = vcpu, vcpu.hv.pv_vcpus, vcpu.vcpu

    def read(self, number: int) -> int | None:
        """The value, None for a register that such a guest does not have."""
        vcpu, row = self._vcpu, self._row
        if number == 0:
            return CR0 | (TS if self._table.flags[row] & _TASK_SWITCHED else 0)
        if number == 2:
            return vcpu.cr2()
        if number == 3:
            mfn = self._table.kernel_cr3[row]
            return mfn << 12 if vcpu.width == 64 else mfn << 12 & _FOLDED | mfn >> 20
        if number == 4:
            return self._table.cr4[row] | CR4_FIXED
        return None

    def write(self, number: int, value: int) -> bool:
        """False for what Xen refuses."""
        vcpu, row = self._vcpu, self._row
        if number == 0:
            if (value ^ CR0) & ~TS:
                return False
            vcpu.set_task_switched(bool(value & TS))
        elif number == 2:
            vcpu.set_cr2(value)
        elif number == 3:
            mfn = value >> 12 if vcpu.width == 64 else (value & _FOLDED) >> 12 | (value & 0xFFF) << 20
            try:
                vcpu.hv.pv.new_baseptr(row, vcpu.domid, mfn)
            except XenError:
                return False
            vcpu.hv.pv.cr3_changed(vcpu)
        elif number == 4:
            self._table.cr4[row] = value & CR4_GUEST
            self.load_cr4()
        else:
            return False
        return True

    def load_cr4(self) -> None:
        """Give the processor the CR4 that goes with the guest's (pv_make_cr4); TSD is looked at when RDTSC exits."""
        self._vcpu.q[env.CR4] = CR4_FIXED | self._table.cr4[self._row] & CR4_FSGSBASE
