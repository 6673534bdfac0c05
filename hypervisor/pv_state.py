"""The virtual processor of a PV guest: its stack, segment bases, debug registers, I/O privilege, and iret.

Hypercalls of xen/xen.h; checks and errors are those of Xen 4.17 (xen/arch/x86/pv/misc-hypercalls.c, pv/iret.c).
"""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.types import VcpuRow
from abi.x86_64 import HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, SegmentBase
from hypervisor.call import Call
from hypervisor.pv_tables import PvVcpuTable
from hypervisor.tables import DomainTable

_CANONICAL = (0, 0x1FFFF)
_DR6_ONES, _DR6_WRITABLE = 0xFFFF0FF0, 0xE00F
_DR7_ONES, _DR7_ZEROES = 0x400, 0xD800


class PvCall(Call, Protocol):
    """A PV vCPU: what hypercalls do to its processor."""

    def iret(self) -> int:
        """Go on with what the stack says.  The value for RAX."""

    def set_segment_base(self, which: int, base: int) -> None:
        """`which` is a `SegmentBase` other than GS_USER_SEL."""

    def load_user_gs(self, selector: int) -> None:
        """Load the GS that the guest's users have."""

    def set_task_switched(self, on: bool) -> None:
        """CR0.TS."""


class Host(Protocol):
    """What these hypercalls need of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def pv_vcpus(self) -> PvVcpuTable: ...


def iret(hv: Host, call: PvCall) -> int:
    """Return from a trap or an event; a stack that cannot be read crashes the guest."""
    return call.iret()


def stack_switch(hv: Host, call: Call, ss: int, esp: int) -> int:
    """The stack on which the kernel is entered from user mode."""
    ss = ss & 0xFFFF
    ring = ss & 3
    if call.width == 32:
        ss = ss & ~3 | (1 if ring < 2 else 3)
    hv.pv_vcpus.kernel_ss[call.vcpu], hv.pv_vcpus.kernel_sp[call.vcpu] = ss, esp
    return 0


def set_segment_base(hv: Host, call: PvCall, which: int, base: int) -> int:
    """EINVAL for an unknown base or an address that no guest may have; ENOSYS to 32-bit guests."""
    which &= 0xFFFFFFFF
    if call.width == 32:
        raise XenError(Errno.ENOSYS)
    if which == SegmentBase.GS_USER_SEL:
        call.load_user_gs(base & 0xFFFF)
        return 0
    if which > SegmentBase.GS_USER_SEL or base >> 47 not in _CANONICAL:
        raise XenError(Errno.EINVAL)
    call.set_segment_base(which, base)
    return 0


def fpu_taskswitch(hv: Host, call: PvCall, on: int) -> int:
    """CR0.TS, so that the next use of the FPU traps."""
    call.set_task_switched(bool(on & 0xFFFFFFFF))
    return 0


def get_debugreg(hv: Host, call: Call, register: int) -> int:
    """EINVAL for a register that there is not."""
    return read_debugreg(hv.pv_vcpus, call.vcpu, register & 0xFFFFFFFF)


def set_debugreg(hv: Host, call: Call, register: int, value: int) -> int:
    """EPERM for an address of Xen's, EINVAL for a register that there is not."""
    write_debugreg(hv.pv_vcpus, call.vcpu, register & 0xFFFFFFFF, value)
    return 0


def read_debugreg(table: PvVcpuTable, row: VcpuRow, register: int) -> int:
    """The value of a debug register.  Raises XenError(EINVAL)."""
    if register in (4, 5):
        register += 2
    if register > 7:
        raise XenError(Errno.EINVAL)
    value: int = getattr(table, f"dr{register}")[row]
    if register == 6:
        return value | _DR6_ONES
    return value | _DR7_ONES if register == 7 else value


def write_debugreg(table: PvVcpuTable, row: VcpuRow, register: int, value: int) -> None:
    """Set a debug register.  Raises XenError as `set_debugreg`."""
    if register in (4, 5):
        register += 2
    if register > 7:
        raise XenError(Errno.EINVAL)
    if register < 4:
        if value >> 47 not in _CANONICAL or HYPERVISOR_VIRT_START <= value < HYPERVISOR_VIRT_END:
            raise XenError(Errno.EPERM)
    elif value >> 32:
        raise XenError(Errno.EPERM)
    elif register == 6:
        value &= _DR6_WRITABLE
    else:
        value = value & ~_DR7_ZEROES | _DR7_ONES
        for slot in range(4):
            if value >> 16 + 4 * slot & 3 == 2:  # breakpoints on I/O
                raise XenError(Errno.EPERM)
    getattr(table, f"dr{register}")[row] = value
