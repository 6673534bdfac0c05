"""Runs small PV guests, written in assembly, on the real engine."""

import mmap
import subprocess
import sys
import threading
from functools import cache
from struct import unpack
from types import SimpleNamespace

from abi.types import Domid, VcpuRow
from clock.source import VirtualClock
from clock.wallclock import wallclock_base
from domains.builder import make_vcpus
from domains.fast_path import load_fast_path
from domains.native import BlockMeter
from domains.pv_builder import build_pv
from domains.runner import Outcome, Runner
from domains.seat import OnlySeat
from hypervisor.domain import DomainSpec, create_domain, create_host_seat, start_domain
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import GuestKind
from hypervisor.xen_version import XenVersion

GUEST, PAGES, TEXT, OUT = Domid(1), 2048, 0x100000, 0x102000
_FRONT = load_fast_path()
assert _FRONT is not None, "without it these tests would compare nothing"
METERS = {32: (BlockMeter(),), 64: (BlockMeter(), BlockMeter(_FRONT))}
"""By width of the guest: without the native front, and with it."""
SYSCALL, SYSCALL32 = 2, 7
"""Kinds of callbacks."""
_LAYOUT = """
.pushsection .note.Xen, "a", @note
.long 4, 4, 9
.asciz "Xen"
.asciz "yes"
.long 4, 8, 5
.asciz "Xen"
.asciz "xen-3.0"
.long 4, 8, 8
.asciz "Xen"
.asciz "generic"
.popsection
.section .text
.global _start
"""
_SCRIPT = f"""
ENTRY(_start)
PHDRS {{ text PT_LOAD; note PT_NOTE; }}
SECTIONS {{
  . = {TEXT:#x};
  .text : {{ *(.text*) }} :text
  .note : {{ *(.note.Xen) }} :text :note
  /DISCARD/ : {{ *(.comment .eh_frame*) }}
}}
"""
_MACROS = {64: """
.macro hypercall number
    mov $\\number, %eax
    syscall
.endm
.macro end
    mov $29, %eax
    mov $2, %edi
    lea zero(%rip), %rsi
    syscall
.endm
.macro out value, index
    mov \\value, %r15
    mov %r15, out + 8 * \\index(%rip)
.endm
.macro iret_to address, selector, stack, how=0
    pushq $0xe02b
    pushq $\\stack
    pushq $0x202
    pushq $\\selector
    lea \\address(%rip), %rax
    push %rax
    pushq $\\how
    pushq $0x11                     # R11, RCX and RAX, where it is no system call that is returned from
    pushq $0x12
    pushq $0x13
    hypercall 23
.endm
.macro prepare_user kind
    lea table(%rip), %rdi
    hypercall 0
    lea callback(%rip), %rsi
    xor %edi, %edi
    hypercall 30                    # callback_op register
    mov $0xe02b, %edi
    lea kernel_stack_end(%rip), %rsi
    hypercall 3                     # stack_switch
    lea operation(%rip), %rdi
    mov parameters(%rip), %rax
    mov %rax, 8(%rdi)
    mov $1, %esi
    xor %edx, %edx
    mov $0x7ff0, %r10d
    hypercall 26                    # mmuext_op NEW_USER_BASEPTR
.pushsection .text.user, "ax", @progbits
.align 8
callback: .word \\kind, 1
    .long 0
    .quad entry
operation: .quad 15, 0, 0
kernel_stack: .fill 512, 1, 0
.align 16
kernel_stack_end:
.popsection
.endm
""", 32: """
.macro hypercall number
    mov $\\number, %eax
    int $0x82
.endm
.macro end
    mov $29, %eax
    mov $2, %ebx
    mov $zero, %ecx
    int $0x82
.endm
"""}
_END = f"""
.org {OUT - TEXT:#x}
out: .fill 0x800, 1, 0
parameters: .fill 0x780, 1, 0
zero: .quad 0
.org 0x4000
"""
"""What sources may use, beside labels `out`, `parameters` and `zero`.

`iret_to`: go on at a label, with a selector, a stack and the flags of HYPERVISOR_iret.
`prepare_user`: what a kernel does before its first user runs.  Traps come as `table` says, system calls of a kind of
callback to `entry`, both on a stack that ends at `kernel_stack_end`; the user's page tables are the kernel's, whose cr3
is to be the first parameter.  RAX is what `mmuext_op` returned.
"""


