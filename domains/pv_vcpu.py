"""A vCPU of a PV domain: its kernel runs in ring 3 (64-bit) or ring 1 (32-bit), and traps to Xen for what is Xen's.

Hypercalls come as SYSCALL, for which Unicorn calls a hook, or as `int 0x82`; all else as intercepts of the engine.
Before the guest goes on after any of them, a pending upcall is delivered if upcalls are open.
"""

import ctypes
import traceback
from typing import TYPE_CHECKING

from unicorn import UC_HOOK_INSN
from unicorn.x86_const import UC_X86_INS_SYSCALL, UC_X86_INS_SYSENTER

from abi.types import VcpuRow
from clock.pvclock import NANOSECONDS
from domains import delivery
from domains import envlayout as env
from domains.envlayout import HFLAGS, R8, R9, R10, RAX, RBX, RCX, RDI, RDX, RIP, RSI
from domains.native import BlockMeter
from domains.ports import Ports
from domains.pv_control import ControlRegisters
from domains.pv_exceptions import PvExceptions
from domains.pv_frames32 import Frames32
from domains.pv_frames64 import Frames64
from domains.pv_front import TRAP
from domains.pv_instructions import PvInstructions
from domains.pv_ports import PvPortHooks
from domains.pv_processor import PvProcessor
from domains.pv_traps import Traps
from domains.pv_turns import Turns
from domains.segments import HF_CS64
from domains.vmcb import EXIT_BASE, Exit
from hypervisor.crash import GuestCrash
from hypervisor.pv_nmi import take_nmi
from hypervisor.pv_tables import VcpuFlag
from hypervisor.trace import FOLD_AT

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor

_HOOK, _EVENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p), ctypes.CFUNCTYPE(None)
_LOW32, _M64 = 0xFFFFFFFF, (1 << 64) - 1
_KERNEL_MODE = int(VcpuFlag.KERNEL_MODE)
_LENGTH = 2
"""Of SYSCALL and of INT n."""
_ARGUMENTS64, _ARGUMENTS32 = (RDI, RSI, RDX, R10, R8, R9), (RBX, RCX, RDX, RSI, RDI, env.RBP)
_CONTINUED = 100_000
"""Nanoseconds that a hypercall takes between two of its parts: who asks for endless work is not the only one who gets
some."""


