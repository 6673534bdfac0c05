"""Entry to the kernel of a 64-bit PV guest, and the way back (create_bounce_frame of x86_64/entry.S; pv/iret.c).

The frame, from low to high: rcx, r11, [ds, es, fs, gs], [error code], rip, cs | upcall mask << 32, rflags, rsp, ss.
It begins at a multiple of 16 from the top, the selector of a kernel's code has RPL 0, and IF says whether upcalls were
open.
"""

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from abi.errno import XenError
from abi.x86_64 import FLAT_KERNEL_CS64, FLAT_KERNEL_SS, FLAT_USER_CS32, VGCF_in_syscall
from abi.xen import VmAssist
from domains import envlayout as env
from domains.delivery import IF, NT, RF, TF, VM
from domains.envlayout import EFLAGS, HFLAGS, R11, RCX, RIP, RSP
from domains.pv_selectors import BadSelector
from domains.segments import HF_ADDSEG, HF_CPL, HF_CS32, HF_CS64, HF_SS32, from_descriptor
from hypervisor.crash import GuestCrash
from hypervisor.pv_nmi import handled
from hypervisor.pv_tables import VcpuFlag

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_KERNEL_MODE = int(VcpuFlag.KERNEL_MODE)
_AC, _IOPL, _IOPL_SHIFT = 1 << 18, 3 << 12, 12
_CLEARED = ~(_AC | VM | RF | NT | TF)
_M64 = (1 << 64) - 1
_PLAIN, _WITH_ERROR = Struct("<7Q"), Struct("<8Q")
_IRET = Struct("<9Q")
_CS, _SS = env.SEGMENTS + 3 * env.CS, env.SEGMENTS + 3 * env.SS
_GS_BASE = env.SEGMENTS + 3 * env.GS + 1
_CODE64 = from_descriptor(FLAT_KERNEL_CS64, 0x00AFFB000000FFFF)
_STACK = from_descriptor(FLAT_KERNEL_SS, 0x00CFF3000000FFFF)
_CODE64_WORD, _STACK_WORD = _CODE64.limit | _CODE64.flags << 32, _STACK.limit | _STACK.flags << 32
_MODE = HF_CPL | HF_CS32 | HF_SS32 | HF_ADDSEG | HF_CS64
_MODE64 = 3 | HF_CS32 | HF_SS32 | HF_CS64