@cache
def assemble(source, bits, folder):
    """The ELF image of a guest."""
    name = folder / f"guest{abs(hash((source, bits)))}"
    name.with_suffix(".S").write_text(_MACROS[bits] + _LAYOUT + source + _END)
    script = folder / "guest.ld"
    script.write_text(_SCRIPT)
    target = "x86_64" if bits == 64 else "x86"
    subprocess.run([sys.executable, "-m", "ziglang", "cc", "-target", f"{target}-freestanding-none", "-nostdlib",
                    "-static", "-fno-pie", f"-Wl,-T,{script}", "-o", str(name), str(name.with_suffix(".S"))],
                   check=True)
    return name.read_bytes()


class Io:
    def __init__(self):
        self.lines, self.reason, self.detail = [], None, ""

    def log(self, text):
        self.lines.append(text)

    def console(self, domid, data):
        self.lines.append(data)

    def ended(self, domid, reason, detail):
        self.reason, self.detail = reason, detail


def run(source, folder, bits=64, vcpus=1, parameters=None, before=None):
    """Run a guest to its end.  `parameters(built)` are words for it, `before(hv, built)` prepares it.

    With the native front and without, all of the host's memory is the same in the end, its tables included.
    """
    image = assemble(source, bits, folder)
    first, *others = [_run(image, meter, bits, vcpus, parameters, before) for meter in METERS[bits]]
    for other in others:
        assert (other.reason, other.detail, other.lines) == (first.reason, first.detail, first.lines)
        assert other.hv.trace.digest(GUEST) == first.hv.trace.digest(GUEST)
        assert other.memory == first.memory
    return first


def _run(image, meter, bits, vcpus, parameters, before):
    shape = HostShape(domains=2, vcpus=1 + vcpus, memory=PAGES << 12)
    memory = mmap.mmap(-1, shape.size)
    io = Io()
    hv = Hypervisor(HostState(memoryview(memory), shape), VirtualClock(1_000_000_000), XenVersion("4.17"),
                    wallclock_base(0, 0), io)
    hv.format()
    create_host_seat(hv)
    create_domain(hv, DomainSpec(GUEST, GuestKind.PV, PAGES, vcpus, 1))
    built = build_pv(hv, GUEST, image)
    machine = (built.first << 12) + OUT
    size = bits // 8
    if parameters is not None:
        words = parameters(built)
        hv.arena.write(machine + 0x800, b"".join(word.to_bytes(size, "little") for word in words))
    rows = [VcpuRow(1 + number) for number in range(vcpus)]
    engines = make_vcpus(hv, rows, meter, built)
    if before is not None:
        before(hv, built)
    start_domain(hv, GUEST)
    result = {}

    shut_down = hv.sched.shut_down

    def ends(domid, reason):
        result["out"] = unpack(f"<{0x800 // size}{'Q' if bits == 64 else 'I'}", hv.arena.read(machine, 0x800))
        result["cr2"] = hv.arena.read(hv.vcpus.info[1] + 16, 8)
        result["memory"] = bytes(memory)  # a dead domain's is scrubbed
        shut_down(domid, reason)

    hv.sched.shut_down = ends
    timer = threading.Timer(5, lambda: hv.host.stop.__setitem__(0, 1))
    timer.start()
    outcome = Runner(hv, engines, OnlySeat(lambda: bool(hv.host.outcome[0])), None, lambda time: None).run()
    timer.cancel()
    assert outcome == Outcome.FINISHED, io.lines
    return SimpleNamespace(out=result["out"], cr2=int.from_bytes(result["cr2"], "little"), reason=io.reason,
                           detail=io.detail, lines=io.lines, hv=hv, built=built,
                           vcpus=engines, memory=result["memory"])
