"""A vCPU of a PVH or HVM domain: the intercepts of its engine and what each one does.

Every exit happens in place, in the engine's hook; the guest goes on when the handler returns.
"""

from typing import TYPE_CHECKING

from abi.errno import Errno, XenError
from abi.hvm import CallbackVia
from abi.sched import ShutdownReason
from abi.types import Gfn, VcpuRow
from domains import delivery, hypercall_page
from domains import envlayout as env
from domains.cpuid import ENGINE_FEATURES
from domains.delivery import IF
from domains.engine_state import EngineState, restore_engine, save_engine
from domains.envlayout import EFLAGS, HFLAGS, R8, R9, R10, RAX, RDI, RDX, RSI
from domains.fast_calls import FastCalls
from domains.fast_path import FastPath
from domains.msr import MsrFault
from domains.native import BlockMeter
from domains.port_hooks import PortHooks
from domains.ports import Ports
from domains.pvh_exceptions import PvhExceptions
from domains.pvh_instructions import PvhInstructions
from domains.segments import HF_CPL, HF_CS64, HF_INHIBIT_IRQ, flat, update_hflags
from domains.segments import write as write_segment
from domains.vcpu import Vcpu
from domains.vmcb import EXIT_BASE, Exit
from grants.interfaces import P2mType
from hypervisor.vlapic import Vlapic, VlapicState

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

_READABLE = frozenset((P2mType.RAM_RW, P2mType.RAM_RO, P2mType.RAM_LOGDIRTY))
_WRITABLE = frozenset((P2mType.RAM_RW, P2mType.RAM_LOGDIRTY))
"""Pages that the hypervisor copies from and to.  As in Xen, a page mapped by a grant is not a hypercall buffer."""


