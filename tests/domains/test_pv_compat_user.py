"""A 32-bit program under a 64-bit PV kernel: its system calls, by SYSCALL and by an interrupt, and its faults."""

import pytest
from pv_guest import SYSCALL32, run

USER_CS32, USER_SS = 0xE023, 0xE02B
SOURCE = """
_start:
    prepare_user {kind}
    iret_to user, 0xe023, 0x107000, {how}
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
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


def tried(folder, program, how="0"):
    source = SOURCE.format(kind=SYSCALL32, program=program, how=how)
    return run(source, folder, parameters=lambda built: [built.start.cr3])


@pytest.mark.parametrize("how", ["0", "0x100"])
@pytest.mark.parametrize(("program", "way"), [("mov $0x77, %ebx; syscall", 1), ("mov $0x77, %ebx; int $0x80", 2)])
def test_its_system_calls_enter_the_kernel_behind_themselves(folder, program, way, how):
    guest = tried(folder, program, how)
    out = guest.out
    assert guest.reason == 0, guest.detail
    assert out[8] == way
    assert (out[2], out[3] & 0xFFFF) == (out[10], USER_CS32)
    assert out[5:7] == (0x107000, USER_SS)
    assert out[11] == 0x77


@pytest.mark.parametrize("program", ["sysenter", "ud2"])
def test_what_such_a_processor_does_not_have_there_is_undefined(folder, program):
    out = tried(folder, program).out
    assert (out[8], out[2], out[3] & 0xFFFF) == (3, out[9], USER_CS32)
