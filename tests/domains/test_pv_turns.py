import pytest
from pv_guest import run

from abi.vcpu import VcpuOp
from abi.x86 import VCPU_GUEST_CONTEXT

AT = VCPU_GUEST_CONTEXT.at(64).offset
CONTEXT = 0x180000


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


def field(name):
    return f"{CONTEXT + AT[name]:#x}"


TWO = f"""
.macro vcpu_op command, argument
    mov $24, %eax
    mov $\\command, %edi
    mov $1, %esi
    mov $\\argument, %edx
    syscall
.endm
_start:
    vcpu_op {VcpuOp.up}, 0
    out %rax, 0                     # not initialised yet
    lea second(%rip), %rax
    mov %rax, {field("user_regs_rip")}
    movq $0xe033, {field("user_regs_cs")}
    movq $0xe02b, {field("user_regs_ss")}
    movq $0x107000, {field("user_regs_rsp")}
    movq $0x1234, {field("user_regs_rbx")}
    movq $0x1202, {field("user_regs_rflags")}
    movq $4, {field("flags")}
    movq $0x5555, {field("gs_base_kernel")}
    mov parameters(%rip), %rax
    shl $12, %rax
    mov %rax, {field("ctrlreg_3")}
    vcpu_op {VcpuOp.initialise}, {CONTEXT:#x}
    out %rax, 1
    test %rax, %rax
    jnz done
    vcpu_op {VcpuOp.initialise}, {CONTEXT:#x}
    out %rax, 2
    mov $0x77, %ebx
    movq %rbx, %xmm0
    vcpu_op {VcpuOp.up}, 0
    out %rax, 3
again:
    pause
    cmpq $0, said(%rip)
    je again
    movq %xmm0, %rax
    out %rax, 4
    out %rbx, 5
done:
    end
second:
    out %rbx, 6
    mov $0xc0000101, %ecx
    rdmsr
    out %rax, 7
    in $0x60, %al                   # its IOPL was in its flags
    movzbl %al, %eax
    out %rax, 8
    mov $0x99, %eax
    movq %rax, %xmm0
    movq $1, said(%rip)
    vcpu_op {VcpuOp.down}, 0
    ud2
.align 8
said: .quad 0
"""


def test_a_second_vcpu_begins_as_its_context_says_and_takes_turns_with_the_first(folder):
    guest = run(TWO, folder, vcpus=2, parameters=lambda built: [built.start.cr3])
    out = guest.out
    assert [value - (1 << 64) if value >> 63 else value for value in out[:4]] == [-22, 0, -17, 0], guest.detail
    assert out[4:6] == (0x77, 0x77)
    assert out[6:9] == (0x1234, 0x5555, 0xFF)
    assert guest.reason == 0


def test_a_context_with_page_tables_that_are_none_is_refused(folder):
    guest = run(TWO, folder, vcpus=2, parameters=lambda built: [built.start.cr3 + 1])
    assert guest.out[1] - (1 << 64) == -22
