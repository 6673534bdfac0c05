import pytest
from pv_guest import OUT, SYSCALL, TEXT, run

CRASH, POWEROFF = 3, 0
KERNEL_CS, SS = 0xE033, 0xE02B
IF, RF = 0x200, 0x10000


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


TRAPS = """
_start:
    mov %rsi, %r12
    lea table(%rip), %rdi
    hypercall 0
    mov $0x1234, %ecx
    mov $0x5678, %r11d
    movabs $0x107000, %rsp
{before}
fault:
    {instruction}
after:
    end
handler:
    cld
    mov %rsp, %rsi
    lea out(%rip), %rdi
    mov $10, %ecx
    rep movsq
    lea fault(%rip), %rax
    mov %rax, out + 80(%rip)
    lea after(%rip), %rax
    mov %rax, out + 88(%rip)
    end
.align 8
table:
    .byte {vector}, {flags}
    .word 0xe033
    .long 0
    .quad handler
    .quad 0, 0
"""


def trap(folder, instruction, vector, flags=0, before=""):
    return run(TRAPS.format(instruction=instruction, vector=vector, flags=flags, before=before), folder)


def test_a_hypercall_returns_in_rax_and_leaves_its_return_address_in_rcx(folder):
    guest = run("""
_start:
    xor %edi, %edi
    hypercall 17
after:
    out %rax, 0
    out %rcx, 1
    lea after(%rip), %rax
    out %rax, 2
    out %rsi, 3
    end
""", folder)
    assert guest.out[0] == 4 << 16 | 17
    assert guest.out[1] == guest.out[2]
    assert guest.out[3] == guest.built.start.rsi
    assert guest.reason == POWEROFF


def test_an_exception_without_an_error_code_pushes_seven_words(folder):
    out = trap(folder, "ud2", 6).out
    fault = out[10]
    assert out[:7] == (0x1234, 0x5678, fault, KERNEL_CS & ~3 | 1 << 32, out[4], 0x107000, SS)
    assert not out[4] & IF
    assert out[4] & RF


@pytest.mark.parametrize(("instruction", "vector", "code"), [
    ("mov %cr8, %rax", 13, 0), ("lgdt (%rsp)", 13, 0), ("hlt", 13, 0), ("int $0x40", 13, 0x40 << 3 | 2), ("cli", 13, 0),
    ("in $0x60, %al", 13, 0), ("movabs 0x7f0000000000, %rax", 14, 0), ("movabs %rax, 0x7f0000000000", 14, 2),
])
def test_an_error_code_lies_below_rip_and_the_kernel_is_no_user(folder, instruction, vector, code):
    out = trap(folder, instruction, vector).out
    assert out[:6] == (0x1234, 0x5678, code, out[10], KERNEL_CS & ~3 | 1 << 32, out[5])
    assert out[6:8] == (0x107000, SS)


def test_the_address_of_a_page_fault_is_in_vcpu_info(folder):
    guest = trap(folder, "movabs 0x7f0000000123, %rax", 14)
    assert guest.cr2 == 0x7F0000000123


@pytest.mark.parametrize(("instruction", "vector", "flags"), [
    ("int3", 3, 0), ("int $0x80", 0x80, 1), ("int $0x80", 0x80, 3)])
def test_software_interrupts_return_behind_themselves(folder, instruction, vector, flags):
    out = trap(folder, instruction, vector, flags).out
    assert out[2] == out[11]
    assert not out[4] & RF


def test_a_trap_that_masks_events_says_what_the_mask_was(folder):
    before = "mov 72(%r12), %rax"  # nothing: shared_info is not mapped yet
    out = trap(folder, "ud2", 6, 4, before).out
    assert out[3] == KERNEL_CS & ~3 | 1 << 32


def test_an_exception_that_nobody_handles_is_the_end(folder):
    guest = run("_start:\n ud2\n", folder)
    assert guest.reason == CRASH
    assert "unhandled exception #UD" in guest.detail
    assert f"{TEXT:#x}" in guest.detail


def test_privileged_instructions_are_emulated(folder):
    guest = run("""
_start:
    mov $0xc0000100, %ecx
    mov $0x12345678, %eax
    mov $0x7f, %edx
    wrmsr
    xor %eax, %eax
    rdmsr
    out %rax, 0
    out %rdx, 1
    mov %cr0, %rbx
    out %rbx, 2
    mov $0x10000, %eax
    mov %rax, %cr4
    mov %cr4, %r9
    out %r9, 3
    rdfsbase %rax
    out %rax, 4
    mov $0x40000000, %eax
    .byte 0x0f, 0x0b
    .ascii "xen"
    cpuid
    mov %ebx, %ebx
    out %rbx, 5
    mov %rsp, %rax
    mov %rax, %dr0
    mov %dr0, %rbx
    sub %rax, %rbx
    out %rbx, 6
    clts
    wbinvd
    mov %cr3, %rax
    out %rax, 7
    end
""", folder)
    assert guest.out[:7] == (0x12345678, 0x7F, 0x80050033, 0x10620, 0x7F12345678, 0x566E6558, 0)
    assert guest.out[7] >> 12 == guest.built.start.cr3


