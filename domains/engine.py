"""One Unicorn engine in AMD SVM guest mode: it enters once, and every intercept calls `on_exit` in place.

The machine address space of the engine is the host's arena, but for the lowest MiB, which is private to the engine and
holds what SVM wants (VMCB, permission maps, the stub that executes VMRUN).  No domain ever owns a frame down there.
"""

import ctypes
import mmap
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from unicorn import UC_ARCH_X86, UC_HOOK_BLOCK, UC_HOOK_INSN_INVALID, UC_HOOK_INTR, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.unicorn_const import UC_CTL_IO_WRITE, UC_CTL_TLB_FLUSH
from unicorn.unicorn_py3.unicorn import uclib
from unicorn.x86_const import (
    UC_CPU_X86_EPYC,
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_GDTR,
    UC_X86_REG_RAX,
    UC_X86_REG_RFLAGS,
)

from domains import envlayout as env
from domains import vmcb
from domains.native import BlockMeter
from domains.vmcb import Intercept

if TYPE_CHECKING:
    from domains.fast_path import FastPath

LOW = 1 << 20
"""Bytes at machine address 0 that are private to each engine."""
_PML4, _PDPT, _GDT, _STUB, _HALT = 0x1000, 0x2000, 0x4000, 0x8000, 0x9000
VMCB, _HSAVE, MSRPM, _IOPM = 0x10000, 0x11000, 0x12000, 0x14000
_NESTED4, _NESTED3 = 0x20000, 0x21000
_EMPTY_ROOT = 0x31000
PRIVATE, PRIVATE_END = 0x40000, LOW
"""For nested tables of the engine's own, and what they lead to: see `null_mmio`."""
MSR_EFER, MSR_VM_HSAVE_PA = 0xC0000080, 0xC0010117
_NOWHERE = 1 << 63
"""An `until` that no guest reaches: reaching it would execute a HLT."""

INTERCEPTED = (
    Intercept.VINTR, Intercept.RDTSC, Intercept.RDPMC, Intercept.CPUID, Intercept.RSM, Intercept.INVD, Intercept.PAUSE,
    Intercept.HLT, Intercept.INVLPGA, Intercept.MSR, Intercept.TASK_SWITCH, Intercept.SHUTDOWN, Intercept.VMRUN,
    Intercept.VMMCALL, Intercept.VMLOAD, Intercept.VMSAVE, Intercept.STGI, Intercept.CLGI, Intercept.SKINIT,
    Intercept.RDTSCP, Intercept.ICEBP, Intercept.WBINVD, Intercept.MONITOR, Intercept.MWAIT)

NATIVE_MSRS = (0x174, 0x175, 0x176, 0x277, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100,
               0xC0000101, 0xC0000102)
"""MSRs that the guest reads and writes without an exit: the engine's own effect is the right one.

EFER is read so, too; writing it natively would clear SVME, without which the engine takes VMMCALL for undefined."""

_INVALID = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
_KEEPING = ctypes.PyDLL(uclib._name)
"""The library without letting other threads have Python at each call.  A worker of Ray has threads that ask for it a
hundred times a second; they would be woken some ten times each for nothing, since a guest's turn is so short.  Slices
are short, too: whoever wants Python gets it after the usual 5 ms and at most a slice."""
_EMU_START, _EMU_STOP = _KEEPING.uc_emu_start, _KEEPING.uc_emu_stop
_REG_READ, _RFLAGS = _KEEPING.uc_reg_read, ctypes.c_int(UC_X86_REG_RFLAGS)
_UNTIL, _NO_LIMIT, _NO_COUNT = ctypes.c_uint64(_NOWHERE), ctypes.c_uint64(0), ctypes.c_size_t(0)
TLB_FLUSH = UC_CTL_TLB_FLUSH | UC_CTL_IO_WRITE << 30
_FLUSH_TLB = ctypes.c_int(TLB_FLUSH)  # the binding has no call for it
_FLUSH_PAGE = _KEEPING.tlb_flush_page_x86_64  # nor uc_ctl, but the library exports QEMU's own

