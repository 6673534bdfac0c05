"""A vCPU of a PV domain: its kernel runs in ring 3 (64-bit) or ring 1 (32-bit), and traps to Xen for what is Xen's.

Hypercalls come as SYSCALL, for which Unicorn calls a hook, or as `int 0x82`; all else as intercepts of the engine.
Before the guest goes on after any of them, a pending upcall is delivered if upcalls are open.
"""

import ctypes
import traceback
from functools import partial
from typing import TYPE_CHECKING

from unicorn import UC_HOOK_INSN
from unicorn.x86_const import UC_X86_INS_SYSCALL, UC_X86_INS_SYSENTER

from abi.types import VcpuId, VcpuRow
from abi.xen import VCPU_INFO
from domains import delivery, segments
from domains import envlayout as env
from domains.cpuid import Cpuid, xen_leaves
from domains.delivery import TF
from domains.envlayout import EFLAGS, HFLAGS, R8, R9, R10, RAX, RBX, RCX, RDI, RDX, RIP, RSI
from domains.native import BlockMeter
from domains.paging import PageFault
from domains.ports import Ports
from domains.pv_control import CR4_TSD, ControlRegisters
from domains.pv_emulate import Emulator
from domains.pv_frames32 import Frames32
from domains.pv_frames64 import Frames64
from domains.pv_msr import PvMsrs
from domains.pv_ports import PvPortHooks
from domains.pv_selectors import BadSelector, Selectors
from domains.pv_traps import Traps
from domains.pv_turns import Turns
from domains.pv_writes import TableWrites
from domains.segments import HF_CPL, HF_CS64
from domains.vcpu import Vcpu
from domains.vmcb import EXIT_BASE, Exit
from hypervisor.crash import GuestCrash
from hypervisor.frames import FrameKind
from hypervisor.p2m import EVERY_PAGE, WRITABLE_TYPES
from hypervisor.pv_slots import ldt_address
from hypervisor.pv_tables import VcpuFlag

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor

_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_LOW32, _M64 = 0xFFFFFFFF, (1 << 64) - 1
_KERNEL_MODE, _TASK_SWITCHED = int(VcpuFlag.KERNEL_MODE), int(VcpuFlag.TASK_SWITCHED)
_HYPERCALL_VECTOR = 0x82
_LENGTH = 2
"""Of SYSCALL and of INT n."""
_TABLE = int(FrameKind.TABLE)
_LDT_BYTES = 1 << 16
_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3" + bytes(range(0x40, 0x50)))
_CR2 = {width: VCPU_INFO.at(width).offset["arch_cr2"] for width in (32, 64)}
_BASES = (env.SEGMENTS + 3 * env.FS + 1, env.KERNEL_GS_BASE, env.SEGMENTS + 3 * env.GS + 1)
"""By `SegmentBase`, while the kernel runs."""
_ARGUMENTS64, _ARGUMENTS32 = (RDI, RSI, RDX, R10, R8, R9), (RBX, RCX, RDX, RSI, RDI, env.RBP)
_PAUSE, _MOST_SPINS = 1_000, 6
"""Nanoseconds that a PAUSE takes, and how often a loop of them doubles that: 64 us, far less than a quantum.  Several
vCPUs that wait for one only yield to each other, so without that it would have its turn after a thousand exits."""


