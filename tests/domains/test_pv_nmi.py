"""NMIs of PV guests on the engine: delivered at once, one at a time, whatever the upcall mask says."""

import pytest
from pv_guest import run

from abi.vcpu import VcpuOp

SEND = int(VcpuOp.send_nmi)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


WIDE = """
_start:
    movabs $0x107000, %rsp
    lea callback(%rip), %rsi
    xor %edi, %edi
    hypercall 28
    out %rax, 0
    call send
    out %rax, 1
    mov handled(%rip), %rax
    out %rax, 2
    mov $1, %edi
    xor %esi, %esi
    hypercall 28
    call send                       # without a handler it waits
    mov handled(%rip), %rax
    out %rax, 3
    end
send:
    mov $24, %eax
    mov $SEND, %edi
    xor %esi, %esi
    xor %edx, %edx
    syscall
    ret
handler:
    mov 24(%rsp), %rax              # cs and the saved mask
    out %rax, 4
    incq handled(%rip)
    cmpq $1, handled(%rip)
    jne leave
    call send                       # comes after the return
    mov handled(%rip), %rax
    out %rax, 5
leave:
    pop %rcx
    pop %r11
    pushq $0
    push %r11
    push %rcx
    pushq $0                        # rax
    hypercall 23
.align 8
callback: .quad handler, 0
handled: .quad 0
""".replace("SEND", str(SEND))

NARROW = """
_start:
    mov $0x107000, %esp
    xor %ebx, %ebx
    mov $callback, %ecx
    hypercall 28
    mov %eax, out
    call send
    mov handled, %eax
    mov %eax, out + 4
    end
send:
    mov $24, %eax
    mov $SEND, %ebx
    xor %ecx, %ecx
    xor %edx, %edx
    int $0x82
    ret
handler:
    mov 4(%esp), %eax
    mov %eax, out + 8
    incl handled
    cmpl $1, handled
    jne leave
    call send
    mov handled, %eax
    mov %eax, out + 12
leave:
    pushl $0
    hypercall 23
.align 8
callback: .long handler, 0
handled: .long 0
""".replace("SEND", str(SEND))


def test_a_64_bit_kernel_handles_its_nmis_one_after_the_other(folder):
    guest = run(WIDE, folder)
    assert guest.reason == 0, guest.detail
    registered, sent, handled, later, selector, inside = guest.out[:6]
    assert (registered, sent, handled, later, inside) == (0, 0, 2, 2, 1)
    assert selector & 0xFFFF == 0xE030
    assert selector >> 32 == 1, "upcalls were masked when the first came, and it came all the same"


def test_a_32_bit_kernel_too(folder):
    guest = run(NARROW, folder, 32)
    assert guest.reason == 0, guest.detail
    assert guest.out[:2] == (0, 2)
    assert guest.out[2] & 0xFFFF == 0xE019
    assert guest.out[3] == 1


def test_a_handler_without_a_stack_is_the_end(folder):
    inline = (f"    mov $24, %eax\n    mov ${SEND}, %edi\n    xor %esi, %esi\n    xor %edx, %edx\n    xor %esp, %esp\n"
              "    syscall\n    movq $77, out + 64")
    source = WIDE.replace("    call send\n    out %rax, 1", inline)
    guest = run(source, folder)
    assert guest.reason == 3
    assert "kernel stack" in guest.detail
    assert guest.out[8] == 0, "nothing of it runs after its end"
