"""hvm_op, the parameters of an HVM domain, and the state in which its vCPUs start.

From hvm/hvm_op.h, hvm/params.h and hvm/hvm_vcpu.h.
"""

from enum import IntEnum

from abi.layout import U8, U16, U32, U64, Array, Layout, Union
from abi.naming import c_prefix


@c_prefix("HVMOP_")
class HvmOp(IntEnum):
    set_param = 0
    get_param = 1
    flush_tlbs = 5
    pagetable_dying = 9
    get_time = 10
    xentrace = 11
    set_mem_access = 12
    get_mem_access = 13
    get_mem_type = 15
    set_evtchn_upcall_vector = 23
    guest_request_vm_event = 24
    altp2m = 25


@c_prefix("HVM_PARAM_")
class HvmParam(IntEnum):
    CALLBACK_IRQ = 0
    STORE_PFN = 1
    STORE_EVTCHN = 2
    PAE_ENABLED = 4
    IOREQ_PFN = 5
    BUFIOREQ_PFN = 6
    VIRIDIAN = 9
    TIMER_MODE = 10
    HPET_ENABLED = 11
    IDENT_PT = 12
    DM_DOMAIN = 13
    ACPI_S_STATE = 14
    VM86_TSS = 15
    VPT_ALIGN = 16
    CONSOLE_PFN = 17
    CONSOLE_EVTCHN = 18
    ACPI_IOPORTS_LOCATION = 19
    MEMORY_EVENT_CR0 = 20
    MEMORY_EVENT_CR3 = 21
    MEMORY_EVENT_CR4 = 22
    MEMORY_EVENT_INT3 = 23
    NESTEDHVM = 24
    MEMORY_EVENT_SINGLE_STEP = 25
    BUFIOREQ_EVTCHN = 26
    PAGING_RING_PFN = 27
    MONITOR_RING_PFN = 28
    SHARING_RING_PFN = 29
    MEMORY_EVENT_MSR = 30
    TRIPLE_FAULT_REASON = 31
    IOREQ_SERVER_PFN = 32
    NR_IOREQ_SERVER_PAGES = 33
    VM_GENERATION_ID_ADDR = 34
    ALTP2M = 35
    X87_FIP_WIDTH = 36
    VM86_TSS_SIZED = 37
    MCA_CAP = 38


HVM_NR_PARAMS = 39
HVM_PARAM_CALLBACK_IRQ_TYPE_MASK = 0xFF00000000000000


@c_prefix("HVM_PARAM_CALLBACK_TYPE_")
class CallbackVia(IntEnum):
    """The top byte of HVM_PARAM_CALLBACK_IRQ: how an event reaches the guest."""

    GSI = 0
    PCI_INTX = 1
    VECTOR = 2


@c_prefix("HVMPTM_")
class TimerMode(IntEnum):
    """Values of HVM_PARAM_TIMER_MODE."""

    delay_for_missed_ticks = 0
    no_delay_for_missed_ticks = 1
    no_missed_ticks_pending = 2
    one_missed_tick_pending = 3


@c_prefix("HVMMEM_")
class MemType(IntEnum):
    """What HVMOP_get_mem_type says of a frame."""

    ram_rw = 0
    ram_ro = 1
    mmio_dm = 2
    unused = 3
    ioreq_server = 4


@c_prefix("XEN_ALTP2M_")
class Altp2mMode(IntEnum):
    """Values of HVM_PARAM_ALTP2M."""

    disabled = 0
    mixed = 1
    external = 2
    limited = 3


XEN_HVM_MCA_CAP_LMCE = 1
XEN_HVM_MCA_CAP_MASK = 1

HVM_PARAM = Layout("xen_hvm_param", domid=U16, pad=U16, index=U32, value=U64)
HVM_PAGETABLE_DYING = Layout("xen_hvm_pagetable_dying", domid=U16, pad=Array(U16, 3), gpa=U64)
HVM_GET_TIME = Layout("xen_hvm_get_time", now=U64)
HVM_XENTRACE = Layout("xen_hvm_xentrace", event=U16, extra_bytes=U16, extra=Array(U8, 28))
HVM_GET_MEM_TYPE = Layout("xen_hvm_get_mem_type", domid=U16, mem_type=U16, pad=Array(U16, 2), pfn=U64)
HVM_EVTCHN_UPCALL_VECTOR = Layout("xen_hvm_evtchn_upcall_vector", vcpu=U32, vector=U8)

VCPU_HVM_MODE_32B = 0
VCPU_HVM_MODE_64B = 1
VCPU_HVM_X86_32 = Layout(
    "vcpu_hvm_x86_32",
    eax=U32, ecx=U32, edx=U32, ebx=U32, esp=U32, ebp=U32, esi=U32, edi=U32, eip=U32, eflags=U32,
    cr0=U32, cr3=U32, cr4=U32, pad1=U32, efer=U64,
    cs_base=U32, ds_base=U32, ss_base=U32, es_base=U32, tr_base=U32,
    cs_limit=U32, ds_limit=U32, ss_limit=U32, es_limit=U32, tr_limit=U32,
    cs_ar=U16, ds_ar=U16, ss_ar=U16, es_ar=U16, tr_ar=U16, pad2=Array(U16, 3),
)
"""The `_ar` words are a descriptor's attribute bits: type, S, DPL, P, then AVL, L, DB, G."""
VCPU_HVM_X86_64 = Layout(
    "vcpu_hvm_x86_64",
    rax=U64, rcx=U64, rdx=U64, rbx=U64, rsp=U64, rbp=U64, rsi=U64, rdi=U64, rip=U64, rflags=U64,
    cr0=U64, cr3=U64, cr4=U64, efer=U64,
)
VCPU_HVM_CONTEXT = Layout(
    "vcpu_hvm_context", mode=U32, pad=U32, cpu_regs=Union(x86_32=VCPU_HVM_X86_32, x86_64=VCPU_HVM_X86_64),
)
"""The argument of VCPUOP_initialise from HVM guests, the same in either width."""
