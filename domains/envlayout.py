"""Where Unicorn 2.1.4 keeps the CPU, and views of it.

Unicorn's calls for reading a register cost microseconds; the CPU's own structure is in this process's memory, and
inside a hook the engine has written everything back to it.  So the vCPU works on that memory.  The offsets below hold
for the one pinned build; `selfcheck.py` proves each of them by behaviour before any guest runs.
"""

import ctypes

CPU_POINTER = 440
"""Byte of `struct uc_struct` that holds the address of the CPU object."""
NO_EXIT_REQUEST = 0x7F2
"""Byte of `struct uc_struct`: not 0 where translated code is not to look after each load and store whether to stop.

Unicorn has it for ARM's IT blocks.  It looks at the beginning of every block all the same, which is where this host
stops; the other looks take a tenth of a guest's time, and a stop there would run half an instruction twice."""
ENV = 35408
"""Byte of the CPU object where QEMU's CPUX86State begins."""
INTERRUPT_REQUEST = 28
"""Byte of the CPU object of the 32-bit mask of pending interrupt requests."""
INTERRUPT_VIRQ = 0x100
"""Bit of that mask: SVM's virtual interrupt."""

# 64-bit words of CPUX86State.
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15 = range(8, 16)
RIP = 16
EFLAGS = 17
CC_DST, CC_SRC, CC_SRC2 = 18, 19, 20
SEGMENTS = 23
"""Segment i (ES CS SS DS FS GS LDT TR GDT IDT) has three words: selector, base, limit | flags << 32."""
CR0, CR2, CR3, CR4 = 53, 55, 56, 57
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 600, 601, 602
STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE, TSC_AUX = 603, 605, 606, 607, 608, 612
EFER, PAT = 74, 660
NEXT_RIP = 674
"""Of a software interrupt: where the next instruction is (QEMU's exception_next_eip)."""
VM_VMCB = 688
TSC_OFFSET = 689
INTERCEPT = 690
NESTED_CR3 = 693
FEATURES = 704
"""CPUID leaf 1 EDX, then ECX, leaf 7 EBX, ECX, EDX, ..., 0x80000001 EDX, ECX: a word each."""

# 32-bit words of CPUX86State.
CC_OP = 42
DF = 43
HFLAGS = 44
ERROR_CODE = 1346
EXCEPTION_IS_INT = 1347
OLD_EXCEPTION = 1374

ES, CS, SS, DS, FS, GS, LDT, TR, GDT, IDT = range(10)
WORDS = 760
ARITHMETIC_FLAGS, DIRECTION_FLAG = 0x8D5, 0x400


def cpu_address(handle: int) -> int:
    """The address of the CPU object of the engine whose `uc_engine *` is `handle`."""
    return int(ctypes.c_uint64.from_address(handle + CPU_POINTER).value)


def stop_between_blocks_only(handle: int) -> None:
    """Set NO_EXIT_REQUEST of an engine that has not translated anything."""
    ctypes.c_uint8.from_address(handle + NO_EXIT_REQUEST).value = 1


def view(address: int, size: int, code: str) -> "memoryview[int]":
    """`size` bytes of this process's memory at `address`, as integers of struct code `code`."""
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B").cast(code)  # type: ignore[call-overload, no-any-return]


def put_rflags(q: "memoryview[int]", d: "memoryview[int]", value: int) -> None:
    """Set all flags in a processor's words, as they are between runs: see `Engine.set_rflags`."""
    q[EFLAGS] = value | 2
    q[CC_SRC] = value & ARITHMETIC_FLAGS
    d[CC_OP] = 1  # CC_OP_EFLAGS
    d[DF] = 0xFFFFFFFF if value & DIRECTION_FLAG else 1