class PvhVcpu(Vcpu):
    """One vCPU of a PVH domain, with its upcall as an interrupt vector (HVM_PARAM_CALLBACK_IRQ)."""

    def __init__(self, hv: "Hypervisor", row: VcpuRow, meter: BlockMeter) -> None:
        super().__init__(hv, row, meter, None if meter.fast_path is None else FastPath(meter.fast_path))
        engine = self.engine
        self._apic_pending = memoryview(bytearray(8)).cast("Q") if self.front is None else self.front.apic
        self.apic = Vlapic(self._vcpu_id, self._apic_pending, self.now,
                           lambda deadline: hv.sched.set_apic_timer(row, deadline))
        hv.local_apic[self.domid] = self.apic.timer_fired
        self.exceptions = PvhExceptions(self, self._cycles)
        self.instructions = PvhInstructions(self, self.exceptions.throw, self._fill_hypercall_page)
        self._advance = self.instructions.advance
        self.ports = Ports(lambda data: hv.console_lines.write(self.domid, data), self._shut_down)
        self.port_hooks = PortHooks(engine, self.walker, hv.arena, self.ports, self.exceptions.throw, self.park,
                                    self.failed)
        self.fast_calls = FastCalls(engine, self.exceptions.throw)
        self._dispatch = hv.dispatcher.dispatch
        self._u8, self._info = hv.arena.u8, hv.vcpus.info
        self._via, self._vector = hv.domains.callback_via_type, hv.domains.callback_vector
        self._request = engine.request_interrupt
        self._own_vector = hv.params.upcall_vector
        self._restarted = False
        self._pause_cycles, self._continued_cycles = self._cycles(_PAUSE), self._cycles(_CONTINUED)

    def _install_exits(self) -> None:
        exceptions, instructions = self.exceptions, self.instructions
        self.exits |= {EXIT_BASE + code: handler for code, handler in {
            Exit.VMMCALL: self.vmmcall, Exit.HLT: self._hlt, Exit.PAUSE: self._pause, Exit.VINTR: self._vintr,
            Exit.READ_CR8: instructions.cr8, Exit.WRITE_CR8: instructions.cr8,
            Exit.CPUID: instructions.cpuid, Exit.MSR: instructions.msr, Exit.RDTSC: instructions.rdtsc,
            Exit.RDTSCP: instructions.rdtsc, Exit.WBINVD: instructions.nothing, Exit.INVD: instructions.nothing,
            Exit.NPF: exceptions.nested_page_fault, Exit.SHUTDOWN: exceptions.shutdown,
            Exit.RDPMC: exceptions.general_protection, Exit.TASK_SWITCH: exceptions.general_protection,
        }.items()}
        for code in (Exit.RSM, Exit.INVLPGA, Exit.VMRUN, Exit.VMLOAD, Exit.VMSAVE, Exit.STGI, Exit.CLGI, Exit.SKINIT,
                     Exit.MONITOR, Exit.MWAIT, Exit.ICEBP):
            self.exits[EXIT_BASE + code] = exceptions.undefined
        for vector in range(32):
            self.exits[EXIT_BASE + Exit.EXCEPTION + vector] = exceptions.handler(vector)

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

    def save_processor(self) -> tuple[EngineState, tuple[int, int], VlapicState]:
        """The processor between two slices, how it stands with absent memory, and its APIC."""
        assert not self._restarted
        absent = self.exceptions.null_mmio.save()
        return save_engine(self.engine, absent[0]), absent, self.apic.save()

    def resume(self, processor: EngineState, absent: tuple[int, int], apic: VlapicState) -> None:
        """Enter guest mode in a state that was saved.  Raises ValueError where it is none."""
        self._enter()
        restore_engine(self.engine, processor)
        self.exceptions.null_mmio.restore(absent)
        self.apic.restore(apic)

    # -- hypercalls

    def vmmcall(self) -> None:
        """VMMCALL, or VMCALL."""
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
        elif self._u8[self._info[self.vcpu]] or self._apic_pending[0]:
            self.arm_upcall()

    # -- events

    def _pending_vector(self) -> int:
        """The vector through which an upcall is due, 0 where none is."""
        row = self.vcpu
        if not self._u8[self._info[row]]:  # with no vcpu_info this is machine address 0, where nothing ever is
            return 0
        return self._own_vector[row] or (self._vector[self.domid] if self._via[self.domid] == VECTOR else 0)

    def event_deliverable(self) -> bool:
        """An interrupt is due and they are open.  As in Xen, evtchn_upcall_mask means nothing here."""
        return bool(self.q[env.EFLAGS] & delivery.IF and (self._pending_vector() or self._apic_pending[0]))

    def arm_upcall(self) -> None:
        """Have the upcall taken as soon as the guest can: now, or by an intercepted window when IF opens."""
        vector = self._pending_vector()
        if self._apic_pending[0]:
            self._interrupt(vector)
            return
        if not vector:
            return
        if self._open():
            # The guest's interrupts are open: let the engine take the vector through the IDT natively.
            self.upcall_taken(vector)
            self._request(vector, False)
        else:
            self._request(vector, True)

    def _open(self) -> bool:
        return bool(self.q[EFLAGS] & IF and not self.d[HFLAGS] & HF_INHIBIT_IRQ)

    def _interrupt(self, upcall: int) -> None:
        """Something waits in the APIC, and perhaps an upcall, which comes first as it does in Xen.

        The engine would tell nobody when it has taken the one, so that the other could be asked for: they are led
        through the interrupt table here.
        """
        self.engine.cancel_interrupt()
        if upcall and self._open():
            self.upcall_taken(upcall)
            if not self.exceptions.interrupt(upcall):
                return
        while self._apic_pending[0] and self._open():
            if not self.exceptions.interrupt(self.apic.accept()):
                return
        if self._apic_pending[0]:
            self._request(self._apic_pending[0], True)

    def _vintr(self) -> None:
        """The interrupt window.  What was pending may have been handled by polling meanwhile."""
        vector = self._pending_vector()
        if self._apic_pending[0]:
            self.now()
            self._interrupt(vector)
        elif vector:
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
        elif self._pending_vector() or self._apic_pending[0]:
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

    def _shut_down(self, reason: ShutdownReason) -> None:
        """By a port: the engine is in the middle of a block, of which nothing counts any more."""
        self.now()
        self._sched.shutdown(self.domid, reason)
        self.park()

    def software_interrupt(self, vector: int) -> None:
        self.exceptions.software(vector)

    # -- memory

    def _frame(self, gfn: int, write: bool) -> int | None:
        cached = self._writable_frames.get(gfn) if write else self._frames.get(gfn)
        if cached is not None:
            return cached
        try:
            mfn, kind = self.hv.memory.lookup(self.domid, Gfn(gfn))
        except XenError:
            return None
        if kind not in (_WRITABLE if write else _READABLE):
            return None
        (self._writable_frames if write else self._frames)[gfn] = mfn << 12
        return mfn << 12

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