class Frames64:
    """For one vCPU.  `rflags()` gives all flags."""

    def __init__(self, vcpu: "PvVcpu", rflags: Callable[[], int]) -> None:
        hv = vcpu.hv
        self._vcpu, self._rflags, self._hv, self._row, self._domid = vcpu, rflags, hv, vcpu.vcpu, vcpu.domid
        self._q, self._d, self._u8, self._info = vcpu.q, vcpu.d, hv.arena.u8, hv.vcpus.info
        self._quick, self._memory = vcpu.walker.quick, vcpu.memory
        self._table, self._flags, self._assists = hv.pv_vcpus, hv.pv_vcpus.flags, hv.assists.bits

    def bounce(self, ip: int, masks: bool, error: int | None = None, resume: int = 0, cs: int = 0,
               segments: tuple[int, ...] = ()) -> None:
        """Enter the kernel at `ip`, with upcalls masked if `masks`.

        `resume` is or-ed into the flags that are pushed; `cs` is for 32-bit guests; `segments` are the selectors of a
        failsafe frame.  Raises GuestCrash where there is no entry point, or no stack.
        """
        q, row = self._q, self._row
        if not ip:
            raise GuestCrash(self._domid, self._vcpu.vcpu_id, "it has no handler for what it has to be told")
        selector, stack = q[_CS], q[RSP]
        if self._flags[row] & _KERNEL_MODE:
            top = stack & ~15
            selector &= ~3
        else:
            self.toggle()
            top = self._table.kernel_sp[row] & ~15
        info, flags = self._info[row], self._rflags() & ~(IF | _IOPL) | resume
        mask = 1
        if info:
            mask = self._u8[info + 1]
            if masks:
                self._u8[info + 1] = 1
        if not mask:
            flags |= IF
        if self._assists[self._domid] >> VmAssist.architectural_iopl & 1:
            flags |= self._table.iopl[row] << _IOPL_SHIFT
        if error is None and not segments:
            bottom = top - 56 & _M64
            machine = self._quick(bottom, True) if bottom & 0xFFF <= 0x1000 - 56 else 0
            words = (q[RCX], q[R11], q[RIP], selector | mask << 32, flags, stack, q[_SS])
            if machine:
                _PLAIN.pack_into(self._u8, machine, *words)
            else:
                self._store(bottom, words)
        else:
            words = (q[RCX], q[R11], *segments, *(() if error is None else (error,)), q[RIP], selector | mask << 32,
                     flags, stack, q[_SS])
            bottom = top - 8 * len(words) & _M64
            machine = self._quick(bottom, True) if bottom & 0xFFF <= 0x1000 - 8 * len(words) else 0
            if machine and len(words) == 8:
                _WITH_ERROR.pack_into(self._u8, machine, *words)
            else:
                self._store(bottom, words)
        q[RSP], q[RIP] = bottom, ip
        self._flat64()
        q[EFLAGS] &= _CLEARED

    def _store(self, bottom: int, words: tuple[int, ...]) -> None:
        try:
            self._memory.write(bottom, b"".join(word.to_bytes(8, "little") for word in words))
        except XenError:
            raise GuestCrash(self._domid, self._vcpu.vcpu_id,
                             f"its kernel stack at {bottom:#x} cannot be written") from None

    def toggle(self) -> None:
        """From kernel to user or back (toggle_guest_mode)."""
        q = self._q
        self._flags[self._row] ^= _KERNEL_MODE
        q[_GS_BASE], q[env.KERNEL_GS_BASE] = q[env.KERNEL_GS_BASE], q[_GS_BASE]
        self._vcpu.switch_cr3()

    def _flat64(self) -> None:
        q, d = self._q, self._d
        if q[_CS] == FLAT_KERNEL_CS64 and q[_SS] == FLAT_KERNEL_SS and d[HFLAGS] & _MODE == _MODE64:
            return  # as nearly always
        q[_CS], q[_CS + 1], q[_CS + 2] = FLAT_KERNEL_CS64, 0, _CODE64_WORD
        q[_SS], q[_SS + 1], q[_SS + 2] = FLAT_KERNEL_SS, 0, _STACK_WORD
        d[HFLAGS] = d[HFLAGS] & ~_MODE | _MODE64

    def iret(self) -> int:
        """Return to what `struct iret_context` on the stack says; gives the value for RAX.  Raises GuestCrash."""
        q, row, vcpu = self._q, self._row, self._vcpu
        rsp = q[RSP]
        machine = self._quick(rsp, False) if rsp & 0xFFF <= 0x1000 - 72 else 0
        words: tuple[int, ...]
        try:
            words = _IRET.unpack_from(self._u8, machine) if machine else _IRET.unpack(self._memory.read(rsp, 72))
        except XenError:
            raise GuestCrash(self._domid, vcpu.vcpu_id, f"iret from a stack at {rsp:#x} that cannot be read") from None
        rax, r11, rcx, how, rip, cs, rflags, rsp, ss = words
        if cs & 3 == 3:
            if not self._table.user_cr3[row]:
                raise GuestCrash(self._domid, vcpu.vcpu_id, "iret to user mode, which has no page tables")
            self.toggle()
        if self._assists[self._domid] >> VmAssist.architectural_iopl & 1:
            self._table.iopl[row] = rflags >> _IOPL_SHIFT & 3
        if how & VGCF_in_syscall:
            cs = FLAT_USER_CS32 if cs | 3 == FLAT_USER_CS32 else FLAT_KERNEL_CS64  # what SYSRET gives
            ss = FLAT_KERNEL_SS
            rcx, r11 = rip, rflags
        q[RIP], q[RSP], q[RCX], q[R11] = rip, rsp, rcx, r11
        vcpu.engine.set_rflags(rflags & 0x3FFFFF & ~(_IOPL | VM) | IF)
        info = self._info[row]
        if info:
            self._u8[info + 1] = not rflags & IF
        if self._table.nmi[row]:
            handled(self._table, vcpu.hv.sched, row)
        self._load(cs & 0xFFFF | 3, ss & 0xFFFF | 3)
        return rax

    def _load(self, cs: int, ss: int) -> None:
        if cs == FLAT_KERNEL_CS64 and ss == FLAT_KERNEL_SS:
            self._flat64()
            return
        selectors = self._vcpu.selectors
        try:
            code = selectors.code(cs)
            if ss & 0xFFFC or not code.flags & 1 << 21:
                selectors.set_code_and_stack(code, selectors.stack(ss))
            else:
                selectors.set_code_and_stack(code, _STACK._replace(selector=ss))
        except BadSelector:
            self._q[_CS], self._q[_SS] = cs, ss
            self.failsafe()

    def failsafe(self) -> None:
        """The state to return to cannot be loaded: tell the guest."""
        q, row = self._q, self._row
        words = tuple(q[env.SEGMENTS + 3 * index] & 0xFFFF for index in (env.DS, env.ES, env.FS, env.GS))
        self.bounce(self._table.failsafe_ip[row],
                    bool(self._flags[row] & VcpuFlag.FAILSAFE_DISABLES_EVENTS), segments=words)
