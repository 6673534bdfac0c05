"""SYSCALL and SYSENTER in PVH guests.

Unicorn lets a hook stand in for both instructions and does nothing without one, so their effect is written here, as
AMD64 defines it (manual volume 3).  In the hook RIP is at the instruction; the engine adds its two bytes afterwards.
"""

import ctypes
from collections.abc import Callable

from unicorn import UC_HOOK_INSN
from unicorn.x86_const import UC_X86_INS_SYSCALL, UC_X86_INS_SYSENTER

from domains import delivery
from domains import envlayout as env
from domains.engine import Engine
from domains.msr import EFER_SCE
from domains.segments import EFER_LMA, HF_CS64, flat, update_hflags
from domains.segments import write as write_segment

_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_LENGTH = 2
_CODE64, _CODE32, _DATA = 0xA9B, 0xC9B, 0xC93
"""Attributes of the flat segments that both instructions load, for `segments.flat`."""


class FastCalls:
    """The two instructions for one vCPU.  `fault(vector, error code)` raises an exception at the current RIP."""

    def __init__(self, engine: Engine, fault: Callable[[int, int | None], None]) -> None:
        self._engine, self._fault = engine, fault
        self._syscall_hook, self._sysenter_hook = _HOOK(self._syscall), _HOOK(self._sysenter)
        engine.add_hook(UC_HOOK_INSN, self._syscall_hook, None, ctypes.c_int(UC_X86_INS_SYSCALL))
        engine.add_hook(UC_HOOK_INSN, self._sysenter_hook, None, ctypes.c_int(UC_X86_INS_SYSENTER))

    def _go(self, rip: int) -> None:
        update_hflags(self._engine)
        self._engine.q[env.RIP] = rip - _LENGTH & (1 << 64) - 1

    def _refuse(self, vector: int, code: int | None) -> None:
        self._fault(vector, code)
        self._go(self._engine.q[env.RIP])

    def _syscall(self, _uc: object, _data: object) -> None:
        engine, q = self._engine, self._engine.q
        if engine.parked:  # the rest of a block that has faulted already
            return
        if not q[env.EFER] & EFER_SCE:
            self._refuse(delivery.UD, None)
            return
        star, after, flags = q[env.STAR], q[env.RIP] + _LENGTH & (1 << 64) - 1, engine.rflags()
        selector = star >> 32 & 0xFFFC
        if q[env.EFER] & EFER_LMA:
            target = q[env.LSTAR] if engine.d[env.HFLAGS] & HF_CS64 else q[env.CSTAR]
            q[env.RCX], q[env.R11] = after, flags & ~delivery.RF
            engine.set_rflags(flags & ~(q[env.SFMASK] | delivery.RF))
            code = flat(selector, _CODE64)
        else:
            target = star & 0xFFFFFFFF
            q[env.RCX] = after & 0xFFFFFFFF
            engine.set_rflags(flags & ~(delivery.VM | delivery.IF | delivery.RF))
            code = flat(selector, _CODE32)
        write_segment(engine, env.CS, code)
        write_segment(engine, env.SS, flat(selector + 8, _DATA))
        self._go(target)

    def _sysenter(self, _uc: object, _data: object) -> None:
        engine, q = self._engine, self._engine.q
        if engine.parked:
            return
        if q[env.EFER] & EFER_LMA:  # AMD's processors have it in legacy mode alone
            self._refuse(delivery.UD, None)
            return
        selector = q[env.SYSENTER_CS] & 0xFFFC
        if not selector:
            self._refuse(delivery.GP, 0)
            return
        engine.set_rflags(engine.rflags() & ~(delivery.VM | delivery.IF | delivery.RF))
        write_segment(engine, env.CS, flat(selector, _CODE32))
        write_segment(engine, env.SS, flat(selector + 8, _DATA))
        q[env.RSP] = q[env.SYSENTER_ESP] & 0xFFFFFFFF
        self._go(q[env.SYSENTER_EIP] & 0xFFFFFFFF)
