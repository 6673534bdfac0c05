"""A vCPU of a PVH or HVM domain: the intercepts of its engine and what each one does.

Every exit happens in place, in the engine's hook; the guest goes on when the handler returns.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from abi.cpuid import XEN_HYPERCALL_MSR
from abi.errno import Errno
from abi.hvm import CallbackVia
from abi.types import VcpuRow
from domains import delivery, hypercall_page
from domains import envlayout as env
from domains.cpuid import ENGINE_FEATURES, Cpuid, xen_leaves
from domains.delivery import IF, TF, Delivery, TripleFault
from domains.engine_state import EngineState, restore_engine, save_engine
from domains.envlayout import EFLAGS, HFLAGS, R8, R9, R10, RAX, RDI, RDX, RIP, RSI
from domains.fast_calls import FastCalls
from domains.msr import MsrFault, Msrs
from domains.native import BlockMeter
from domains.null_mmio import NullMmio
from domains.port_hooks import PortHooks
from domains.ports import Ports
from domains.segments import HF_CPL, HF_CS64, HF_INHIBIT_IRQ, flat, update_hflags
from domains.segments import write as write_segment
from domains.vcpu import Vcpu
from domains.vmcb import EXIT_BASE, Exit

if TYPE_CHECKING:
    from domains.pvh import StartState
    from hypervisor.hypervisor import Hypervisor

_PLAIN = HF_CS64 | HF_INHIBIT_IRQ
_EPERM = -Errno.EPERM & (1 << 64) - 1
_LOW32 = 0xFFFFFFFF
_VMCALL = b"\x0f\x01\xc1"
_ARGUMENTS64, _ARGUMENTS32 = (RDI, RSI, RDX, R10, R8, R9), (env.RBX, env.RCX, RDX, RSI, RDI)
_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3" + bytes(range(0x40, 0x50)))
VECTOR = CallbackVia.VECTOR
"""HVM_PARAM_CALLBACK_IRQ of this type: upcalls come as an interrupt vector."""
_PAUSE, _CONTINUED = 1_000, 100_000
"""Nanoseconds of virtual time that PAUSE takes, and a hypercall between two of its parts.  Both are far more than the
work that they are, so that who spins for a far timer gets there, and who asks for endless work is not the only one."""
_FAULT = 200
"""The same for an exception, which may well lead to the next one without any code in between."""


class PvhVcpu(Vcpu):
    """One vCPU of a PVH domain, with its upcall as an interrupt vector (HVM_PARAM_CALLBACK_IRQ)."""

    flushes_at_exit = True
    has_front = True

    def __init__(self, hv: "Hypervisor", row: VcpuRow, meter: BlockMeter) -> None:
        super().__init__(hv, row, meter)
        engine = self.engine
        self.delivery = Delivery(engine, self.walker, hv.arena)
        self.cpuid = Cpuid(xen_leaves(hv, row, hvm=True))
        self.msrs = Msrs(engine, self.tsc, XEN_HYPERCALL_MSR, self._fill_hypercall_page)
        self.ports = Ports(lambda data: hv.console_lines.write(self.domid, data))
        self.null_mmio = NullMmio(engine, hv.arena, hv.memory, self.domid, self._vcpu_id)
        self.port_hooks = PortHooks(engine, self.walker, hv.arena, self.ports, self._raise, self.park, self.failed)
        self.fast_calls = FastCalls(engine, self._raise)
        self._dispatch = hv.dispatcher.dispatch
        self._u8, self._info = hv.arena.u8, hv.vcpus.info
        self._via, self._vector = hv.domains.callback_via_type, hv.domains.callback_vector
        self._request = engine.request_interrupt
        self._own_vector = hv.params.upcall_vector
        self._restarted = False
        self._pause_cycles, self._continued_cycles = self._cycles(_PAUSE), self._cycles(_CONTINUED)
        self._fault_cycles = self._cycles(_FAULT)

    def _install_exits(self) -> None:
        self.exits |= {EXIT_BASE + code: handler for code, handler in {
            Exit.VMMCALL: self._vmmcall, Exit.HLT: self._hlt, Exit.PAUSE: self._pause, Exit.VINTR: self._vintr,
            Exit.CPUID: self._cpuid, Exit.MSR: self._msr, Exit.RDTSC: self._rdtsc, Exit.RDTSCP: self._rdtscp,
            Exit.WBINVD: self._nop2, Exit.INVD: self._nop2, Exit.NPF: self._nested_page_fault,
            Exit.SHUTDOWN: self._shutdown_exit, Exit.RDPMC: self._general_protection,
            Exit.TASK_SWITCH: self._general_protection,
        }.items()}
        for code in (Exit.RSM, Exit.INVLPGA, Exit.VMRUN, Exit.VMLOAD, Exit.VMSAVE, Exit.STGI, Exit.CLGI, Exit.SKINIT,
                     Exit.MONITOR, Exit.MWAIT, Exit.ICEBP):
            self.exits[EXIT_BASE + code] = self._undefined
        for vector in range(32):
            self.exits[EXIT_BASE + Exit.EXCEPTION + vector] = self._exception_handler(vector)

    def start(self, state: "StartState") -> None:
        """Enter guest mode in the state that the PVH boot protocol defines: 32-bit protected mode, paging off."""
        engine = self.engine
        self._enter()
        q, d = engine.q, engine.d
        for word, value in ENGINE_FEATURES.items():
            q[env.FEATURES + word] = value
        for register in range(16):
            q[register] = 0
        q[env.RBX], q[env.RIP] = state.ebx, state.eip
        q[env.CR0], q[env.CR2], q[env.CR3], q[env.CR4], q[env.EFER] = 0x11, 0, 0, 0, 0
        for index in (env.ES, env.DS, env.SS, env.FS, env.GS):
            write_segment(engine, index, flat(0, 0xC93))
        write_segment(engine, env.CS, flat(0, 0xC9B))
        write_segment(engine, env.TR, flat(0, 0x08B)._replace(limit=0x67))
        for index in (env.LDT, env.GDT, env.IDT):
            write_segment(engine, index, flat(0, 0)._replace(limit=0))
        q[env.KERNEL_GS_BASE] = q[env.STAR] = q[env.LSTAR] = q[env.CSTAR] = q[env.SFMASK] = q[env.TSC_AUX] = 0
        engine.set_rflags(2)
        d[env.HFLAGS] &= ~HF_INHIBIT_IRQ
        update_hflags(engine)

    def _enter(self) -> None:
        self.engine.enter(self.hv.memory.root(self.domid))
        self._install_exits()
        self.start_front()

    def save_processor(self) -> tuple[EngineState, tuple[int, int]]:
        """The processor between two slices, and how it stands with absent memory."""
        assert not self._restarted
        absent = self.null_mmio.save()
        return save_engine(self.engine, absent[0]), absent

    def resume(self, processor: EngineState, absent: tuple[int, int]) -> None:
        """Enter guest mode in a state that was saved.  Raises ValueError where it is none."""
        self._enter()
        restore_engine(self.engine, processor)
        self.null_mmio.restore(absent)

    # -- going on after an emulated instruction

    def _advance(self, length: int) -> None:
        """Step over an instruction that was emulated here, with what its end means: no shadow, and #DB under TF."""
        q, hflags = self.q, self.d[HFLAGS]
        if hflags & _PLAIN == HF_CS64:
            q[RIP] += length
        else:
            q[RIP] = q[RIP] + length & (-1 if hflags & HF_CS64 else _LOW32)
            self.d[HFLAGS] = hflags & ~HF_INHIBIT_IRQ
        if q[EFLAGS] & TF:
            self._raise(delivery.DB)

    def _length(self, opcode: int) -> int:
        """The length of the instruction at RIP whose opcode takes `opcode` bytes, prefixes included."""
        if self.first_byte() not in _PREFIXES:
            return opcode
        count = 0
        code = self.peek(15)
        while count < len(code) and code[count] in _PREFIXES:
            count += 1
        return count + opcode

    def _raise(self, vector: int, code: int | None = None, address: int | None = None) -> None:
        self._charge()
        self.null_mmio.finish()
        try:
            self.delivery.exception(vector, code, address)
        except TripleFault as fault:
            self.triple_fault(fault)

    def _charge(self) -> None:
        """Something took time, and where no block of code comes that would see it, no time is left."""
        self._budget[0] -= self._fault_cycles
        if self._budget[0] < 0:
            self._stop()

    # -- hypercalls

    def _vmmcall(self) -> None:
        q, hflags = self.q, self.d[HFLAGS]
        self.now()
        if hflags & HF_CPL:
            q[RAX] = _EPERM
        elif hflags & HF_CS64:
            self.width = 64
            q[RAX] = self._dispatch(self, q[RAX], q[RDI], q[RSI], q[RDX], q[R10], q[R8], q[R9])
        else:
            self.width = 32
            q[env.RAX] = self._dispatch(self, q[env.RAX] & _LOW32, q[env.RBX] & _LOW32, q[env.RCX] & _LOW32,
                                        q[env.RDX] & _LOW32, q[env.RSI] & _LOW32, q[env.RDI] & _LOW32) & _LOW32
        if self._restarted:
            self._restarted = False
        else:
            self._advance(3)
        self.after_call()

    def restart(self, arguments: tuple[int, ...]) -> None:
        """The hypercall is to go on, with these arguments, when others have had their turn: see `Restartable`."""
        registers = _ARGUMENTS64 if self.width == 64 else _ARGUMENTS32
        for register, argument in zip(registers, arguments, strict=False):
            self.q[register] = argument
        self._restarted = True
        if self._virtual:
            self._budget[0] -= self._continued_cycles
        else:
            self._stop()

    def after_call(self) -> None:
        """Look at what the hypervisor did: the vCPU may have to stop, its slice may have become shorter, an event
        may be there for it."""
        if self._sched.changed and self.slice_changed():
            self._stop()
        elif self._u8[self._info[self.vcpu]]:
            self.arm_upcall()

    # -- events

    def _pending_vector(self) -> int:
        """The vector through which an upcall is due, 0 where none is."""
        row = self.vcpu
        if not self._u8[self._info[row]]:  # with no vcpu_info this is machine address 0, where nothing ever is
            return 0
        return self._own_vector[row] or (self._vector[self.domid] if self._via[self.domid] == VECTOR else 0)

    def event_deliverable(self) -> bool:
        """An upcall is due and interrupts are open.  As in Xen, evtchn_upcall_mask means nothing here."""
        return bool(self.q[env.EFLAGS] & delivery.IF and self._pending_vector())

    def arm_upcall(self) -> None:
        """Have the upcall taken as soon as the guest can: now, or by an intercepted window when IF opens."""
        vector = self._pending_vector()
        if not vector:
            return
        if self.q[EFLAGS] & IF and not self.d[HFLAGS] & HF_INHIBIT_IRQ:
            # The guest's interrupts are open: let the engine take the vector through the IDT natively.
            self.upcall_taken(vector)
            self._request(vector, False)
        else:
            self._request(vector, True)

    def _vintr(self) -> None:
        """The interrupt window.  What was pending may have been handled by polling meanwhile."""
        vector = self._pending_vector()
        if vector:
            self.now()
            self.upcall_taken(vector)
            self._request(vector, False)
        else:
            self.engine.cancel_interrupt()

    def _hlt(self) -> None:
        self.now()
        self._advance(1)  # nobody writes a HLT with prefixes, and looking would cost as much as all the rest
        if not self.q[EFLAGS] & IF:
            self._sched.down(self.vcpu)  # as Xen: nothing can wake it, so the vCPU is off
            self._stop()
        elif self._pending_vector():
            self.arm_upcall()
        else:
            self._sched.block(self.vcpu)
            self._stop()

    def _pause(self) -> None:
        if self._virtual:
            self._budget[0] -= self._pause_cycles
        self.now()
        self._advance(2)
        self.hv.sched.yield_(self.vcpu)
        self.after_call()

    # -- instructions

    def _cpuid(self) -> None:
        q = self.q
        registers = self.cpuid.read(q[env.RAX] & _LOW32, q[env.RCX] & _LOW32, q[env.CR4])
        q[env.RAX], q[env.RBX], q[env.RCX], q[env.RDX] = registers
        self._advance(self._length(2))

    def _msr(self) -> None:
        q = self.q
        index = q[env.RCX] & _LOW32
        length = self._length(2)
        try:
            if self.peek(length)[-1] == 0x30:  # 0F 30 is WRMSR, 0F 32 RDMSR
                self.msrs.write(index, q[env.RDX] << 32 & ~_LOW32 & (1 << 64) - 1 | q[env.RAX] & _LOW32)
            else:
                value = self.msrs.read(index)
                q[env.RAX], q[env.RDX] = value & _LOW32, value >> 32
        except MsrFault:
            self._raise(delivery.GP, 0)
            return
        self._advance(length)

    def _rdtsc(self) -> None:
        q, tsc = self.q, self.tsc()
        q[env.RAX], q[env.RDX] = tsc & _LOW32, tsc >> 32
        self._advance(self._length(2))

    def _rdtscp(self) -> None:
        q, tsc = self.q, self.tsc()
        q[env.RAX], q[env.RDX], q[env.RCX] = tsc & _LOW32, tsc >> 32, q[env.TSC_AUX]
        self._advance(self._length(3))

    def _nop2(self) -> None:
        self._advance(self._length(2))

    def _undefined(self) -> None:
        self._raise(delivery.UD)

    def _general_protection(self) -> None:
        self._raise(delivery.GP, 0)

    # -- exceptions

    def _exception_handler(self, vector: int) -> Callable[[], None]:
        special = {delivery.PF: self._page_fault, delivery.UD: self._invalid_opcode, delivery.DB: self._debug}
        if vector in special:
            return special[vector]
        if vector in delivery.HAS_ERROR_CODE:
            return lambda: self._raise(vector, self.d[env.ERROR_CODE])
        return lambda: self._raise(vector)

    def _page_fault(self) -> None:
        self._raise(delivery.PF, self.d[env.ERROR_CODE], self.engine.fault_address)

    def _invalid_opcode(self) -> None:
        if self.peek(3) == _VMCALL:  # Intel's form of the hypercall instruction
            self._vmmcall()
        else:
            self._raise(delivery.UD)

    def _debug(self) -> None:
        if not self.null_mmio.finish():
            self._raise(delivery.DB)

    def software_interrupt(self, vector: int) -> None:
        """INT n, INT3 or INTO: the engine has moved RIP past it already."""
        self.d[env.EXCEPTION_IS_INT] = 0  # left set, the next exit would restore a stale RIP
        after = self.q[env.RIP]
        code = self.peek_at(after - 2, 2)
        self.q[env.RIP] = after - (1 if (vector == delivery.BP and code[-1:] == b"\xcc") or
                                   (vector == delivery.OF and code[-1:] == b"\xce") else 2)
        self._charge()
        try:
            self.delivery.software(vector, after)
        except TripleFault as fault:
            self.triple_fault(fault)

    def _nested_page_fault(self) -> None:
        code, address = self.d[env.ERROR_CODE], self.engine.fault_address
        self._charge()
        if not self.null_mmio.begin(address, write=bool(code & 2), fetch=bool(code & 16)):
            self._raise(delivery.GP, 0)

    def _shutdown_exit(self) -> None:
        self.triple_fault(TripleFault(delivery.DF))

    def triple_fault(self, fault: TripleFault) -> None:
        """The processor shut down: Xen ends the domain for HVM_PARAM_TRIPLE_FAULT_REASON."""
        self.hv.triple_fault(self.domid, f"{fault} at {self.where()}")
        self._stop()

    # -- the hypercall page

    def _fill_hypercall_page(self, value: int) -> None:
        """A write to the hypercall MSR: guest-physical page address, its low 12 bits the page's number (0)."""
        if value & 0xFFF:
            raise MsrFault
        machine = self._frame(value >> 12, True)
        if machine is None:
            raise MsrFault
        self.hv.arena.write(machine, hypercall_page.hvm_page())
        self.engine.forget_code()
        self.hv.latch_width(self.domid, 64 if self.d[env.HFLAGS] & HF_CS64 else 32)
