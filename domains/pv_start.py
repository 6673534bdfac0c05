"""How a PV vCPU begins: the first one as the builder says, the others as the guest says (VCPUOP_initialise)."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from abi import x86_32, x86_64
from abi.errno import Errno, XenError
from abi.types import VcpuRow
from abi.x86 import (
    FIRST_RESERVED_GDT_PAGE,
    TRAP_INFO,
    VCPU_GUEST_CONTEXT,
    VGCF_failsafe_disables_events,
    VGCF_in_kernel,
    VGCF_syscall_disables_events,
)
from domains import envlayout as env
from domains.cpuid import ENGINE_FEATURES
from domains.delivery import IF
from domains.pv_control import CR0, CR4_GUEST
from domains.pv_selectors import NULL, BadSelector
from domains.pv_vcpu import PvVcpu
from domains.segments import HF_INHIBIT_IRQ, Segment
from domains.segments import write as write_segment
from hypervisor.call import Call
from hypervisor.pv_callbacks import clear_traps, fixed_code_selector
from hypervisor.pv_nmi import send_nmi
from hypervisor.pv_state import write_debugreg
from hypervisor.pv_tables import TRAPS, VcpuFlag

if TYPE_CHECKING:
    from domains.pv_builder import PvStartState

_EFER = 0xD01
_TASK = Segment(0, 0, 0x67, 0x8B00)
_NO_IO = 2
"""RFLAGS: nothing but the bit that is always set."""
_DATA = (env.DS, env.ES, env.FS, env.GS)
_IOPL_AND_VM = 3 << 12 | 1 << 17
_NAMES64 = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15")
_ADDRESSES = ("user_regs_rip", "user_regs_rsp", "kernel_sp", "ldt_base", "fs_base", "gs_base_kernel", "gs_base_user",
              "event_callback_eip", "syscall_callback_eip", "failsafe_callback_eip")
_CANONICAL = (0, 0x1FFFF)
_NAMES32 = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")


def start_first(vcpu: PvVcpu, state: "PvStartState") -> None:
    """Make the engine of a domain ready, and its first vCPU: upcalls masked, IF set, in kernel mode."""
    hv, engine, row, turns = vcpu.hv, vcpu.engine, vcpu.vcpu, vcpu.turns
    vcpu.enter()
    for member in turns.members.values():
        member.install_exits()
    q, d = engine.q, engine.d
    for word, value in ENGINE_FEATURES.items():
        q[env.FEATURES + word] = value
    for register in range(16):
        q[register] = 0
    q[env.CR0], q[env.CR2], q[env.EFER] = CR0, 0, _EFER
    for index in (*_DATA, env.LDT, env.IDT):
        write_segment(engine, index, NULL)
    write_segment(engine, env.TR, _TASK)
    q[env.KERNEL_GS_BASE] = q[env.STAR] = q[env.LSTAR] = q[env.CSTAR] = q[env.SFMASK] = q[env.TSC_AUX] = 0
    engine.set_rflags(_NO_IO | IF)
    d[env.HFLAGS] &= ~HF_INHIBIT_IRQ
    turns.pristine = q.tobytes()
    table = hv.pv_vcpus
    table.flags[row] |= VcpuFlag.KERNEL_MODE
    table.kernel_sp[row] = state.rsp
    hv.pv.new_baseptr(row, vcpu.domid, state.cr3)
    q[env.RIP], q[env.RSI], q[env.RSP] = state.rip, state.rsi, state.rsp
    if state.width == 64:
        table.kernel_ss[row] = x86_64.FLAT_KERNEL_SS
        _set_selectors(vcpu, x86_64.FLAT_KERNEL_CS64, x86_64.FLAT_KERNEL_SS, (0, 0, 0, 0))
    else:
        table.kernel_ss[row] = data = x86_32.FLAT_KERNEL_SS
        _set_selectors(vcpu, x86_32.FLAT_KERNEL_CS, data, (data, data, data, data))
    hv.initialise_vcpu[vcpu.domid] = initialise
    hv.send_nmi = partial(send_nmi, table, hv.sched)


def _set_selectors(vcpu: PvVcpu, cs: int, ss: int, data: Sequence[int]) -> None:
    """Load everything that depends on the vCPU's tables.  Raises BadSelector."""
    vcpu.selectors.load_tables()
    vcpu.switch_cr3()
    vcpu.control.load_cr4()
    for index, selector in zip(_DATA, data, strict=True):
        write_segment(vcpu.engine, index, vcpu.selectors.data(selector, cs & 3))
    vcpu.selectors.set_code_and_stack(vcpu.selectors.code(cs), vcpu.selectors.stack(ss))


def initialise(call: Call, row: VcpuRow, arg: int) -> None:
    """VCPUOP_initialise of a PV guest: see `hypervisor.vcpu_op.Host.initialise_vcpu` (arch_set_info_guest)."""
    assert isinstance(call, PvVcpu)
    data = call.memory.read(arg, VCPU_GUEST_CONTEXT.at(call.width).size)
    if call.hv.vcpus.initialised[row]:
        raise XenError(Errno.EEXIST)
    _Context(call.turns.members[row], data).load()


