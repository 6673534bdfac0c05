"""Hypercall numbers, the words that several hypercalls share, and the pages every guest knows (xen.h)."""

from enum import IntEnum

from abi.layout import I8, POINTER, U8, U32, U64, ULONG, Array, ByWidth, Each, Layout, Union
from abi.naming import c_prefix


@c_prefix("__HYPERVISOR_")
class Hypercall(IntEnum):
    """What a guest puts into EAX.  11 and 43 to 47 were never assigned."""

    set_trap_table = 0
    mmu_update = 1
    set_gdt = 2
    stack_switch = 3
    set_callbacks = 4
    fpu_taskswitch = 5
    sched_op_compat = 6
    platform_op = 7
    set_debugreg = 8
    get_debugreg = 9
    update_descriptor = 10
    memory_op = 12
    multicall = 13
    update_va_mapping = 14
    set_timer_op = 15
    event_channel_op_compat = 16
    xen_version = 17
    console_io = 18
    physdev_op_compat = 19
    grant_table_op = 20
    vm_assist = 21
    update_va_mapping_otherdomain = 22
    iret = 23
    vcpu_op = 24
    set_segment_base = 25
    mmuext_op = 26
    xsm_op = 27
    nmi_op = 28
    sched_op = 29
    callback_op = 30
    xenoprof_op = 31
    event_channel_op = 32
    physdev_op = 33
    hvm_op = 34
    sysctl = 35
    domctl = 36
    kexec_op = 37
    tmem_op = 38
    argo_op = 39
    xenpmu_op = 40
    dm_op = 41
    hypfs_op = 42
    arch_0 = 48
    arch_1 = 49
    arch_2 = 50
    arch_3 = 51
    arch_4 = 52
    arch_5 = 53
    arch_6 = 54
    arch_7 = 55


@c_prefix("VIRQ_")
class Virq(IntEnum):
    """Virtual interrupts, the sources of EVTCHNOP_bind_virq."""

    TIMER = 0
    DEBUG = 1
    CONSOLE = 2
    DOM_EXC = 3
    TBUF = 4
    DEBUGGER = 6
    XENOPROF = 7
    CON_RING = 8
    PCPU_STATE = 9
    MEM_EVENT = 10
    ARGO = 11
    ENOMEM = 12
    XENPMU = 13
    ARCH_0 = 16
    ARCH_1 = 17
    ARCH_2 = 18
    ARCH_3 = 19
    ARCH_4 = 20
    ARCH_5 = 21
    ARCH_6 = 22
    ARCH_7 = 23


NR_VIRQS = 24
PER_VCPU_VIRQS = frozenset({Virq.TIMER, Virq.DEBUG, Virq.XENOPROF, Virq.XENPMU})
"""Each vCPU binds its own; every other number below NR_VIRQS is global and binds to vCPU 0 alone."""

DOMID_FIRST_RESERVED = 0x7FF0
DOMID_SELF = 0x7FF0
DOMID_IO = 0x7FF1
DOMID_XEN = 0x7FF2
DOMID_COW = 0x7FF3
DOMID_INVALID = 0x7FF4
DOMID_IDLE = 0x7FFF
DOMID_MASK = 0x7FFF

XEN_LEGACY_MAX_VCPUS = 32
"""vCPUs that have a vcpu_info in shared_info."""


@c_prefix("MMU_")
class MmuUpdate(IntEnum):
    """The low bits of `mmu_update.ptr`."""

    NORMAL_PT_UPDATE = 0
    MACHPHYS_UPDATE = 1
    PT_UPDATE_PRESERVE_AD = 2
    PT_UPDATE_NO_TRANSLATE = 3


@c_prefix("MMUEXT_")
class MmuextOp(IntEnum):
    PIN_L1_TABLE = 0
    PIN_L2_TABLE = 1
    PIN_L3_TABLE = 2
    PIN_L4_TABLE = 3
    UNPIN_TABLE = 4
    NEW_BASEPTR = 5
    TLB_FLUSH_LOCAL = 6
    INVLPG_LOCAL = 7
    TLB_FLUSH_MULTI = 8
    INVLPG_MULTI = 9
    TLB_FLUSH_ALL = 10
    INVLPG_ALL = 11
    FLUSH_CACHE = 12
    SET_LDT = 13
    NEW_USER_BASEPTR = 15
    CLEAR_PAGE = 16
    COPY_PAGE = 17
    FLUSH_CACHE_GLOBAL = 18
    MARK_SUPER = 19
    UNMARK_SUPER = 20