class PvVcpu(Vcpu):
    """`turns` is what the vCPUs of a domain share: the engine, in which they take turns."""

    flushes_at_exit = True

    def __init__(self, hv: "Hypervisor", row: VcpuRow, meter: BlockMeter, turns: Turns) -> None:
        self.turns = turns
        super().__init__(hv, row, meter, turns.engine)
        self.vcpu_id = VcpuId(hv.vcpus.vcpu_id[row])
        engine = self.engine
        self._table, self._flags, self._traps_table = hv.pv_vcpus, hv.pv_vcpus.flags, hv.traps
        self._u8, self._u32, self._u64, self._info = hv.arena.u8, hv.arena.u32, hv.arena.u64, hv.vcpus.info
        self._dispatch = hv.dispatcher.dispatch
        self.rflags = engine.rflags
        self.frames = Frames64(self, engine.rflags) if self.width == 64 else Frames32(self, engine.rflags)
        self.traps = Traps(self, self.frames)
        self.selectors = Selectors(hv, row, engine)
        self.writes = TableWrites(self)
        self.cpuid = Cpuid(xen_leaves(hv, row, hvm=False))
        self.control = ControlRegisters(self)
        self.emulator = Emulator(self, PvMsrs(self, self.tsc), self.control)
        self._restarted = False
        self._pause_cycles = self._cycles(_PAUSE)
        if turns.join(self):
            self._hooks = _HOOK(turns.on_syscall), _HOOK(turns.on_sysenter)
            for hook, instruction in zip(self._hooks, (UC_X86_INS_SYSCALL, UC_X86_INS_SYSENTER), strict=True):
                engine.add_hook(UC_HOOK_INSN, hook, None, ctypes.c_int(instruction))
            self.port_hooks = PvPortHooks(self, Ports(lambda data: hv.console_lines.write(self.domid, data)),
                                          lambda vector, code, address: turns.current.fault(vector, code))
            hv.pv.local_invlpg[self.domid] = self._invlpg
            hv.pv.local_flush[self.domid] = self._flush

    def enter(self) -> None:
        """Put the domain's engine into guest mode.  What is pending for the guest waits until it runs."""
        self._unsettled = True
        self.engine.enter(self.hv.pv.nested_root(self.domid))
        self._unsettled = False

    def install_exits(self) -> None:
        """After `enter`: what each intercept does."""
        self.exits = {EXIT_BASE + code: handler for code, handler in {
            Exit.CPUID: self._cpuid, Exit.RDTSC: self._rdtsc, Exit.RDTSCP: self._rdtscp, Exit.PAUSE: self._pause,
            Exit.HLT: self._general_protection, Exit.MSR: self._general_protection,
            Exit.WBINVD: self._general_protection, Exit.INVD: self._general_protection,
            Exit.RDPMC: self._general_protection, Exit.TASK_SWITCH: self._general_protection,
            Exit.NPF: self._nested_page_fault,
        }.items()}
        for code in (Exit.VMMCALL, Exit.RSM, Exit.INVLPGA, Exit.VMRUN, Exit.VMLOAD, Exit.VMSAVE, Exit.STGI, Exit.CLGI,
                     Exit.SKINIT, Exit.MONITOR, Exit.MWAIT, Exit.ICEBP):
            self.exits[EXIT_BASE + code] = self._invalid_opcode
        for vector in range(32):
            self.exits[EXIT_BASE + Exit.EXCEPTION + vector] = partial(self._exception, vector)
        self.exits |= {EXIT_BASE + Exit.EXCEPTION + vector: handler for vector, handler in {
            delivery.PF: self._page_fault, delivery.GP: self._general_protection, delivery.UD: self._invalid_opcode,
            delivery.NM: self._device_not_available, delivery.DB: self._debug}.items()}

    def run_slice(self) -> None:
        self.turns.take(self)
        super().run_slice()
        if self.writes.active:
            self.writes.finish()

    # -- into Xen and back

    def on_exit(self, number: int) -> None:
        """An intercept, or INT `number`."""
        if self._unsettled:  # the rest of a block that has ended already
            self._stop()
            return
        try:
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

    def _hypercall32(self) -> None:
        q = self.q
        self.now()
        q[RAX] = self._dispatch(self, q[RAX] & _LOW32, q[RBX] & _LOW32, q[RCX] & _LOW32, q[RDX] & _LOW32,
                                q[RSI] & _LOW32, q[RDI] & _LOW32, q[env.RBP] & _LOW32) & _LOW32
        self._after_hypercall()

    def _after_hypercall(self) -> None:
        if self._restarted:
            self._restarted = False
            self.q[RIP] -= _LENGTH
        if self._sched.changed and self.slice_changed():
            self._stop()

    def restart(self, arguments: tuple[int, ...]) -> None:
        """The hypercall is to go on, with these arguments, when others have had their turn: see `Restartable`."""
        for register, argument in zip(_ARGUMENTS64 if self.width == 64 else _ARGUMENTS32, arguments, strict=False):
            self.q[register] = argument
        self._restarted = True
        self._stop()

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

    def kernel_mode(self) -> bool:
        """The guest's kernel runs, not its user."""
        if self.width == 64:
            return bool(self._flags[self.vcpu] & _KERNEL_MODE)
        return self.d[HFLAGS] & HF_CPL == 1

    # -- what hypercalls do to the processor

    def iret(self) -> int:
        return self.frames.iret()

    def switch_cr3(self) -> None:
        """The vCPU has other page tables, or its mode has changed."""
        self.q[env.CR3] = self.hv.pv.cr3(self.vcpu)
        self.stale = True

    def load_ldt(self) -> None:
        self.selectors.load_ldt()

    def set_segment_base(self, which: int, base: int) -> None:
        self.q[_BASES[which]] = base

    def load_user_gs(self, selector: int) -> None:
        try:
            segment = self.selectors.data(selector, 3)
        except BadSelector:
            segment = self.selectors.data(0, 3)
        self.q[env.KERNEL_GS_BASE] = segment.base
        gs = env.SEGMENTS + 3 * env.GS
        self.q[gs] = segment.selector
        self.q[gs + 2] = segment.limit | segment.flags << 32

    def set_task_switched(self, on: bool) -> None:
        flags, ts = self._flags, 1 << 3
        flags[self.vcpu] = flags[self.vcpu] & ~_TASK_SWITCHED | (_TASK_SWITCHED if on else 0)
        self.q[env.CR0] = self.q[env.CR0] & ~ts | (ts if on else 0)
        segments.update_hflags(self.engine)

    def cr2(self) -> int:
        """What the last page fault of the guest was about."""
        info = self._info[self.vcpu]
        at = info + _CR2[self.width]
        return int.from_bytes(self._u8[at:at + self.width // 8], "little") if info else 0

    def set_cr2(self, address: int) -> None:
        """Tell it to the guest, in its vcpu_info."""
        info = self._info[self.vcpu]
        if not info:
            return
        if self.width == 64:
            self._u64[info + _CR2[64] >> 3] = address & _M64
        else:
            self._u32[info + _CR2[32] >> 2] = address & _LOW32

    # -- memory

    def _frame(self, gfn: int, write: bool) -> int | None:
        """See `Vcpu._frame`.  Xen's own tables in the address space are not found, nor is what lies under them."""
        cached = self._writable_frames.get(gfn) if write else self._frames.get(gfn)
        if cached is not None:
            return cached
        found = self.hv.pv.nested.find(self.domid, gfn)
        if found is None or (write and found[1] not in WRITABLE_TYPES):
            return None
        if self.hv.frames.table.kind[gfn] == _TABLE and gfn != self._table.compat_l4[self.turns.current.vcpu]:
            return None
        (self._writable_frames if write else self._frames)[gfn] = gfn << 12
        return gfn << 12

    def p2m_changed(self, gfn: int) -> None:
        for vcpu in self.turns.members.values():
            vcpu.forget_frames(gfn)
        self.turns.current.stale = True

    def forget_frames(self, gfn: int) -> None:
        """What the nested page table said of a frame, or of all, holds no longer."""
        self.walker.forget(gfn)
        if gfn == EVERY_PAGE:
            self._frames.clear()
            self._writable_frames.clear()
        else:
            self._frames.pop(gfn, None)
            self._writable_frames.pop(gfn, None)

    def _flush(self) -> None:
        self.turns.current.stale = True

    def _invlpg(self, address: int) -> None:
        self.engine.flush_page(address)

    # -- exceptions

    def fault(self, vector: int, error: int | None = None) -> None:
        """Raise an exception in the guest."""
        self.traps.exception(vector, error)

    def _exception(self, vector: int) -> None:
        self.traps.exception(vector, self.d[env.ERROR_CODE] if vector in delivery.HAS_ERROR_CODE else None)

    def _page_fault(self) -> None:
        address, code = self.engine.fault_address, self.d[env.ERROR_CODE]
        if code & 3 == 3 and self.kernel_mode() and self.writes.begin(address, code):
            return
        if self.writes.active and not self.writes.finish():
            return
        if not code & 4:
            offset = address - ldt_address(self.vcpu_id)
            if 0 <= offset < _LDT_BYTES:
                if self.hv.pv.descriptors.map_ldt_page(self.vcpu, offset):
                    self.stale = True
                    return
                address = self._table.ldt_base[self.vcpu] + offset & _M64
        self.page_fault(address, code)

    def page_fault(self, address: int, code: int) -> None:
        """Tell the guest of a page fault; to it, its kernel is no user."""
        self.set_cr2(address)
        self.traps.exception(delivery.PF, code & ~4 | (0 if self.kernel_mode() else 4))

    def _nested_page_fault(self) -> None:
        raise GuestCrash(self.domid, self.vcpu_id, f"its page tables lead to {self.engine.fault_address:#x}, "
                         "which it must not touch")

    def _general_protection(self) -> None:
        code = self.d[env.ERROR_CODE]
        length = self.emulator.emulate() if not code else 0
        if length:
            self._advance(length)
        else:
            self.traps.exception(delivery.GP, code)

    def _invalid_opcode(self) -> None:
        try:
            length = self.emulator.forced_cpuid()
        except PageFault as fault:
            self.page_fault(fault.address, 0)
            return
        if length:
            self._answer_cpuid(length)
        else:
            self.traps.exception(delivery.UD)

    def _device_not_available(self) -> None:
        if self._flags[self.vcpu] & _TASK_SWITCHED:
            self.traps.exception(delivery.NM)
            self.set_task_switched(False)

    def _debug(self) -> None:
        if self.writes.active and (not self.writes.finish() or not self.writes.guests_trap):
            return
        self._table.dr6[self.vcpu] |= 1 << 14
        self.traps.exception(delivery.DB)

    def software_interrupt(self, vector: int) -> None:
        self.d[env.EXCEPTION_IS_INT] = 0  # left set, the next exit would restore a stale RIP
        if vector == _HYPERCALL_VECTOR and self.width == 32 and self.d[HFLAGS] & HF_CPL == 1:
            self._hypercall32()
        elif vector in (delivery.BP, delivery.OF):
            self.traps.exception(vector)
        else:
            self.traps.software(vector)

    # -- instructions

    def _advance(self, length: int) -> None:
        q = self.q
        q[RIP] = q[RIP] + length & (_M64 if self.d[HFLAGS] & HF_CS64 else _LOW32)
        if q[EFLAGS] & TF:
            self._table.dr6[self.vcpu] |= 1 << 14
            self.traps.exception(delivery.DB)

    def _length(self, opcode: int) -> int:
        if self.first_byte() not in _PREFIXES:
            return opcode
        count = 0
        code = self.peek(15)
        while count < len(code) and code[count] in _PREFIXES:
            count += 1
        return count + opcode

    def _cpuid(self) -> None:
        self._answer_cpuid(self._length(2))

    def _answer_cpuid(self, length: int) -> None:
        q = self.q
        q[RAX], q[RBX], q[RCX], q[RDX] = self.cpuid.read(q[RAX] & _LOW32, q[RCX] & _LOW32, q[env.CR4])
        self._advance(length)

    def _rdtsc(self) -> None:
        if self._table.cr4[self.vcpu] & CR4_TSD and not self.kernel_mode():
            self.traps.exception(delivery.GP, 0)
            return
        q, tsc = self.q, self.tsc()
        self._table.spun_at[self.vcpu] = 0  # it may wait for a time, which must not jump
        q[RAX], q[RDX] = tsc & _LOW32, tsc >> 32
        self._advance(self._length(2))

    def _rdtscp(self) -> None:
        if self._table.cr4[self.vcpu] & CR4_TSD and not self.kernel_mode():
            self.traps.exception(delivery.GP, 0)
            return
        q, tsc = self.q, self.tsc()
        self._table.spun_at[self.vcpu] = 0
        q[RAX], q[RDX], q[RCX] = tsc & _LOW32, tsc >> 32, q[env.TSC_AUX]
        self._advance(self._length(3))

    def _pause(self) -> None:
        table, row, rip = self._table, self.vcpu, self.q[RIP]
        spins = 0 if table.spun_at[row] != rip else min(table.spins[row] + 1, _MOST_SPINS)
        table.spun_at[row], table.spins[row] = rip, spins
        if self._virtual:
            self._budget[0] -= max(self._pause_cycles, min(self._pause_cycles << spins, self._budget[0]))
        self.now()
        self._advance(2)
        self._sched.yield_(row)
        if self._sched.changed and self.slice_changed():
            self._stop()


_STEPPING = frozenset((EXIT_BASE + Exit.EXCEPTION + delivery.DB, EXIT_BASE + Exit.EXCEPTION + delivery.PF))
"""Exits that know of a table that is writable for the moment."""