_INT_VECTOR, _VINTR = (VMCB + vmcb.INT_VECTOR) >> 2, 1 << Intercept.VINTR
_FAULT = (VMCB + vmcb.EXIT_INFO_2) >> 3
_KEPT_APART = env.ARITHMETIC_FLAGS | env.DIRECTION_FLAG


class EngineError(RuntimeError):
    """Unicorn refused something that it should not have refused."""


class Engine:
    """An engine over `arena` (a writable buffer; machine address 0 is its first byte), metered by `meter`.

    `q` and `d` are the CPU's state as 64-bit and 32-bit words (see `envlayout`), live inside `on_exit` and between
    runs.  `front` sees every exit first.  `budget[0]` is what is left of the work, in bytes of code, before `run`
    returns by itself.
    """

    def __init__(self, arena: memoryview, meter: BlockMeter, on_exit: Callable[[object, int, object], None],
                 front: "FastPath | None" = None) -> None:
        self.low = mmap.mmap(-1, LOW)
        self.low_words = memoryview(self.low).cast("Q")
        self.fault_word = self.low_words[_FAULT:_FAULT + 1]
        self.int_vector = memoryview(self.low).cast("I")[_INT_VECTOR:_INT_VECTOR + 1]
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_EPYC)  # a model with SVM
        # Without an exits list Unicorn would translate `until` in the guest's address space after each run, and a
        # fault in that stays pending.
        uc.ctl_exits_enabled(True)
        self._handle = uc._uch
        env.stop_between_blocks_only(uc._uch.value)
        self._map(0, memoryview(self.low))
        if len(arena) > LOW:
            self._map(LOW, arena[LOW:])
        cpu = env.cpu_address(uc._uch.value)
        self.cpu = cpu
        """The address of Unicorn's CPU object."""
        self._cpu = ctypes.c_void_p(cpu)
        self.q = env.view(cpu + env.ENV, 8 * env.WORDS, "Q")
        self.d = env.view(cpu + env.ENV, 8 * env.WORDS, "I")
        self.interrupt_request = env.view(cpu + env.INTERRUPT_REQUEST, 4, "I")
        self._budget = ctypes.c_int64(1 << 62)
        self.budget = env.view(ctypes.addressof(self._budget), 8, "q")
        self._running = False
        self._parked: tuple[bytes, int] | None = None
        self._hook, self._on_exit = HOOK(on_exit), on_exit
        self._int6_hook = _INVALID(self._int6)
        self._begin = ctypes.c_uint64()
        self._value = ctypes.c_uint64()
        self._value_at = ctypes.byref(self._value)
        self._hooks: list[object] = []
        if front is None:
            self.add_hook(UC_HOOK_INTR, self._hook, None)
        else:
            front.set_python(self._hook)
            self.add_hook(UC_HOOK_INTR, front.hook, front.data)
        self.add_hook(UC_HOOK_INSN_INVALID, self._int6_hook, None)
        self.add_hook(UC_HOOK_BLOCK, ctypes.c_void_p(meter.address), ctypes.byref(self._budget))

    def _map(self, address: int, memory: memoryview) -> None:
        self.uc.mem_map_ptr(address, len(memory), UC_PROT_ALL, ctypes.addressof(ctypes.c_char.from_buffer(memory)))

    def add_hook(self, kind: int, function: object, data: object, *extra: object) -> None:
        """Install a hook given as a ctypes function or address; `extra` are uc_hook_add's variable arguments."""
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(self._handle, ctypes.byref(handle), kind, function, data, ctypes.c_uint64(1),
                                   ctypes.c_uint64(0), *extra)
        if status:
            raise EngineError(f"uc_hook_add({kind}) failed with {status}")
        self._hooks.append(function)

    def _int6(self, _uc: object, _data: object) -> bool:
        """INT 6, which Unicorn takes for an invalid instruction (those themselves are intercepted)."""
        self.q[env.RIP] = self.q[env.NEXT_RIP]
        self._on_exit(None, 6, None)
        return True

    def enter(self, nested_root: int) -> None:
        """Go into guest mode, over the nested page table at machine address `nested_root`.

        The guest state is arbitrary afterwards: set all of it before `run`.  `on_exit` gets one HLT, and has to `stop`.
        """
        self._prepare_host()
        self._prepare_vmcb()
        self.uc.reg_write(UC_X86_REG_RAX, VMCB)
        self.uc.emu_start(_STUB, _NOWHERE)  # returns from the first intercept, a HLT
        if self.q[env.VM_VMCB] != VMCB:
            raise EngineError("VMRUN did not enter guest mode")
        self.q[env.NESTED_CR3] = nested_root
        self.flush_tlb()

    def _prepare_host(self) -> None:
        words, uc = self.low_words, self.uc
        words[_PML4 >> 3] = _PDPT | 7
        words[_PDPT >> 3] = 0x87  # the first GiB
        words[(_GDT >> 3) + 1], words[(_GDT >> 3) + 2] = 0x00AF9B000000FFFF, 0x00CF93000000FFFF
        uc.msr_write(MSR_EFER, 0x1D01)  # SVME, NXE, LMA, LME, SCE
        uc.msr_write(MSR_VM_HSAVE_PA, _HSAVE)
        uc.reg_write(UC_X86_REG_GDTR, (0, _GDT, 0x7F, 0))
        uc.reg_write(UC_X86_REG_CR4, 0x620)
        uc.reg_write(UC_X86_REG_CR3, _PML4)
        uc.reg_write(UC_X86_REG_CR0, 0x80050033)
        self.low[_STUB:_STUB + 3] = b"\x0f\x01\xd8"  # vmrun
        self.low[_HALT:_HALT + 1] = b"\xf4"

    def _prepare_vmcb(self) -> None:
        low, words = self.low, self.low_words
        low[MSRPM:MSRPM + 0x2000] = b"\xff" * 0x2000
        low[_IOPM:_IOPM + 0x3000] = b"\xff" * 0x3000
        for msr in NATIVE_MSRS:
            bit = 2 * (msr & 0x1FFF) + (0x4000 if msr >= 0xC0000000 else 0)
            low[MSRPM + (bit >> 3)] &= ~(3 << (bit & 7)) & 0xFF
        bit = 2 * (MSR_EFER & 0x1FFF) + 0x4000
        low[MSRPM + (bit >> 3)] &= ~(1 << (bit & 7)) & 0xFF
        struct.pack_into("<H", low, VMCB + vmcb.CR_READ_INTERCEPTS, 1 << 8)
        struct.pack_into("<H", low, VMCB + vmcb.CR_WRITE_INTERCEPTS, 1 << 8)
        struct.pack_into("<I", low, VMCB + vmcb.EXCEPTION_INTERCEPTS, 0xFFFFFFFF)
        struct.pack_into("<Q", low, VMCB + vmcb.INTERCEPTS, sum(1 << bit for bit in INTERCEPTED))
        words[_NESTED4 >> 3], words[_NESTED3 >> 3] = _NESTED3 | 7, 0x87
        save = VMCB + vmcb.SAVE
        for offset, value in ((VMCB + vmcb.IOPM_BASE, _IOPM), (VMCB + vmcb.MSRPM_BASE, MSRPM), (VMCB + vmcb.ASID, 1),
                              (VMCB + vmcb.NP_ENABLE, 1), (VMCB + vmcb.NESTED_CR3, _NESTED4),
                              (save + vmcb.SAVE_EFER, 0x1D01), (save + vmcb.SAVE_CR4, 0x620),
                              (save + vmcb.SAVE_CR3, _PML4), (save + vmcb.SAVE_CR0, 0x80050033),
                              (save + vmcb.SAVE_RFLAGS, 2), (save + vmcb.SAVE_RIP, _HALT)):
            words[offset >> 3] = value
        struct.pack_into("<HHIQ", low, save + 0x10, 0x08, 0xA9B, 0xFFFFFFFF, 0)  # CS
        for offset in (0x00, 0x20, 0x30):
            struct.pack_into("<HHIQ", low, save + offset, 0x10, 0xC93, 0xFFFFFFFF, 0)

    def run(self) -> None:
        """Run the guest from its RIP until the budget is spent or `on_exit` calls `stop`.

        Raises EngineError where Unicorn itself gives up (an access outside the arena).
        """
        self._running = True
        self._begin.value = self.q[env.RIP]
        status = _EMU_START(self._handle, self._begin, _UNTIL, _NO_LIMIT, _NO_COUNT)
        self._running = False
        if self._parked is not None:
            self._unpark(*self._parked)
        if status:
            raise EngineError(f"uc_emu_start: {uclib.uc_strerror(status).decode()}")

    def park(self) -> None:
        """In a hook inside a block: set the CPU's state aside, in which `run` will leave it.

        The engine goes on behind the hooked instruction until the block ends or, as it has no memory now, faults; that
        comes to nothing.  `on_exit` is still called for it, and has to do nothing while `parked`.
        """
        self._parked = bytes(self.q.cast("B")), self.rflags()
        self.q[env.NESTED_CR3] = _EMPTY_ROOT
        self.flush_tlb()
        self.stop()

    @property
    def parked(self) -> bool:
        """Between `park` and the end of `run`."""
        return self._parked is not None

    def _unpark(self, state: bytes, flags: int) -> None:
        self._parked = None
        self.q.cast("B")[:] = state
        self.set_rflags(flags)
        self.flush_tlb()

    def stop(self) -> None:
        """Make `run` return; only from inside `on_exit`."""
        _EMU_STOP(self._handle)

    def rflags(self) -> int:
        """The flags with the arithmetic ones computed (inside a hook they are lazy)."""
        _REG_READ(self._handle, _RFLAGS, self._value_at)  # the binding's own call takes five times as long
        return self._value.value

    def set_rflags(self, value: int) -> None:
        """Set all flags, inside a hook or between runs."""
        # While the engine runs, the arithmetic flags and DF are kept apart; at entry they are taken from EFLAGS.
        env.put_rflags(self.q, self.d, value)
        if self._running:
            self.q[env.EFLAGS] &= ~_KEPT_APART

    def flush_tlb(self) -> None:
        """Forget every translation: after a page-table entry changed from outside the guest."""
        _KEEPING.uc_ctl(self._handle, _FLUSH_TLB)

    def flush_page(self, address: int) -> None:
        """Forget the translation of linear `address`, whatever else it shares page tables with: as INVLPG does."""
        _FLUSH_PAGE(self._cpu, ctypes.c_uint64(address))

    def forget_code(self) -> None:
        """Drop all translated code: after code was written from outside the guest.

        (Unicorn can drop a range only by guest-linear address, which the writer does not know.)
        """
        self.uc.ctl_flush_tb()

    def request_interrupt(self, vector: int, intercept: bool) -> None:
        """Ask for interrupt `vector` when IF opens; with `intercept`, exit VINTR then instead of taking it."""
        self.int_vector[0] = vector
        if intercept:
            self.q[env.INTERCEPT] |= _VINTR
        else:
            self.q[env.INTERCEPT] &= ~_VINTR
        self.interrupt_request[0] |= env.INTERRUPT_VIRQ

    def cancel_interrupt(self) -> None:
        """Withdraw the request."""
        self.interrupt_request[0] &= ~env.INTERRUPT_VIRQ

    @property
    def fault_address(self) -> int:
        """Exit information 2: the linear address of a #PF, the guest-physical address of an NPF."""
        return self.fault_word[0]
