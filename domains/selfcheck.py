"""Proof, at start-up, of each undocumented thing in Unicorn that the engine leans on.

A scratch engine runs a few instructions; every check names what it is about.  All of it takes a few milliseconds.
"""

import ctypes
import struct
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from unicorn import UC_HOOK_INSN, UcError
from unicorn.x86_const import (
    UC_X86_INS_IN,
    UC_X86_REG_CR0,
    UC_X86_REG_CR2,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_GDTR,
    UC_X86_REG_IDTR,
    UC_X86_REG_R8,
    UC_X86_REG_R15,
    UC_X86_REG_RAX,
    UC_X86_REG_RBP,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDI,
    UC_X86_REG_RDX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
)

from domains import envlayout as env
from domains import segments
from domains.engine import LOW, Engine, EngineError
from domains.fast_path import load_fast_path
from domains.native import BlockMeter
from domains.segments import flat
from domains.vmcb import EXIT_BASE, Exit

PINNED = "2.1.4"
_PAGE = LOW
_IN = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p)
_GENERAL = (UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP, UC_X86_REG_RBP,
            UC_X86_REG_RSI, UC_X86_REG_RDI, *range(UC_X86_REG_R8, UC_X86_REG_R15 + 1))
_MSRS = {0xC0000081: env.STAR, 0xC0000082: env.LSTAR, 0xC0000083: env.CSTAR, 0xC0000084: env.SFMASK,
         0xC0000102: env.KERNEL_GS_BASE, 0xC0000103: env.TSC_AUX, 0x175: env.SYSENTER_ESP, 0x176: env.SYSENTER_EIP,
         0xC0000100: env.SEGMENTS + 3 * env.FS + 1, 0xC0000101: env.SEGMENTS + 3 * env.GS + 1}


class SelfCheckError(RuntimeError):
    """This build of Unicorn does not behave as the engine needs."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Unicorn {version('unicorn')}: {what}; Domus is made for Unicorn {PINNED} "
                         f"(pip install unicorn=={PINNED})")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise SelfCheckError(what)


def selfcheck(meter: BlockMeter) -> None:
    """Raise SelfCheckError where anything is not as it should be."""
    _require(version("unicorn") == PINNED, "another version")
    try:
        _registers(meter)
        _Probe(meter).run()
    except (UcError, EngineError) as error:
        raise SelfCheckError(f"the engine refuses: {error}") from error


@cache
def proven_meter() -> BlockMeter:
    """A meter with the fast path, of an engine that passed its check; a forked process has what it was forked with."""
    meter = BlockMeter(load_fast_path())
    selfcheck(meter)
    return meter


def _registers(meter: BlockMeter) -> None:
    """The words of the CPU's structure are where `envlayout` says."""
    engine = Engine(memoryview(bytearray(LOW)), meter, lambda uc, number, data: None)
    uc, q = engine.uc, engine.q
    for index, register in enumerate(_GENERAL):
        uc.reg_write(register, 0x1122334455660000 + index)
        _require(q[index] == 0x1122334455660000 + index, f"general register {index} is elsewhere")
    uc.reg_write(UC_X86_REG_RIP, 0x12345)
    _require(q[env.RIP] == 0x12345, "RIP is elsewhere")
    for register, word, value in ((UC_X86_REG_CR2, env.CR2, 0x987000), (UC_X86_REG_CR4, env.CR4, 0x620),
                                  (UC_X86_REG_CR3, env.CR3, 0x5000)):
        uc.reg_write(register, value)
        _require(q[word] == value, f"CPU word {word} is not the control register that it should be")
    _require(q[env.CR0] == uc.reg_read(UC_X86_REG_CR0), "CR0 is elsewhere")
    for register, segment in ((UC_X86_REG_GDTR, env.GDT), (UC_X86_REG_IDTR, env.IDT)):
        uc.reg_write(register, (0, 0xABC000 + segment, 0x7F8 + segment, 0))
        found = segments.read(engine, segment)
        _require((found.base, found.limit) == (0xABC000 + segment, 0x7F8 + segment), "segment registers are elsewhere")
    for msr, word in _MSRS.items():
        uc.msr_write(msr, 0x4321 + word)
        _require(q[word] == 0x4321 + word, f"MSR {msr:#x} is elsewhere")
    uc.msr_write(0xC0000080, 0x1500)
    _require(q[env.EFER] == 0x1500, "EFER is elsewhere")
    _require(q[env.FEATURES] & 0xFFFF == 0xFBFD and q[env.FEATURES + 2] & 1 == 1, "the feature words are elsewhere")


