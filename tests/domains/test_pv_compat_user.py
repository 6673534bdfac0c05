"""A 32-bit program under a 64-bit PV kernel: its system calls, by SYSCALL and by an interrupt, and its faults."""

import pytest
from pv_guest import run

USER_CS32, USER_SS = 0xE023, 0xE02B
SOURCE = """
_start:
    lea table(%rip), %rdi
    hypercall 0
    lea callback(%rip), %rsi
    xor %edi, %edi
    hypercall 30                    # callback_op register: syscall32
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
    pushq $0xe02b
    pushq $0x107000
    pushq $0x202
    pushq $0xe023
    lea user(%rip), %rax
    push %rax
    pushq ${how}
    pushq $0x11
    pushq $0x12
    pushq $0x13
    hypercall 23
.code32
user:
    {program}
back:
    ud2
.code64
entry:
    mov $1, %r9
    jmp said
interrupt:
    mov $2, %r9
    jmp said
undefined:
    mov $3, %r9
said:
    cld
    out %r9, 8
    mov %rsp, %rsi
    lea out(%rip), %rdi
    mov $7, %ecx
    rep movsq
    lea user(%rip), %rax
    out %rax, 9
    lea back(%rip), %rax
    out %rax, 10
    out %rbx, 11
    end
.align 8
callback: .word 7, 1
    .long 0
    .quad entry
operation: .quad 15, 0, 0
table:
    .byte 0x80, 3
    .word 0xe033
    .long 0
    .quad interrupt
    .byte 6, 0
    .word 0xe033
    .long 0
    .quad undefined
    .quad 0, 0
kernel_stack: .fill 512, 1, 0
.align 16
kernel_stack_end:
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


@pytest.mark.parametrize("how", ["0", "0x100"])
@pytest.mark.parametrize(("program", "way"), [("mov $0x77, %ebx; syscall", 1), ("mov $0x77, %ebx; int $0x80", 2)])
def test_its_system_calls_enter_the_kernel_behind_themselves(folder, program, way, how):
    guest = run(SOURCE.format(program=program, how=how), folder, parameters=lambda built: [built.start.cr3])
    out = guest.out
    assert guest.reason == 0, guest.detail
    assert out[8] == way
    assert (out[2], out[3] & 0xFFFF) == (out[10], USER_CS32)
    assert out[5:7] == (0x107000, USER_SS)
    assert out[11] == 0x77


@pytest.mark.parametrize("program", ["sysenter", "ud2"])
def test_what_such_a_processor_does_not_have_there_is_undefined(folder, program):
    out = run(SOURCE.format(program=program, how="0"), folder, parameters=lambda built: [built.start.cr3]).out
    assert (out[8], out[2], out[3] & 0xFFFF) == (3, out[9], USER_CS32)
