"""Privileged instructions of a deprivileged kernel, which raise #GP (pv/emul-priv-op.c) or carry the prefix (#UD).

What Xen emulates for the kernel is done here; everything else, and all of it from user mode, is the guest's own #GP.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from abi.errno import XenError
from abi.x86 import XEN_EMULATE_PREFIX
from domains.envlayout import HFLAGS, RAX, RCX, RDX
from domains.msr import MsrFault
from domains.paging import PageFault
from domains.pv_control import ControlRegisters
from domains.pv_msr import PvMsrs
from domains.pv_ports import io_privileged
from domains.segments import HF_CS64
from hypervisor.pv_state import read_debugreg, write_debugreg

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_LOW32 = 0xFFFFFFFF
_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")
_CPUID = b"\x0f\xa2"
_NAMED = len(XEN_EMULATE_PREFIX)


class _Refused(Exception):  # noqa: N818
    """The instruction stays a #GP."""


class _Code(NamedTuple):
    """An instruction: its bytes from the opcode on behind 0F, the length up to there, and its REX prefix."""

    data: bytes
    length: int
    rex: int


class Emulator:
    """For one vCPU."""

    def __init__(self, vcpu: "PvVcpu", msrs: PvMsrs, control: ControlRegisters) -> None:
        self._vcpu, self._q, self._d, self._msrs, self._control = vcpu, vcpu.q, vcpu.d, msrs, control
        self._u8, self._quick = vcpu.hv.arena.u8, vcpu.walker.quick
        self._two_bytes: dict[int, Callable[[_Code], int]] = {
            0x01: self._group7, 0x06: self._clts, 0x08: self._nothing, 0x09: self._nothing,
            0x20: self._read_cr, 0x21: self._read_dr, 0x22: self._write_cr, 0x23: self._write_dr,
            0x30: self._wrmsr, 0x32: self._rdmsr}

    def emulate(self) -> int:
        """Do the instruction at RIP, which has raised #GP(0), and give its length; 0 where the #GP is the guest's."""
        vcpu = self._vcpu
        code = self._fetch()
        try:
            if code.data[:1] in (b"\xfa", b"\xfb"):  # CLI and STI change nothing, but who may have them may
                return code.length + 1 if io_privileged(vcpu) else 0
            if code.data[:1] != b"\x0f" or not vcpu.kernel_mode():
                return 0
            operation = self._two_bytes.get(code.data[1])
            return 0 if operation is None else code.length + operation(code)
        except (_Refused, MsrFault, XenError, IndexError):
            return 0

    def forced_cpuid(self) -> int:
        """#UD: the length of the forced emulation prefix with CPUID if that is what is here, else 0.

        Raises PageFault where the code behind the prefix cannot be read.
        """
        code = self._vcpu.code
        rip = code.linear_rip()
        if code.at(rip, 2) != XEN_EMULATE_PREFIX[:2]:
            return 0
        data = code.at(rip, _NAMED + 2)
        if not XEN_EMULATE_PREFIX.startswith(data[:_NAMED]):
            return 0
        if len(data) < _NAMED + 2:
            raise PageFault(rip + len(data), 0)
        return _NAMED + 2 if data[_NAMED:] == _CPUID else 0

    def _fetch(self) -> _Code:
        code = self._vcpu.code
        rip = code.linear_rip()
        at = self._quick(rip, False) if rip & 0xFFF <= 0x1000 - 15 else 0
        data = self._u8[at:at + 15].tobytes() if at else code.at(rip, 15)
        count, rex = 0, 0
        while data[count:count + 1] and data[count] in _PREFIXES:
            count += 1
        if self._d[HFLAGS] & HF_CS64 and count < len(data) and data[count] & 0xF0 == 0x40:
            rex, count = data[count], count + 1
        return _Code(data[count:], count, rex)

    def _nothing(self, code: _Code) -> int:
        return 2

    def _clts(self, code: _Code) -> int:
        self._vcpu.set_task_switched(False)
        return 2

    def _rdmsr(self, code: _Code) -> int:
        value = self._msrs.read(self._q[RCX] & _LOW32)
        self._q[RAX], self._q[RDX] = value & _LOW32, value >> 32
        return 2

    def _wrmsr(self, code: _Code) -> int:
        self._msrs.write(self._q[RCX] & _LOW32, (self._q[RDX] & _LOW32) << 32 | self._q[RAX] & _LOW32)
        return 2

    @staticmethod
    def _registers(code: _Code) -> tuple[int, int]:
        """The control or debug register and the general one of a MOV, whatever its mode bits say."""
        modrm = code.data[2]
        return modrm >> 3 & 7 | (code.rex & 4) << 1, modrm & 7 | (code.rex & 1) << 3

    def _value(self, register: int) -> int:
        return self._q[register] & (-1 if self._d[HFLAGS] & HF_CS64 else _LOW32)

    def _read_cr(self, code: _Code) -> int:
        control, register = self._registers(code)
        value = self._control.read(control)
        if value is None:
            raise _Refused
        self._q[register] = value
        return 3

    def _write_cr(self, code: _Code) -> int:
        control, register = self._registers(code)
        if not self._control.write(control, self._value(register)):
            raise _Refused
        return 3

    def _read_dr(self, code: _Code) -> int:
        number, register = self._registers(code)
        self._q[register] = read_debugreg(self._vcpu.hv.pv_vcpus, self._vcpu.vcpu, number)
        return 3

    def _write_dr(self, code: _Code) -> int:
        number, register = self._registers(code)
        write_debugreg(self._vcpu.hv.pv_vcpus, self._vcpu.vcpu, number, self._value(register))
        return 3

    def _group7(self, code: _Code) -> int:
        """LMSW with a register, and INVLPG of [register] or of an address behind the instruction."""
        modrm = code.data[2]
        operation, mode, register = modrm >> 3 & 7, modrm >> 6, modrm & 7 | (code.rex & 1) << 3
        if operation == 6 and mode == 3:
            cr0 = self._control.read(0) or 0
            if not self._control.write(0, cr0 & ~0xE | self._q[register] & 0xF | cr0 & 1):
                raise _Refused
            return 3
        if operation == 7 and mode != 3 and (modrm & 7) != 4:
            displacement = {0: 4 if modrm & 7 == 5 else 0, 1: 1, 2: 4}[mode]
            self._vcpu.engine.flush_tlb()
            return 3 + displacement
        if operation == 7 and mode != 3:  # with a SIB byte
            base = code.data[3] & 7
            displacement = {0: 4 if base == 5 else 0, 1: 1, 2: 4}[mode]
            self._vcpu.engine.flush_tlb()
            return 4 + displacement
        raise _Refused
