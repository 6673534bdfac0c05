import pytest
from pv_guest import run

CS, SS, USER_CS, USER_SS = 0xE019, 0xE021, 0xE02B, 0xE033
IF = 0x200


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


def test_ring_1_makes_hypercalls(folder):
    guest = run("""
_start:
    xor %ebx, %ebx
    hypercall 17
    mov %eax, out
    mov %cs, %eax
    mov %eax, out + 4
    mov %ss, %eax
    mov %eax, out + 8
    end
""", folder, 32)
    assert guest.out[:3] == (4 << 16 | 17, CS, SS)
    assert guest.reason == 0


RING3 = """
_start:
    mov $traps, %ebx
    hypercall 0
    mov $0xe021, %ebx
    mov $stack_end, %ecx
    hypercall 3
    mov $0x100000, %ebx
    mov parameters, %ecx
    xor %edx, %edx
    mov $2, %esi
    hypercall 14                    # users may use the first page
    mov $stack_end, %esp
    pushl $0xe033
    pushl $0x107000
    pushl $0x202
    pushl $0xe02b
    pushl $user
    pushl $0x77
    hypercall 23
user:
    mov %eax, seen
    mov $0xe033, %edx
    mov %edx, %ds
    mov $17, %eax
    xor %ebx, %ebx
    int $0x82
    mov $1, %eax
    int $0x80
    ud2
gp:
    push %eax
    push %ebx
    mov $0xe021, %eax
    mov %eax, %ds
    mov %eax, %es
    pop %ebx
    pop %eax
    mov %esp, %esi
    mov $out, %edi
    mov $6, %ecx
    rep movsl
    movl $stack_end, out + 24
    mov %esp, out + 28
    add $4, %esp
    addl $2, (%esp)                 # over the int 0x82
    push %eax
    hypercall 23
system:
    mov $0xe021, %ebx
    mov %ebx, %ds
    mov %ebx, %es
    mov %esp, %esi
    mov $out + 32, %edi
    mov $5, %ecx
    rep movsl
    mov %eax, out + 52
    mov seen, %eax
    mov %eax, out + 56
    end
.align 8
seen: .long 0
traps:
    .byte 13, 0
    .word 0xe019
    .long gp
    .byte 0x80, 3
    .word 0xe019
    .long system
    .long 0, 0
stack: .fill 512, 1, 0
stack_end:
"""


def test_ring_3_gets_a_protection_fault_for_the_hypercall_instruction(folder):
    guest = run(RING3, folder, 32, parameters=lambda built: [built.first + 0x100 << 12 | 7])
    out = guest.out
    assert out[0] == 0x82 << 3 | 2, guest.detail
    assert out[2] & 0xFFFF == USER_CS
    assert out[4:6] == (0x107000, USER_SS)
    assert out[6] - out[7] == 24
    assert out[9] & 0xFFFF == USER_CS
    assert out[11:13] == (0x107000, USER_SS)
    assert out[13] == 1
    assert out[14] == 0x77


UNDEFINED = """
_start:
    mov $traps, %ebx
    hypercall 0
    mov %esp, out + 20
fault:
    {instruction}
    end
handler:
    mov %esp, %esi
    mov $out, %edi
    mov $4, %ecx
    rep movsl
    movl $fault, out + 16
    end
.align 8
traps:
    .byte 6, 4
    .word 0xe019
    .long handler
    .long 0, 0
"""


@pytest.mark.parametrize("instruction", ["sysenter", "syscall", "ud2"])
def test_a_frame_from_ring_1_holds_neither_stack_nor_selector(folder, instruction):
    out = run(UNDEFINED.format(instruction=instruction), folder, 32).out
    assert out[0] == out[4]
    assert out[1] == CS | 1 << 16
    assert not out[2] & IF
