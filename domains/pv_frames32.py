"""Entry to the kernel of a 32-bit PV guest in ring 1, and the way back (compat_create_bounce_frame; pv/iret.c).

The frame, from low to high: [ds, es, fs, gs], [error code], eip, cs | upcall mask << 16, eflags, and, from ring 3
alone, esp, ss.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from abi.errno import XenError
from abi.xen import VmAssist
from domains import envlayout as env
from domains.delivery import IF, NT, RF, TF, VM
from domains.envlayout import EFLAGS, RIP, RSP
from domains.pv_selectors import NULL, BadSelector
from domains.segments import write as write_segment
from hypervisor.crash import GuestCrash
from hypervisor.pv_nmi import handled
from hypervisor.pv_tables import VcpuFlag

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu

_IOPL, _IOPL_SHIFT = 3 << 12, 12
_CLEARED = ~(VM | RF | NT | TF)
_LOW32 = 0xFFFFFFFF
_CS, _SS = env.SEGMENTS + 3 * env.CS, env.SEGMENTS + 3 * env.SS
_DATA = (env.DS, env.ES, env.FS, env.GS)


class Frames32:
    """For one vCPU; the same calls as `Frames64`."""

    def __init__(self, vcpu: "PvVcpu", rflags: Callable[[], int]) -> None:
        hv = vcpu.hv
        self._vcpu, self._rflags, self._row, self._domid = vcpu, rflags, vcpu.vcpu, vcpu.domid
        self._q, self._d, self._u8, self._info = vcpu.q, vcpu.d, hv.arena.u8, hv.vcpus.info
        self._memory, self._table, self._assists = vcpu.memory, hv.pv_vcpus, hv.assists.bits

    def bounce(self, ip: int, masks: bool, error: int | None = None, resume: int = 0, cs: int = 0,
               segments: tuple[int, ...] = ()) -> None:
        """See `Frames64.bounce`."""
        q, row, vcpu = self._q, self._row, self._vcpu
        if not ip:
            raise GuestCrash(self._domid, vcpu.vcpu_id, "it has no handler for what it has to be told")
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
        words = [q[RIP] & _LOW32, q[_CS] & 0xFFFF | mask << 16, flags & _LOW32]
        if not q[_CS] & 2:
            top, stack = q[RSP] & _LOW32, q[_SS] & 0xFFFF
        else:
            words += [q[RSP] & _LOW32, q[_SS] & 0xFFFF]
            top, stack = self._table.kernel_sp[row] & _LOW32, self._table.kernel_ss[row]
        if error is not None:
            words.insert(0, error)
        words[:0] = segments
        bottom = top - 4 * len(words) & _LOW32
        try:
            self._memory.write(bottom, b"".join(word.to_bytes(4, "little") for word in words))
            code, data = vcpu.selectors.code(cs), vcpu.selectors.stack(stack)
        except (XenError, BadSelector):
            raise GuestCrash(self._domid, vcpu.vcpu_id, f"its kernel cannot be entered at {cs:#x}:{ip:#x} with stack "
                             f"{stack:#x}:{bottom:#x}") from None
        q[RSP], q[RIP] = bottom, ip & _LOW32
        vcpu.engine.q[EFLAGS] &= _CLEARED
        if segments:
            for index in _DATA:
                write_segment(vcpu.engine, index, NULL)
        vcpu.selectors.set_code_and_stack(code, data)

    def iret(self) -> int:
        """Return to eax, eip, cs, eflags on the stack and, to ring 3, esp and ss.  Gives the value for EAX."""
        q, row, vcpu = self._q, self._row, self._vcpu
        esp = q[RSP] & _LOW32
        try:
            eax, eip, cs, eflags = _words(self._memory.read(esp, 16))
            outward = cs & 3 == 3
            new_esp, ss = _words(self._memory.read(esp + 16, 8)) if outward else (esp + 16 & _LOW32, q[_SS])
        except XenError:
            raise GuestCrash(self._domid, vcpu.vcpu_id, f"iret from a stack at {esp:#x} that cannot be read") from None
        if eflags & VM:
            raise GuestCrash(self._domid, vcpu.vcpu_id, "iret to virtual-8086 mode, which is not there")
        if self._assists[self._domid] >> VmAssist.architectural_iopl & 1:
            self._table.iopl[row] = eflags >> _IOPL_SHIFT & 3
        q[RIP], q[RSP] = eip, new_esp
        vcpu.engine.set_rflags(eflags & 0x3FFFFF & ~_IOPL | IF)
        info = self._info[row]
        if info:
            self._u8[info + 1] = not eflags & IF
        if self._table.nmi[row]:
            handled(self._table, vcpu.hv.sched, row)
        selectors, cs, ss = vcpu.selectors, cs & 0xFFFF, ss & 0xFFFF
        try:
            code = selectors.code(cs)
            selectors.set_code_and_stack(code, selectors.stack(ss))
        except BadSelector:
            q[_CS], q[_SS] = cs, ss
            self.failsafe()
            return eax
        if outward:
            for index in _DATA:  # what ring 3 may not have, a return takes away
                at = env.SEGMENTS + 3 * index
                if q[at] & 0xFFFC and q[at + 2] >> 45 & 3 < 3:
                    write_segment(vcpu.engine, index, NULL)
        return eax

    def failsafe(self) -> None:
        """See `Frames64.failsafe`."""
        q, row, table = self._q, self._row, self._table
        words = tuple(q[env.SEGMENTS + 3 * index] & 0xFFFF for index in _DATA)
        self.bounce(table.failsafe_ip[row], bool(table.flags[row] & VcpuFlag.FAILSAFE_DISABLES_EVENTS),
                    cs=table.failsafe_cs[row], segments=words)


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data), 4)]
