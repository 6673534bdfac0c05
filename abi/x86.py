"""What x86 adds for PV guests of either width: traps and the state of a vCPU (arch-x86/xen.h)."""

from abi.layout import U8, U16, U32, U64, ULONG, Array, ByWidth, Each, Layout
from abi.x86_32 import CPU_USER_REGS as CPU_USER_REGS_32
from abi.x86_64 import CPU_USER_REGS as CPU_USER_REGS_64

FIRST_RESERVED_GDT_PAGE = 14
FIRST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_PAGE * 4096
FIRST_RESERVED_GDT_ENTRY = FIRST_RESERVED_GDT_BYTE // 8
"""From here on the GDT is Xen's."""

TRAP_INFO = Layout("trap_info", vector=U8, flags=U8, cs=U16, address=ULONG)
"""`flags`: bits 0 and 1 the lowest ring that may raise the vector by software, bit 2 masks events on entry."""

VGCF_i387_valid = 1 << 0
VGCF_in_kernel = 1 << 2
VGCF_failsafe_disables_events = 1 << 3
VGCF_syscall_disables_events = 1 << 4
VGCF_online = 1 << 5

VCPU_GUEST_CONTEXT = Layout(
    "vcpu_guest_context",
    fpu_ctxt=Array(U8, 512),
    flags=ULONG,
    user_regs=ByWidth(CPU_USER_REGS_32, CPU_USER_REGS_64),
    trap_ctxt=Array(TRAP_INFO, 256),
    ldt_base=ULONG, ldt_ents=ULONG,
    gdt_frames=Each(ULONG, 16), gdt_ents=ULONG,
    kernel_ss=ULONG, kernel_sp=ULONG,
    ctrlreg=Each(ULONG, 8), debugreg=Each(ULONG, 8),
    event_callback_cs=ByWidth(ULONG, None), event_callback_eip=ULONG,
    failsafe_callback_cs=ByWidth(ULONG, None), failsafe_callback_eip=ULONG,
    syscall_callback_eip=ByWidth(None, ULONG),
    vm_assist=ULONG,
    fs_base=ByWidth(None, U64), gs_base_kernel=ByWidth(None, U64), gs_base_user=ByWidth(None, U64),
)
"""The argument of VCPUOP_initialise from PV guests."""

ARCH_DOMAINCONFIG = Layout("xen_arch_domainconfig", emulation_flags=U32, misc_flags=U32)
XEN_X86_EMU_LAPIC = 1 << 0
XEN_X86_EMU_HPET = 1 << 1
XEN_X86_EMU_PM = 1 << 2
XEN_X86_EMU_RTC = 1 << 3
XEN_X86_EMU_IOAPIC = 1 << 4
XEN_X86_EMU_PIC = 1 << 5
XEN_X86_EMU_VGA = 1 << 6
XEN_X86_EMU_IOMMU = 1 << 7
XEN_X86_EMU_PIT = 1 << 8
XEN_X86_EMU_USE_PIRQ = 1 << 9
XEN_X86_EMU_VPCI = 1 << 10
XEN_X86_EMU_ALL = (1 << 11) - 1
XEN_X86_MSR_RELAXED = 1

XEN_HVM_DEBUGCONS_IOPORT = 0xE9
XEN_EMULATE_PREFIX = b"\x0f\x0bxen"
"""UD2 and three letters before CPUID: a PV guest asks Xen instead of the processor."""