UVMF_NONE = 0
UVMF_TLB_FLUSH = 1
UVMF_INVLPG = 2
UVMF_FLUSHTYPE_MASK = 3
UVMF_MULTI = 0
UVMF_LOCAL = 0
UVMF_ALL = 4


@c_prefix("CONSOLEIO_")
class ConsoleIo(IntEnum):
    write = 0
    read = 1


@c_prefix("VMASST_CMD_")
class VmAssistCommand(IntEnum):
    enable = 0
    disable = 1


@c_prefix("VMASST_TYPE_")
class VmAssist(IntEnum):
    """Bit numbers of what vm_assist turns on."""

    _4gb_segments = 0
    _4gb_segments_notify = 1
    writable_pagetables = 2
    pae_extended_cr3 = 3
    architectural_iopl = 4
    runstate_update_flag = 5
    m2p_strict = 32


MMU_UPDATE = Layout("mmu_update", ptr=U64, val=U64)
MMUEXT_OP = Layout(
    "mmuext_op",
    cmd=U32,
    arg1=Union(mfn=ULONG, linear_addr=ULONG),
    arg2=Union(nr_ents=U32, vcpumask=POINTER, src_mfn=ULONG),
)
MULTICALL_ENTRY = Layout("multicall_entry", op=ULONG, result=ULONG, args=Each(ULONG, 6))

XEN_PVCLOCK_TSC_STABLE_BIT = 1
XEN_PVCLOCK_GUEST_STOPPED = 2
VCPU_TIME_INFO = Layout(
    "vcpu_time_info",
    version=U32, pad0=U32, tsc_timestamp=U64, system_time=U64, tsc_to_system_mul=U32, tsc_shift=I8,
    flags=U8, pad1=Array(U8, 2),
)
"""`version` is odd while the rest changes."""
ARCH_VCPU_INFO = Layout("arch_vcpu_info", cr2=ULONG, pad=ByWidth(Array(ULONG, 5), ULONG))
VCPU_INFO = Layout(
    "vcpu_info",
    evtchn_upcall_pending=U8, evtchn_upcall_mask=U8, evtchn_pending_sel=ULONG,
    arch=ARCH_VCPU_INFO, time=VCPU_TIME_INFO,
)
"""64 bytes in either width."""
ARCH_SHARED_INFO = Layout(
    "arch_shared_info",
    max_pfn=ULONG, pfn_to_mfn_frame_list_list=ULONG, nmi_reason=ULONG, p2m_cr3=ULONG, p2m_vaddr=ULONG,
    p2m_generation=ULONG, wc_sec_hi=ByWidth(U32, None),
)
SHARED_INFO = Layout(
    "shared_info",
    vcpu_info=Array(VCPU_INFO, XEN_LEGACY_MAX_VCPUS),
    evtchn_pending=ByWidth(Array(ULONG, 32), Array(ULONG, 64)),
    evtchn_mask=ByWidth(Array(ULONG, 32), Array(ULONG, 64)),
    wc_version=U32, wc_sec=U32, wc_nsec=U32, wc_sec_hi=ByWidth(None, U32),
    arch=ARCH_SHARED_INFO,
)
"""The high half of the wall clock's seconds is `wc_sec_hi` for 64-bit guests and `arch_wc_sec_hi` for 32-bit ones."""

MAX_GUEST_CMDLINE = 1024
SIF_PRIVILEGED = 1
SIF_INITDOMAIN = 2
SIF_MULTIBOOT_MOD = 4
SIF_MOD_START_PFN = 8
SIF_VIRT_P2M_4TOOLS = 16
SIF_PM_MASK = 0xFF00
START_INFO = Layout(
    "start_info",
    magic=Array(U8, 32), nr_pages=ULONG, shared_info=ULONG, flags=U32, store_mfn=ULONG, store_evtchn=U32,
    console=Union(domU=Layout("", mfn=ULONG, evtchn=U32), dom0=Layout("", info_off=U32, info_size=U32)),
    pt_base=ULONG, nr_pt_frames=ULONG, mfn_list=ULONG, mod_start=ULONG, mod_len=ULONG,
    cmd_line=Array(U8, MAX_GUEST_CMDLINE), first_p2m_pfn=ULONG, nr_p2m_frames=ULONG,
)
"""What a PV guest finds at the address in ESI or RSI."""
MULTIBOOT_MOD_LIST = Layout("xen_multiboot_mod_list", mod_start=U32, mod_end=U32, cmdline=U32, pad=U32)

