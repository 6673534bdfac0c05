"""The processor of a 64-bit PV guest, piece by piece: what the kernel may ask of it, and how it is told no."""

import pytest
from pv_guest import run

from abi.xen import VmAssist

GP, UD, NM = 13, 6, 7
IOPL = 3 << 12
CATCH = """
.macro try index, instruction:vararg
    movq $0, caught(%rip)
    lea 7779f(%rip), %r14
    \\instruction
7779:
    mov caught(%rip), %r15
    mov %r15, out + 8 * \\index(%rip)
.endm
_start:
    movabs $0x107000, %rsp
    lea table(%rip), %rdi
    hypercall 0
"""
HANDLERS = """
    end
handler_gp: movq $13, caught(%rip)
    jmp skip_error
handler_ud: movq $6, caught(%rip)
    jmp leave
handler_nm: movq $7, caught(%rip)
    mov 32(%rsp), %rax
    out %rax, 30
    pop %rcx
    pop %r11
    pushq $0
    push %r11
    push %rcx
    pushq $0
    hypercall 23
skip_error:
    pop %rcx
    pop %r11
    add $8, %rsp
    push %r11
    push %rcx
leave:
    mov 32(%rsp), %rax
    out %rax, 31
    pop %rcx
    pop %r11
    mov %r14, (%rsp)
    pushq $0
    push %r11
    push %rcx
    pushq $0
    hypercall 23
.align 8
caught: .quad 0
table:
    .byte 13, 0
    .word 0xe033
    .long 0
    .quad handler_gp
    .byte 6, 0
    .word 0xe033
    .long 0
    .quad handler_ud
    .byte 7, 0
    .word 0xe033
    .long 0
    .quad handler_nm
    .quad 0, 0
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


@pytest.fixture
def tried(folder):
    """Runs code between the trap table and the end; gives what it put out."""
    def go(code, **settings):
        guest = run(CATCH + code + HANDLERS, folder, **settings)
        assert guest.reason == 0, guest.detail
        return guest.out

    return go


def test_after_a_task_switch_the_first_use_of_the_fpu_traps_and_the_next_does_not(tried):
    out = tried("""
    mov $1, %edi
    hypercall 5
    out %rax, 0
    mov %cr0, %rax
    out %rax, 1
    try 2, movq %rax, %xmm0
    mov %cr0, %rax
    out %rax, 3
    try 4, movq %rax, %xmm0
    mov $1, %edi
    hypercall 5
    clts
    try 5, movq %rax, %xmm0
    mov $1, %edi
    hypercall 5
    xor %edi, %edi
    hypercall 5
    try 6, movq %rax, %xmm0
""")
    assert out[0] == 0
    assert (out[1] & 8, out[2]) == (8, NM)
    assert (out[3] & 8, out[4], out[5], out[6]) == (0, 0, 0, 0)


def test_ts_is_set_and_cleared_through_cr0_and_lmsw(tried):
    out = tried("""
    mov %cr0, %rax
    or $8, %rax
    try 0, mov %rax, %cr0
    try 1, movq %rax, %xmm0
    mov $0xb, %eax
    try 2, lmsw %ax
    mov %cr0, %rax
    out %rax, 3
    clts
    xor %eax, %eax
    try 4, mov %rax, %cr0
    mov %cr0, %rax
    btr $16, %rax
    try 5, mov %rax, %cr0
""")
    assert (out[0], out[1], out[2]) == (0, NM, 0)
    assert out[3] & 8
    assert (out[4], out[5]) == (GP, GP), "PE, PG and WP are not the guest's to clear"


def test_segment_bases_are_the_kernels_the_users_and_fs(tried):
    out = tried("""
    lea word(%rip), %rsi
    xor %edi, %edi
    hypercall 25
    out %rax, 0
    try 1, mov %fs:0, %rbx
    out %rbx, 2
    mov $1, %edi
    mov $0x1234000, %esi
    hypercall 25
    mov $2, %edi
    mov $0x5678000, %esi
    hypercall 25
    mov $0xc0000101, %ecx
    rdmsr
    out %rax, 3
    mov $0xc0000102, %ecx
    rdmsr
    out %rax, 4
    mov $3, %edi
    mov $0xfff8, %esi
    hypercall 25
    out %rax, 5
    mov $4, %edi
    hypercall 25
    out %rax, 6
    xor %edi, %edi
    movabs $0x800000000000, %rsi
    hypercall 25
    out %rax, 7
    jmp over
