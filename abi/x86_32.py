"""32-bit guests: selectors, addresses, registers (arch-x86/xen-x86_32.h).  Everything here is for width 32 alone."""

from abi.layout import U8, U16, U32, Layout

FLAT_RING1_CS = 0xE019
FLAT_RING1_DS = 0xE021
FLAT_RING1_SS = 0xE021
FLAT_RING3_CS = 0xE02B
FLAT_RING3_DS = 0xE033
FLAT_RING3_SS = 0xE033
FLAT_KERNEL_CS = FLAT_RING1_CS
FLAT_KERNEL_DS = FLAT_RING1_DS
FLAT_KERNEL_SS = FLAT_RING1_SS
FLAT_USER_CS = FLAT_RING3_CS
FLAT_USER_DS = FLAT_RING3_DS
FLAT_USER_SS = FLAT_RING3_SS

HYPERVISOR_VIRT_START = 0xF5800000
MACH2PHYS_VIRT_START = 0xF5800000
MACH2PHYS_VIRT_END = 0xF6800000
MACH2PHYS_NR_ENTRIES = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) >> 2

CPU_USER_REGS = Layout(
    "cpu_user_regs", 32,
    ebx=U32, ecx=U32, edx=U32, esi=U32, edi=U32, ebp=U32, eax=U32, error_code=U16, entry_vector=U16,
    eip=U32, cs=U16, saved_upcall_mask=U8, _pad0=U8, eflags=U32, esp=U32, ss=U16, _pad1=U16,
    es=U16, _pad2=U16, ds=U16, _pad3=U16, fs=U16, _pad4=U16, gs=U16, _pad5=U16,
)
