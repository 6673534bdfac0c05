import pytest
from pv_guest import run

PRESENT, WRITABLE = 1, 2


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


def l1_entry(built, address):
    """Where the guest sees the L1 entry of an address, and the entry's value."""
    tables = [table for table in built.layout.tables() if table.level == 1]
    table = next(table for table in tables if table.base <= address < table.base + (1 << 21))
    at = built.layout.page_tables.at + ((table.pfn - built.layout.page_tables.pfn) << 12)
    return at + (address >> 12 & 511) * 8


WRITER = """
_start:
    lea traps(%rip), %rdi
    hypercall 0
    mov parameters(%rip), %rdi      # the entry
    mov 8 + parameters(%rip), %rsi  # what is written to it
    mov 16 + parameters(%rip), %rbx # the page it maps
    mov (%rdi), %rax
    out %rax, 0
fault:
    {write}
    mov (%rdi), %rax
    out %rax, 1
    out %rsi, 2
    pushf
    pop %rax
    out %rax, 3
    mov (%rbx), %rax
    out %rax, 4
    end
pagefault:
    mov (%rdi), %rax
    out %rax, 1
    mov 16(%rsp), %rax
    out %rax, 5
    mov 24(%rsp), %rax
    out %rax, 6
    lea fault(%rip), %rax
    out %rax, 7
    end
.align 8
traps:
    .byte 14, 0
    .word 0xe033
    .long 0
    .quad pagefault
    .quad 0, 0
"""
PAGE = 0x300000


def write(folder, instruction, value):
    return run(WRITER.format(write=instruction), folder,
               parameters=lambda built: [l1_entry(built, PAGE), value(built), PAGE])


@pytest.mark.parametrize("instruction", [
    "mov %rsi, (%rdi)", "xchg %rsi, (%rdi)", "lock; orq %rsi, (%rdi)", "movq $0, (%rdi)"])
def test_a_kernel_writes_to_its_live_page_table(folder, instruction):
    out = write(folder, instruction, lambda built: 0).out
    assert out[0] & PRESENT
    if "or" in instruction:
        assert out[1] == out[0]
        assert out[4] == 0
    else:
        assert out[1] == 0
        assert out[6] > out[7]  # reading the page that is gone
        assert out[5] == 0
    if "xchg" in instruction:
        assert out[2] == out[0]
    assert not out[3] & 0x100


def test_what_the_hypercall_would_refuse_is_a_fault_of_the_guest_s(folder):
    table = lambda built: (built.first + built.layout.page_tables.pfn) << 12 | PRESENT | WRITABLE  # noqa: E731
    out = write(folder, "xchg %rsi, (%rdi)", table).out
    assert out[1] == out[0]
    assert out[5] == 3
    assert out[6] == out[7]