class PvVcpu(PvProcessor):
    """See `PvProcessor`; here is what the guest comes with, and how it is told things."""

    def __init__(self, hv: "Hypervisor", row: VcpuRow, meter: BlockMeter, turns: Turns) -> None:
        super().__init__(hv, row, meter, turns)
        self._dispatch = hv.dispatcher.dispatch
        self.frames = Frames64(self, self.rflags) if self.width == 64 else Frames32(self, self.rflags)
        self.traps = Traps(self, self.frames)
        self.control = ControlRegisters(self)
        self.instructions = PvInstructions(self, self._cycles)
        self.exceptions = PvExceptions(self)
        self.writes = self.exceptions.writes
        self._restarted = False
        self._continued_cycles, self._trap_cycles = self._cycles(_CONTINUED), self._cycles(TRAP)
        if turns.join(self, self.pv_front):
            self._add_hooks()
            hv.pv.local_invlpg[self.domid] = self._invlpg
            hv.pv.local_flush[self.domid] = self._flush

    def _add_hooks(self) -> None:
        """Those of a domain's engine, for whichever vCPU is in it."""
        engine, turns, front, console = self.engine, self.turns, self.pv_front, self.hv.console_lines
        self._hooks = _HOOK(turns.on_syscall), _HOOK(turns.on_sysenter), _EVENT(turns.on_event)
        syscall, sysenter, event = self._hooks
        if front is None:
            engine.add_hook(UC_HOOK_INSN, syscall, None, ctypes.c_int(UC_X86_INS_SYSCALL))
        else:
            front.set_python_calls(syscall, event)
            engine.add_hook(UC_HOOK_INSN, front.syscall_hook, front.data, ctypes.c_int(UC_X86_INS_SYSCALL))
        engine.add_hook(UC_HOOK_INSN, sysenter, None, ctypes.c_int(UC_X86_INS_SYSENTER))
        self._port_hooks = PvPortHooks(self, Ports(lambda data: console.write(self.domid, data)),
                                       lambda vector, code, address: turns.current.fault_in_hook(vector, code))

    def enter(self) -> None:
        """Put the domain's engine into guest mode.  What is pending for the guest waits until it runs."""
        self._unsettled = True
        self.engine.enter(self.hv.pv.nested_root(self.domid))
        self._unsettled = False
        self.start_front()

    def install_exits(self) -> None:
        """After `enter`: what each intercept does."""
        exceptions, instructions = self.exceptions, self.instructions
        self.exits = {EXIT_BASE + code: handler for code, handler in {
            Exit.CPUID: instructions.cpuid, Exit.RDTSC: instructions.rdtsc, Exit.RDTSCP: instructions.rdtsc,
            Exit.PAUSE: instructions.pause, Exit.NPF: exceptions.nested_page_fault,
        }.items()}
        for code in (Exit.HLT, Exit.MSR, Exit.WBINVD, Exit.INVD, Exit.RDPMC, Exit.TASK_SWITCH):
            self.exits[EXIT_BASE + code] = exceptions.general_protection
        for code in (Exit.VMMCALL, Exit.RSM, Exit.INVLPGA, Exit.VMRUN, Exit.VMLOAD, Exit.VMSAVE, Exit.STGI, Exit.CLGI,
                     Exit.SKINIT, Exit.MONITOR, Exit.MWAIT, Exit.ICEBP):
            self.exits[EXIT_BASE + code] = exceptions.invalid_opcode
        for vector in range(32):
            self.exits[EXIT_BASE + Exit.EXCEPTION + vector] = exceptions.handler(vector)

    def run_slice(self) -> None:
        self.turns.take(self)
        if self._table.nmi[self.vcpu] and not self._deliver_nmi():
            return
        super().run_slice()
        if self.writes.active:
            self.writes.finish()

    def _deliver_nmi(self) -> bool:
        """Enter the guest's handler if it is time.  False where that crashed the guest."""
        if take_nmi(self._table, self.hv.traps, self.vcpu):
            try:
                self.traps.exception(delivery.NMI)
            except GuestCrash as error:
                self.crash(str(error))
                return False
        return True

    # -- into Xen and back

    def on_exit(self, number: int) -> None:
        """An intercept, or INT `number`."""
        if self._unsettled:  # the rest of a block that has ended already
            self._stop()
            return
        try:
            if self._touched[0]:
                self._collect()
            if self.writes.active and number not in _STEPPING and not self.writes.finish():
                return
            handler = self.exits.get(number)
            if handler is not None:
                handler()
            elif number < EXIT_BASE:
                self.software_interrupt(number)
            else:
                self.crash(f"unexpected exit {number - EXIT_BASE:#x}")
            if self._u8[self._info[self.vcpu]]:
                self.arm_upcall()
            if self.stale:
                self.stale = False
                self.engine.flush_tlb()
        except GuestCrash as error:
            self.crash(str(error))
        except BaseException as error:
            self.failed(error, traceback.format_exc())

    def _on_exit(self, _uc: object, number: int, _data: object) -> None:
        self.turns.current.on_exit(number)

    def on_syscall(self) -> None:
        """SYSCALL: RIP is at the instruction, and the engine adds its length afterwards."""
        if self._unsettled:
            return  # the rest of a block that has ended already
        q = self.q
        try:
            if self._touched[0]:
                self._collect()
            q[RIP] = rip = q[RIP] + _LENGTH & _M64
            if self._flags[self.vcpu] & _KERNEL_MODE and self.d[HFLAGS] & HF_CS64:
                self.now()
                q[RCX] = rip
                q[RAX] = self._dispatch(self, q[RAX], q[RDI], q[RSI], q[RDX], q[R10], q[R8], q[R9])
                self._after_hypercall()
            else:
                self.traps.system_call()
            if self._u8[self._info[self.vcpu]]:
                self.arm_upcall()
            if self.stale:
                self.stale = False
                self.engine.flush_tlb()
        except GuestCrash as error:
            self.crash(str(error))
        except BaseException as error:
            self.failed(error, traceback.format_exc())
        q[RIP] = q[RIP] - _LENGTH & _M64

    def on_sysenter(self) -> None:
        """SYSENTER in compatibility mode, which AMD's processors do not have there.  RIP as in `on_syscall`."""
        if self._unsettled:
            return
        try:
            self.traps.exception(delivery.UD)
        except GuestCrash as error:
            self.crash(str(error))
        except BaseException as error:
            self.failed(error, traceback.format_exc())
        self.q[RIP] = self.q[RIP] - _LENGTH & _M64

    def on_event(self) -> None:
        """Something is pending, after an exit that the native front did."""
        try:
            if self._touched[0]:
                self._collect()
            self.arm_upcall()
            if self.stale:
                self.stale = False
                self.engine.flush_tlb()
        except BaseException as error:
            self.failed(error, traceback.format_exc())

    def front_keeps_time(self) -> bool:
        return self._one_to_one or (not self._virtual and self._clock.frequency == NANOSECONDS)

    def _collect(self) -> None:
        """Take over the native front's part of the trace.  Nothing that it does for PV guests changes a slice."""
        assert self.front is not None
        buffer = self.hv.trace.buffers[self.domid]
        self.front.collect(buffer)
        if len(buffer) >= FOLD_AT:
            self.hv.trace.fold(self.domid)

    def hypercall32(self) -> None:
        """INT 0x82 in ring 1."""
        q = self.q
        self.now()
        q[RAX] = self._dispatch(self, q[RAX] & _LOW32, q[RBX] & _LOW32, q[RCX] & _LOW32, q[RDX] & _LOW32,
                                q[RSI] & _LOW32, q[RDI] & _LOW32, q[env.RBP] & _LOW32) & _LOW32
        self._after_hypercall()

    def _after_hypercall(self) -> None:
        if self._restarted:
            self._restarted = False
            self.q[RIP] -= _LENGTH
        self.look_at_slice()

    def look_at_slice(self) -> None:
        """After a call into the hypervisor: it may have ended the slice."""
        if self._sched.changed and self.slice_changed():
            self._stop()

    def restart(self, arguments: tuple[int, ...]) -> None:
        """The hypercall is to go on, with these arguments, when others have had their turn: see `Restartable`."""
        for register, argument in zip(_ARGUMENTS64 if self.width == 64 else _ARGUMENTS32, arguments, strict=False):
            self.q[register] = argument
        self._restarted = True
        if self._virtual:
            self._budget[0] -= self._continued_cycles
        self._stop()

    # -- what the guest is told

    def event_deliverable(self) -> bool:
        info = self._info[self.vcpu]
        return bool(info and self._u8[info] and not self._u8[info + 1])

    def arm_upcall(self) -> None:
        info = self._info[self.vcpu]
        if info and self._u8[info] and not self._u8[info + 1]:
            try:
                self.now()
                self.upcall_taken(0)
                self.traps.event()
            except GuestCrash as error:
                self.crash(str(error))

    def charge_trap(self) -> None:
        """An exception takes time; where no block of code comes that would see it, no time is left."""
        self._budget[0] -= self._trap_cycles
        if self._budget[0] < 0:
            self._stop()

    def fault(self, vector: int, error: int | None = None) -> None:
        """Raise an exception in the guest."""
        self.traps.exception(vector, error)

    def fault_in_hook(self, vector: int, error: int | None) -> None:
        """The same outside `on_exit`."""
        try:
            self.traps.exception(vector, error)
        except GuestCrash as crash:
            self.crash(str(crash))

    def page_fault(self, address: int, code: int) -> None:
        """Tell the guest of a page fault; to it, its kernel is no user."""
        self.set_cr2(address)
        self.traps.exception(delivery.PF, code & ~4 | (0 if self.kernel_mode() else 4))

    def software_interrupt(self, vector: int) -> None:
        self.exceptions.software(vector)

    def iret(self) -> int:
        return self.frames.iret()


_STEPPING = frozenset((EXIT_BASE + Exit.EXCEPTION + delivery.DB, EXIT_BASE + Exit.EXCEPTION + delivery.PF))
"""Exits that know of a table that is writable for the moment."""