class _Context:
    """A vcpu_guest_context for a vCPU that is down."""

    def __init__(self, vcpu: PvVcpu, data: bytes) -> None:
        self._vcpu, self._data, self._size = vcpu, data, vcpu.width // 8
        self._offset = VCPU_GUEST_CONTEXT.at(vcpu.width).offset

    def _word(self, name: str, index: int = 0) -> int:
        at = self._offset[name] + index * self._size
        return int.from_bytes(self._data[at:at + self._size], "little")

    def _register(self, name: str) -> int:
        return self._word(f"user_regs_{name}")

    def _addresses(self) -> list[int]:
        """All that a 64-bit guest's context has to be canonical in."""
        words = [self._word(name) for name in _ADDRESSES]
        shape, at = TRAP_INFO.at(64), self._offset["trap_ctxt"]
        return words + [shape.unpack_from(self._data, at + vector * shape.size)[3] for vector in range(TRAPS)]

    def load(self) -> None:
        """Raises XenError(EINVAL) where the page tables or the descriptor tables are not good; nothing is kept then."""
        vcpu, wide = self._vcpu, self._vcpu.width == 64
        hv, row, table = vcpu.hv, vcpu.vcpu, vcpu.hv.pv_vcpus
        pages = -(-self._word("gdt_ents") // 512)
        if pages > FIRST_RESERVED_GDT_PAGE or self._word("ldt_ents") > 8192 or self._word("ldt_base") & 0xFFF:
            raise XenError(Errno.EINVAL)
        if wide and not all(address >> 47 in _CANONICAL for address in self._addresses()):
            raise XenError(Errno.EINVAL)
        frames = [self._word("gdt_frames", index) for index in range(pages)]
        cr3 = self._word("ctrlreg", 3)
        mfn = cr3 >> 12 if wide else cr3 >> 12 | (cr3 & 0xFFF) << 20
        hv.pv.descriptors.set_gdt(row, frames, self._word("gdt_ents"))
        try:
            hv.pv.new_baseptr(row, vcpu.domid, mfn)
            user = self._word("ctrlreg", 1)
            if wide and user & 1:
                hv.pv.new_user_baseptr(row, vcpu.domid, user >> 12)
        except XenError:
            hv.pv.descriptors.drop_gdt(row)
            raise XenError(Errno.EINVAL) from None
        hv.pv.descriptors.set_ldt(row, self._word("ldt_base"), self._word("ldt_ents"))
        flags = self._word("flags")
        kernel = bool(flags & VGCF_in_kernel) or not wide
        table.flags[row] = (
            (VcpuFlag.KERNEL_MODE if kernel else 0)
            | (VcpuFlag.FAILSAFE_DISABLES_EVENTS if flags & VGCF_failsafe_disables_events else 0)
            | (VcpuFlag.SYSCALL_DISABLES_EVENTS if flags & VGCF_syscall_disables_events else 0))
        table.kernel_ss[row], table.kernel_sp[row] = self._word("kernel_ss") & 0xFFFF, self._word("kernel_sp")
        self._load_callbacks(wide)
        table.cr4[row] = self._word("ctrlreg", 4) & CR4_GUEST
        for number in (0, 1, 2, 3, 6, 7):
            with suppress(XenError):
                write_debugreg(table, row, number, self._word("debugreg", number))
        table.iopl[row] = self._register("rflags" if wide else "eflags") >> 12 & 3
        vcpu.turns.prepare(vcpu, lambda: self._load_processor(wide, kernel))

    def _load_callbacks(self, wide: bool) -> None:
        vcpu, table, traps = self._vcpu, self._vcpu.hv.pv_vcpus, self._vcpu.hv.traps
        row, width = vcpu.vcpu, vcpu.width
        table.event_ip[row] = self._word("event_callback_eip")
        table.failsafe_ip[row] = self._word("failsafe_callback_eip")
        if wide:
            table.syscall_ip[row] = self._word("syscall_callback_eip")
        else:
            table.event_cs[row] = fixed_code_selector(32, self._word("event_callback_cs") & 0xFFFF)
            table.failsafe_cs[row] = fixed_code_selector(32, self._word("failsafe_callback_cs") & 0xFFFF)
        clear_traps(traps, row)
        shape, at = TRAP_INFO.at(width), self._offset["trap_ctxt"]
        for vector in range(TRAPS):
            _, flags, cs, address = shape.unpack_from(self._data, at + vector * shape.size)
            entry = row * TRAPS + vector
            traps.cs[entry], traps.flags[entry], traps.address[entry] = fixed_code_selector(width, cs), flags, address

    def _load_processor(self, wide: bool, kernel: bool) -> None:
        """With the pristine state of the vCPU in the engine."""
        vcpu, q, names = self._vcpu, self._vcpu.q, _NAMES64 if wide else _NAMES32
        for register, name in enumerate(names):
            q[register] = self._register(name)
        q[env.RIP] = self._register("rip" if wide else "eip")
        flags = self._register("rflags" if wide else "eflags")
        ring = 3 if wide else 1
        cs, ss, *data = (self._register(name) & 0xFFFF for name in ("cs", "ss", "ds", "es", "fs", "gs"))
        try:
            _set_selectors(vcpu, cs & ~3 | max(cs & 3, ring), ss & ~3 | max(ss & 3, ring), data)
        except BadSelector:
            _set_selectors(vcpu, *((x86_64.FLAT_KERNEL_CS64, x86_64.FLAT_KERNEL_SS) if wide else
                                   (x86_32.FLAT_KERNEL_CS, x86_32.FLAT_KERNEL_SS)), (0, 0, 0, 0))
        if wide:
            bases = self._word("gs_base_kernel"), self._word("gs_base_user")
            q[env.SEGMENTS + 3 * env.FS + 1] = self._word("fs_base")
            q[env.SEGMENTS + 3 * env.GS + 1], q[env.KERNEL_GS_BASE] = bases if kernel else bases[::-1]
        vcpu.engine.set_rflags(flags & 0x3FFFFF & ~_IOPL_AND_VM | IF)