class _Probe:
    """A guest in 32-bit protected mode, without paging, whose exits are recorded."""

    def __init__(self, meter: BlockMeter) -> None:
        self._memory = memoryview(bytearray(LOW + 0x4000))
        self._exits: list[int] = []
        self._then: Callable[[], None] | None = None
        self.engine = engine = Engine(self._memory, meter, self._on_exit)
        engine.enter(self._nested_tables())
        q = engine.q
        q[env.CR0], q[env.CR4], q[env.EFER] = 0x11, 0, 0
        for index in (env.ES, env.DS, env.SS, env.FS, env.GS):
            segments.write(engine, index, flat(0x10, 0xC93))
        segments.write(engine, env.CS, flat(8, 0xC9B))
        segments.update_hflags(engine)
        engine.set_rflags(2)

    def _nested_tables(self) -> int:
        """Guest-physical [0, 2 MiB) is absent, [2 MiB, 4 MiB) is this probe's memory."""
        low = self.engine.low_words
        root, middle, bottom = 0x40000, 0x41000, 0x42000
        low[root >> 3], low[middle >> 3] = middle | 7, bottom | 7
        page_table = 0x43000
        low[(bottom >> 3) + 1] = page_table | 7
        for index in range(4):
            low[(page_table >> 3) + index] = _PAGE + index * 4096 | 7
        return root

    def _on_exit(self, uc: object, number: int, data: object) -> None:
        self._exits.append(number)
        if self._then is not None and len(self._exits) == 1:
            self._then()
        else:
            self.engine.cancel_interrupt()  # a window that stays open would exit for ever
            self.engine.stop()

    def _execute(self, code: str, then: Callable[[], None] | None = None) -> list[int]:
        program = bytes.fromhex(code)
        self._memory[_PAGE:_PAGE + len(program)] = program
        self.engine.forget_code()
        self._exits, self._then = [], then
        self.engine.q[env.RIP] = 0x200000
        self.engine.run()
        return [number - EXIT_BASE for number in self._exits]

    def run(self) -> None:
        engine, q, d = self.engine, self.engine.q, self.engine.d

        def step(length: int) -> Callable[[], None]:
            def over() -> None:
                q[env.RIP] += length
            return over

        exits = self._execute("0f01d9 b8efbe0000 f4", step(3))  # vmmcall; mov eax, 0xbeef; hlt
        _require(exits == [Exit.VMMCALL, Exit.HLT] and q[env.RAX] == 0xBEEF, "VMMCALL does not exit in place")
        q[env.RBX] = 0x7000
        exits = self._execute("c70300000000")  # mov dword [ebx], 0: an absent guest-physical page
        _require(exits == [Exit.NPF] and engine.fault_address == 0x7000 and d[env.ERROR_CODE] & 2 == 2,
                 "a nested page fault is not reported with its address and error code")
        exits = self._execute("0f0b")
        _require(exits == [Exit.EXCEPTION + 6], "#UD does not exit")
        exits = self._execute("cd30")
        _require(self._exits == [0x30] and q[env.RIP] == 0x200002 and d[env.EXCEPTION_IS_INT] == 1,
                 "INT n is not reported behind the instruction")
        d[env.EXCEPTION_IS_INT] = 0
        exits = self._execute("cd06")
        _require(self._exits == [6] and q[env.RIP] == 0x200002, "INT 6 is not reported behind the instruction")
        d[env.EXCEPTION_IS_INT] = 0
        self._window()
        self._stop_in_a_block()
        self._meter()

    def _window(self) -> None:
        """An interrupt that is asked for with IF clear is reported one instruction after STI."""
        engine, q = self.engine, self.engine.q

        def ask() -> None:
            q[env.RIP] += 3
            engine.request_interrupt(0x40, intercept=True)

        exits = self._execute("0f01d9 90 fb 90 90 f4", ask)  # vmmcall; nop; sti; nop; nop; hlt
        _require(exits == [Exit.VMMCALL, Exit.VINTR] and q[env.RIP] == 0x200006,
                 "the interrupt window does not open one instruction after STI")
        engine.set_rflags(0x202)
        exits = self._execute("90 f4")
        _require(exits == [Exit.HLT], "an interrupt request cannot be withdrawn")

    def _stop_in_a_block(self) -> None:
        """A stop in the middle of a block comes at its end, not behind the next store."""
        engine = self.engine

        def port_in(uc: object, port: int, size: int, data: object) -> int:
            engine.stop()
            return 0

        hook = _IN(port_in)
        engine.add_hook(UC_HOOK_INSN, hook, None, ctypes.c_int(UC_X86_INS_IN))
        engine.q[env.RCX] = 0x201000
        self._execute("ec 8901 90 eb00 f4")  # in al, dx; mov [ecx], eax; nop; jmp next; next: hlt
        _require(engine.q[env.RIP] == 0x200006 and not self._exits, "a stop is noticed inside a block")

    def _meter(self) -> None:
        """The block meter stops between blocks and counts every byte of code once."""
        engine, q = self.engine, self.engine.q
        total, q[env.RBX], q[env.RCX] = 0, 0, 0x201000
        struct.pack_into("<I", self._memory, _PAGE + 0x1000, 0)
        program = bytes.fromhex("ff01 43 eb00 ebf9")  # again: inc dword [ecx]; inc ebx; jmp next; next: jmp again
        self._memory[_PAGE:_PAGE + len(program)] = program
        engine.forget_code()
        q[env.RIP] = 0x200000
        for stop in range(20):
            engine.budget[0] = granted = 100 + stop
            engine.run()
            total += granted - engine.budget[0]
        rounds = struct.unpack_from("<I", self._memory, _PAGE + 0x1000)[0]
        _require(rounds == q[env.RBX] and total in (7 * rounds, 7 * rounds - 2),
                 "the block meter stops inside blocks or miscounts")
        engine.budget[0] = 1 << 62
