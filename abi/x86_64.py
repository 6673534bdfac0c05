"""64-bit guests: selectors, addresses, registers (arch-x86/xen-x86_64.h).  Everything here is for width 64 alone."""

from enum import IntEnum

from abi.layout import U8, U16, U32, U64, Array, Layout
from abi.naming import c_prefix

FLAT_RING3_CS32 = 0xE023
FLAT_RING3_CS64 = 0xE033
FLAT_RING3_DS32 = 0xE02B
FLAT_RING3_DS64 = 0
FLAT_RING3_SS32 = 0xE02B
FLAT_RING3_SS64 = 0xE02B
FLAT_KERNEL_CS64 = FLAT_RING3_CS64
FLAT_KERNEL_CS32 = FLAT_RING3_CS32
FLAT_KERNEL_CS = FLAT_KERNEL_CS64
FLAT_KERNEL_DS64 = FLAT_RING3_DS64
FLAT_KERNEL_DS32 = FLAT_RING3_DS32
FLAT_KERNEL_DS = FLAT_KERNEL_DS64
FLAT_KERNEL_SS64 = FLAT_RING3_SS64
FLAT_KERNEL_SS32 = FLAT_RING3_SS32
FLAT_KERNEL_SS = FLAT_KERNEL_SS64
FLAT_USER_CS64 = FLAT_RING3_CS64
FLAT_USER_CS32 = FLAT_RING3_CS32
FLAT_USER_CS = FLAT_USER_CS64
FLAT_USER_DS64 = FLAT_RING3_DS64
FLAT_USER_DS32 = FLAT_RING3_DS32
FLAT_USER_DS = FLAT_USER_DS64
FLAT_USER_SS64 = FLAT_RING3_SS64
FLAT_USER_SS32 = FLAT_RING3_SS32
FLAT_USER_SS = FLAT_USER_SS64

HYPERVISOR_VIRT_START = 0xFFFF800000000000
HYPERVISOR_VIRT_END = 0xFFFF880000000000
MACH2PHYS_VIRT_START = 0xFFFF800000000000
MACH2PHYS_VIRT_END = 0xFFFF804000000000
MACH2PHYS_NR_ENTRIES = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) >> 3


@c_prefix("SEGBASE_")
class SegmentBase(IntEnum):
    """Which base set_segment_base sets."""

    FS = 0
    GS_USER = 1
    GS_KERNEL = 2
    GS_USER_SEL = 3


VGCF_in_syscall = 1 << 8
"""In `iret_context.flags`: return with SYSRET."""
IRET_CONTEXT = Layout(
    "iret_context", 64, rax=U64, r11=U64, rcx=U64, flags=U64, rip=U64, cs=U64, rflags=U64, rsp=U64, ss=U64,
)
"""What the iret hypercall takes from the guest's stack."""
CPU_USER_REGS = Layout(
    "cpu_user_regs", 64,
    r15=U64, r14=U64, r13=U64, r12=U64, rbp=U64, rbx=U64, r11=U64, r10=U64, r9=U64, r8=U64,
    rax=U64, rcx=U64, rdx=U64, rsi=U64, rdi=U64, error_code=U32, entry_vector=U32,
    rip=U64, cs=U16, _pad0=Array(U16, 1), saved_upcall_mask=U8, _pad1=Array(U8, 3), rflags=U64, rsp=U64,
    ss=U16, _pad2=Array(U16, 3), es=U16, _pad3=Array(U16, 3), ds=U16, _pad4=Array(U16, 3),
    fs=U16, _pad5=Array(U16, 3), gs=U16, _pad6=Array(U16, 3),
)
