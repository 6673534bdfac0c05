"""AMD's virtual machine control block as far as the engine needs it (AMD64 manual volume 2, appendix B)."""

from enum import IntEnum

CR_READ_INTERCEPTS, CR_WRITE_INTERCEPTS = 0x00, 0x02
"""16 bits each: bit n is control register n."""
EXCEPTION_INTERCEPTS = 0x08
INTERCEPTS = 0x0C
IOPM_BASE, MSRPM_BASE = 0x40, 0x48
ASID = 0x58
INT_CONTROL, INT_VECTOR = 0x60, 0x64
EXIT_INFO_2 = 0x80
NP_ENABLE, NESTED_CR3 = 0x90, 0xB0
SAVE = 0x400
SAVE_CPL, SAVE_EFER, SAVE_CR4, SAVE_CR3, SAVE_CR0 = 0xCB, 0xD0, 0x148, 0x150, 0x158
SAVE_RFLAGS, SAVE_RIP, SAVE_RSP = 0x170, 0x178, 0x1D8


class Intercept(IntEnum):
    """Bit numbers of the 64-bit intercept mask at VMCB + 0x0c."""

    INTR = 0
    VINTR = 4
    RDTSC = 14
    RDPMC = 15
    CPUID = 18
    RSM = 19
    SWINT = 21
    INVD = 22
    PAUSE = 23
    HLT = 24
    INVLPG = 25
    INVLPGA = 26
    IOIO = 27
    MSR = 28
    TASK_SWITCH = 29
    SHUTDOWN = 31
    VMRUN = 32
    VMMCALL = 33
    VMLOAD = 34
    VMSAVE = 35
    STGI = 36
    CLGI = 37
    SKINIT = 38
    RDTSCP = 39
    ICEBP = 40
    WBINVD = 41
    MONITOR = 42
    MWAIT = 43


class Exit(IntEnum):
    """SVM exit codes; the engine's hook gets 0x100 more."""

    READ_CR8 = 0x08
    WRITE_CR8 = 0x18
    EXCEPTION = 0x40
    VINTR = 0x64
    RDTSC = 0x6E
    RDPMC = 0x6F
    CPUID = 0x72
    RSM = 0x73
    SWINT = 0x75
    INVD = 0x76
    PAUSE = 0x77
    HLT = 0x78
    INVLPG = 0x79
    INVLPGA = 0x7A
    IOIO = 0x7B
    MSR = 0x7C
    TASK_SWITCH = 0x7D
    SHUTDOWN = 0x7F
    VMRUN = 0x80
    VMMCALL = 0x81
    VMLOAD = 0x82
    VMSAVE = 0x83
    STGI = 0x84
    CLGI = 0x85
    SKINIT = 0x86
    RDTSCP = 0x87
    ICEBP = 0x88
    WBINVD = 0x89
    MONITOR = 0x8A
    MWAIT = 0x8B
    NPF = 0x400


EXIT_BASE = 0x100
"""Unicorn reports exit code N as interrupt number EXIT_BASE + N."""