word: .quad 0x1122
over:
""")
    assert out[:6] == (0, 0, 0x1122, 0x5678000, 0x1234000, 0), "GS_USER_SEL takes what cannot be loaded for a null"
    assert [value - (1 << 64) for value in out[6:8]] == [-22, -22]


def test_debug_registers_keep_what_they_may(tried):
    out = tried("""
    mov $0x1234, %eax
    try 0, mov %rax, %dr1
    mov $1, %edi
    hypercall 9
    out %rax, 1
    mov $3, %edi
    mov $0x4321, %esi
    hypercall 8
    try 2, mov %dr3, %rbx
    out %rbx, 3
    mov $7, %edi
    mov $2 << 16 | 1, %esi          # an I/O breakpoint
    hypercall 8
    out %rax, 4
    xor %edi, %edi
    movabs $0xffff800000000000, %rsi
    hypercall 8
    out %rax, 5
    mov $8, %edi
    hypercall 9
    out %rax, 6
    try 7, mov %dr6, %rbx
    out %rbx, 8
""")
    assert out[:4] == (0, 0x1234, 0, 0x4321)
    assert [value - (1 << 64) for value in out[4:7]] == [-1, -1, -22]
    assert (out[7], out[8]) == (0, 0xFFFF0FF0)


@pytest.mark.parametrize(("instruction", "vector"), [
    ("xgetbv", UD), ("xsetbv", UD), ("sysenter", UD), ("vmmcall", UD), ("rsm", UD), ("lidt (%rsp)", GP), ("swapgs", GP),
    ("ltr %ax", GP), ("invd", 0), ("wbinvd", 0), ("invlpg (%rsp)", 0), ("invlpg 8(%rsp,%rax,2)", 0), ("hlt", GP),
    ("rdpmc", GP), ("mov %rax, %cr8", GP), ("sti", GP), ("outb %al, $0x80", GP), ("insb", GP)])
def test_an_instruction_of_ring_0_is_emulated_or_a_fault(tried, instruction, vector):
    assert tried(f"    xor %eax, %eax\n    xor %ecx, %ecx\n    mov $0x60, %edx\n    lea out + 128(%rip), %rdi\n"
                 f"    try 0, {instruction}\n")[0] == vector


ASSIST = f"""
    xor %edi, %edi
    mov ${int(VmAssist.architectural_iopl)}, %esi
    hypercall 21
"""
SET_IOPL = """
    mov $6, %edi
    lea iopl(%rip), %rsi
    hypercall 33
    out %rax, 20
    jmp 1f
iopl: .long {}
1:
"""


@pytest.mark.parametrize(("assist", "iopl", "vector"), [
    (False, 0, GP), (False, 1, 0), (False, 3, 0), (True, 0, 0), (True, 1, 0)])
def test_io_privilege_lets_the_kernel_at_ports_and_at_the_interrupt_flag(tried, assist, iopl, vector):
    out = tried((ASSIST if assist else "") + SET_IOPL.format(iopl)
                + "    try 0, in $0x60, %al\n    try 1, cli\n    try 2, sti\n    try 3, ud2\n")
    assert out[:4] == (vector, vector, vector, UD)
    assert out[31] & IOPL == (iopl << 12 if assist else 0), "flags show it where the guest asked for that"


def test_a_bitmap_opens_single_ports(tried):
    out = tried("""
    mov $7, %edi
    lea bitmap(%rip), %rsi
    hypercall 33
    out %rax, 0
    try 1, in $0x60, %al
    movzbl %al, %eax
    out %rax, 2
    try 3, in $0x61, %al
    try 4, in $0x60, %ax            # the second port is closed
    mov $0x80, %dx
    try 5, in %dx, %al              # beyond the bitmap
    jmp over
