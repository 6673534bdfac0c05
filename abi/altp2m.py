"""HVMOP_altp2m: alternative guest-physical address spaces (hvm/hvm_op.h)."""

from enum import IntEnum

from abi.layout import I32, POINTER, U8, U16, U32, U64, Array, Layout, Union
from abi.naming import c_prefix

HVMOP_ALTP2M_INTERFACE_VERSION = 1


@c_prefix("HVMOP_altp2m_")
class Altp2mOp(IntEnum):
    get_domain_state = 1
    set_domain_state = 2
    vcpu_enable_notify = 3
    create_p2m = 4
    destroy_p2m = 5
    switch_p2m = 6
    set_mem_access = 7
    change_gfn = 8
    set_mem_access_multi = 9
    set_suppress_ve = 10
    get_suppress_ve = 11
    get_mem_access = 12
    vcpu_disable_notify = 13
    get_p2m_idx = 14
    set_suppress_ve_multi = 15
    set_visibility = 16


HVM_ALTP2M_DOMAIN_STATE = Layout("xen_hvm_altp2m_domain_state", state=U8)
HVM_ALTP2M_VCPU_ENABLE_NOTIFY = Layout("xen_hvm_altp2m_vcpu_enable_notify", vcpu_id=U32, pad=U32, gfn=U64)
HVM_ALTP2M_VCPU_DISABLE_NOTIFY = Layout("xen_hvm_altp2m_vcpu_disable_notify", vcpu_id=U32)
HVM_ALTP2M_VIEW = Layout("xen_hvm_altp2m_view", view=U16, hvmmem_default_access=U16)
HVM_ALTP2M_MEM_ACCESS = Layout("xen_hvm_altp2m_mem_access", view=U16, access=U16, pad=U32, gfn=U64)
HVM_ALTP2M_SET_MEM_ACCESS_MULTI = Layout(
    "xen_hvm_altp2m_set_mem_access_multi", view=U16, pad=U16, nr=U32, opaque=U64, pfn_list=POINTER, access_list=POINTER,
)
HVM_ALTP2M_CHANGE_GFN = Layout("xen_hvm_altp2m_change_gfn", view=U16, pad1=U16, pad2=U32, old_gfn=U64, new_gfn=U64)
HVM_ALTP2M_SUPPRESS_VE = Layout("xen_hvm_altp2m_suppress_ve", view=U16, suppress_ve=U8, pad1=U8, pad2=U32, gfn=U64)
HVM_ALTP2M_SUPPRESS_VE_MULTI = Layout(
    "xen_hvm_altp2m_suppress_ve_multi",
    view=U16, suppress_ve=U8, pad1=U8, first_error=I32, first_gfn=U64, last_gfn=U64, first_error_gfn=U64,
)
HVM_ALTP2M_GET_VCPU_P2M_IDX = Layout("xen_hvm_altp2m_get_vcpu_p2m_idx", vcpu_id=U32, altp2m_idx=U16)
HVM_ALTP2M_SET_VISIBILITY = Layout("xen_hvm_altp2m_set_visibility", altp2m_idx=U16, visible=U8, pad=U8)
HVM_ALTP2M_OP = Layout(
    "xen_hvm_altp2m_op",
    version=U32, cmd=U32, domain=U16, pad1=U16, pad2=U32,
    u=Union(
        domain_state=HVM_ALTP2M_DOMAIN_STATE,
        enable_notify=HVM_ALTP2M_VCPU_ENABLE_NOTIFY,
        view=HVM_ALTP2M_VIEW,
        mem_access=HVM_ALTP2M_MEM_ACCESS,
        change_gfn=HVM_ALTP2M_CHANGE_GFN,
        set_mem_access_multi=HVM_ALTP2M_SET_MEM_ACCESS_MULTI,
        suppress_ve=HVM_ALTP2M_SUPPRESS_VE,
        suppress_ve_multi=HVM_ALTP2M_SUPPRESS_VE_MULTI,
        disable_notify=HVM_ALTP2M_VCPU_DISABLE_NOTIFY,
        get_vcpu_p2m_idx=HVM_ALTP2M_GET_VCPU_P2M_IDX,
        set_visibility=HVM_ALTP2M_SET_VISIBILITY,
        pad=Array(U8, 64),
    ),
)