def test_a_forced_prefix_before_anything_but_cpuid_is_undefined(folder):
    out = trap(folder, '.ascii "\\x0f\\x0bxen\\x90"', 6).out
    assert out[2] == out[10]


USER = """
_start:
    prepare_user {kind}
    out %rax, 20
    iret_to user, 0xe033, 0x107000
user:
    out %rax, 21
    out %rcx, 22
    out %r11, 23
    mov $17, %eax
    syscall
back:
    int $0x40
    end
entry:
    cld
    mov %rsp, %rsi
    lea out(%rip), %rdi
    mov $7, %ecx
    rep movsq
    lea back(%rip), %rax
    out %rax, 24
    out %rsp, 25
    lea kernel_stack_end(%rip), %rax
    out %rax, 26
    mov 16(%rsp), %r8
    lea frame(%rip), %rsp
    mov %r8, 32(%rsp)
    hypercall 23
gp:
    cld
    mov %rsp, %rsi
    lea out + 64(%rip), %rdi
    mov $8, %ecx
    rep movsq
    end
.align 8
frame: .quad 0x77, 1, 2, 0, 0, 0xe033, 0x202, 0x107000, 0xe02b
table:
    .byte 13, 0
    .word 0xe033
    .long 0
    .quad gp
    .quad 0, 0
"""


def test_a_system_call_of_a_user_enters_the_kernel_and_iret_goes_back(folder):
    guest = run(USER.format(kind=SYSCALL), folder, parameters=lambda built: [built.start.cr3])
    out = guest.out
    assert out[20:24] == (0, 0x13, 0x11, 0x12), guest.detail
    back, stack_end = out[24], out[26]
    assert out[0] == out[2] == back
    assert out[3] & 0xFFFF == KERNEL_CS
    assert out[1] & IF
    assert out[5:7] == (0x107000, SS)
    assert out[25] == (stack_end & ~15) - 56
    error, rip, cs = out[8 + 2:8 + 5]
    assert (error, rip, cs & 0xFFFF) == (0x40 << 3 | 2, back, KERNEL_CS)


EVENT = """
_start:
    mov $0, %edi
    lea callback(%rip), %rsi
    hypercall 30
    mov $7, %edi                    # bind_ipi
    lea ipi(%rip), %rsi
    hypercall 32
    out %rax, 0
    mov parameters(%rip), %rdi      # map shared_info
    mov 8 + parameters(%rip), %rsi
    mov $2, %edx
    hypercall 14
    out %rax, 1
    mov parameters(%rip), %rbx
    mov ipi + 4(%rip), %eax
    mov %eax, port(%rip)
    movb $0, 1(%rbx)                # upcalls open
    mov $0xabcd, %ebp
    mov $4, %edi
    lea port(%rip), %rsi
    hypercall 32                    # send
sent:
    out %rax, 2
    out %rbp, 3
    movzbl 1(%rbx), %eax
    out %rax, 4
    end
entry:
    out $1, 5
    movzbl 1(%rbx), %r14d
    out %r14, 6
    movb $0, (%rbx)
    mov 16(%rsp), %r14
    out %r14, 7
    lea sent(%rip), %r14
    out %r14, 8
    mov 32(%rsp), %r14
    out %r14, 9
    add $16, %rsp
    orq $3, 8(%rsp)
    {back}
.align 8
callback: .word 0, 0
    .long 0
    .quad entry
ipi: .long 0, 0
port: .long 0
"""
NATIVE = "movb $0, 1(%rbx)\n movl $0xe033, 8(%rsp)\n movl $0, 12(%rsp)\n iretq"
HYPERCALL = "andq $~3, 8(%rsp)\n pushq $0\n pushq %rcx\n pushq %r11\n pushq %rax\n hypercall 23"


@pytest.mark.parametrize("back", [NATIVE, HYPERCALL])
def test_an_event_is_delivered_when_the_hypercall_that_raised_it_returns(folder, back):
    def parameters(built):
        return [OUT + 0x2000, 0]

    def before(hv, built):
        hv.arena.u64[((built.first << 12) + OUT + 0x808) >> 3] = hv.domains.shared_info[1] | 7

    guest = run(EVENT.replace("{back}", back), folder, parameters=parameters, before=before)
    out = guest.out
    assert out[:3] == (0, 0, 0), (out[:10], guest.detail)
    assert out[3:7] == (0xABCD, 0, 1, 1)
    assert out[7] == out[8]
    assert out[9] & IF