.align 8
bitmap: .quad bits
    .long 0x70, 0
bits: .fill 12, 1, 0xff
    .byte 0xfe, 0xff
over:
""")
    assert out[:6] == (0, 0, 0xFF, GP, GP, GP)


def test_flags_are_not_the_guests_way_to_io_privilege(tried):
    out = tried("""
    pushfq
    orq $0x3000, (%rsp)
    popfq
    try 0, cli
    pushfq
    pop %rax
    out %rax, 1
""")
    assert out[0] == GP
    assert not out[1] & IOPL


FAILSAFE = """
    movw $0xe02b, %ax
    movw %ax, %fs
    lea callback(%rip), %rsi
    xor %edi, %edi
    hypercall 30
    iret_to after, {selector}, 0x106000
after:
    end
failsafe:
    cld
    mov %rsp, %rsi
    lea out(%rip), %rdi
    mov $11, %ecx
    rep movsq
    lea after(%rip), %rax
    out %rax, 12
    jmp over
.align 8
callback: .word 1, {flags}
    .long 0
    .quad failsafe
over:
"""


@pytest.mark.parametrize(("selector", "flags"), [(0x20, 0), (0xE028, 1), (0xFFF8, 1)])
def test_a_frame_with_a_bad_code_selector_goes_to_the_failsafe_callback(tried, selector, flags):
    out = tried(FAILSAFE.format(selector=f"{selector:#x}", flags=flags))
    assert out[:6] == (0x11, 0x12, 0, 0, 0xE02B, 0), "rcx, r11, ds, es, fs, gs"
    assert out[6] == out[12]
    assert out[7] & 0xFFFC == selector & ~3
    assert out[9:11] == (0x106000, 0xE02B)


def test_tsd_keeps_the_time_stamp_from_programs_not_from_the_kernel(tried):
    out = tried("""
    mov %cr4, %rax
    or $4, %rax
    try 0, mov %rax, %cr4
    try 1, rdtsc
    mov %cr4, %rax
    out %rax, 2
    mov $0x2000, %eax               # VMXE is not there
    try 3, mov %rax, %cr4
    mov %cr4, %rax
    out %rax, 4
""")
    assert (out[0], out[1], out[2] & 4) == (0, 0, 4)
    assert not out[4] & 0x2000


@pytest.mark.parametrize("instruction", ["rdtscp", ".byte 0x3e; rdtscp"], ids=["plain", "prefixed"])
def test_the_time_stamp_comes_with_the_processors_number_and_leaves_the_flags_alone(tried, instruction):
    out = tried(f"""
    mov $0xc0000103, %ecx
    mov $0x1234, %eax
    xor %edx, %edx
    try 0, wrmsr
    mov $77, %ecx
    clc
    try 1, {instruction}
    setc %al
    movzx %al, %eax
    out %rax, 2
    out %rcx, 3
""")
    assert out[:4] == (0, 0, 0, 0x1234)


def test_model_specific_registers_that_are_xens_stay_so(tried):
    out = tried("""
    mov $0xc0000080, %ecx
    try 0, rdmsr
    out %rax, 1
    and $~0x100, %eax
    try 2, wrmsr
    mov $0xc0000082, %ecx
    try 3, wrmsr
    mov $0x1b, %ecx
    try 4, wrmsr
    mov $0x12345, %ecx
    try 5, rdmsr
    mov $0xc0000101, %ecx
    mov $0x80000000, %edx
    try 6, wrmsr
""")
    assert out[0] == 0
    assert out[1] & 0x501 == 0x501
    assert (out[2], out[5], out[6]) == (GP, GP, GP)
