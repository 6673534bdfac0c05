"""IN and OUT of one vCPU: who may (IOPL, the TSS's permission bitmap), and the fault of who may not.

Unicorn checks nothing, calls a hook in the middle of a block, and goes on behind the instruction whatever the hook did.
So a fault is built in the CPU's state as if the instruction had not been, and set aside with `Engine.park` until the
engine has stopped.
"""

import ctypes
import traceback
from collections.abc import Callable

from unicorn import UC_HOOK_INSN
from unicorn.x86_const import UC_X86_INS_IN, UC_X86_INS_OUT

from domains import delivery, segments
from domains import envlayout as env
from domains.engine import Engine
from domains.paging import PageFault, Walker
from domains.ports import Ports
from domains.segments import CR0_PE
from state.arena import Arena

_IN = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p)
_OUT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)
_IOPL_SHIFT = 12
_BITMAP_BASE = 0x66
"""Byte of a 32-bit or 64-bit TSS that holds the 16-bit offset of its I/O permission bitmap."""
_TSS_TYPES = (9, 11)
_LEAST_LIMIT = 0x67


class PortHooks:
    """Puts `ports` behind the instructions.

    `fault(vector, error code, address)` raises at the current RIP; `park` (`Vcpu.park`) makes it count.  `failed` gets
    an exception that nothing expected, with its traceback.
    """

    def __init__(self, engine: Engine, walker: Walker, arena: Arena, ports: Ports,
                 fault: Callable[[int, int | None, int | None], None], park: Callable[[], None],
                 failed: Callable[[BaseException, str], None]) -> None:
        self._engine, self._walker, self._arena, self._ports = engine, walker, arena, ports
        self._fault, self._park, self._failed = fault, park, failed
        self._in, self._out = _IN(self._port_in), _OUT(self._port_out)
        engine.add_hook(UC_HOOK_INSN, self._in, None, ctypes.c_int(UC_X86_INS_IN))
        engine.add_hook(UC_HOOK_INSN, self._out, None, ctypes.c_int(UC_X86_INS_OUT))

    def _port_in(self, _uc: object, port: int, size: int, _data: object) -> int:
        try:
            return self._ports.read(port, size) if self._allowed(port, size) else 0
        except BaseException as error:
            self._failed(error, traceback.format_exc())
            return 0

    def _port_out(self, _uc: object, port: int, size: int, value: int, _data: object) -> None:
        try:
            if self._allowed(port, size):
                self._ports.write(port, size, value)
        except BaseException as error:
            self._failed(error, traceback.format_exc())

    def _allowed(self, port: int, size: int) -> bool:
        """False where the guest got a fault instead."""
        engine, q = self._engine, self._engine.q
        if engine.parked:  # the rest of a block that has faulted already
            return False
        flags, cpl = q[env.EFLAGS], engine.d[env.HFLAGS] & segments.HF_CPL
        if not q[env.CR0] & CR0_PE or (not flags & delivery.VM and cpl <= flags >> _IOPL_SHIFT & 3):
            return True
        try:
            if self._in_bitmap(port, size):
                return True
            self._fault(delivery.GP, 0, None)
        except PageFault as error:
            self._fault(delivery.PF, error.code, error.address)
        self._park()
        return False

    def _in_bitmap(self, port: int, size: int) -> bool:
        """Whether the task's bitmap allows `size` ports from `port` on.  Raises PageFault."""
        tss = segments.read(self._engine, env.TR)
        if tss.flags >> 8 & 0xF not in _TSS_TYPES or tss.limit < _LEAST_LIMIT:
            return False
        at = self._word(tss.base + _BITMAP_BASE) + (port >> 3)
        if at + 1 > tss.limit:  # the processor always reads two bytes
            return False
        return not self._word(tss.base + at) >> (port & 7) & (1 << size) - 1

    def _word(self, address: int) -> int:
        data = b""
        for at in (address, address + 1):
            machine = self._walker.machine(at, write=False)
            data += b"\xff" if machine is None else self._arena.read(machine, 1)
        return int.from_bytes(data, "little")
