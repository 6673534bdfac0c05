"""The part of domctl that tells what a domain is, for the tools' side (domctl.h).  No domU may use it."""

from enum import IntEnum

from abi.layout import U8, U16, U32, U64_ALIGNED, Array, Layout, Union
from abi.naming import c_prefix
from abi.x86 import ARCH_DOMAINCONFIG

XEN_DOMCTL_INTERFACE_VERSION = 0x15


@c_prefix("XEN_DOMCTL_")
class DomctlOp(IntEnum):
    createdomain = 1
    destroydomain = 2
    pausedomain = 3
    unpausedomain = 4
    getdomaininfo = 5
    max_mem = 11
    max_vcpus = 15


XEN_DOMINF_dying = 1 << 0
XEN_DOMINF_hvm_guest = 1 << 1
XEN_DOMINF_shutdown = 1 << 2
XEN_DOMINF_paused = 1 << 3
XEN_DOMINF_blocked = 1 << 4
XEN_DOMINF_running = 1 << 5
XEN_DOMINF_debugged = 1 << 6
XEN_DOMINF_xs_domain = 1 << 7
XEN_DOMINF_hap = 1 << 8
XEN_DOMINF_shutdownmask = 255
XEN_DOMINF_shutdownshift = 16
"""Where ShutdownReason stands in the flags of a domain that has shut down."""

DOMCTL_GETDOMAININFO = Layout(
    "xen_domctl_getdomaininfo",
    domain=U16, pad1=U16, flags=U32, tot_pages=U64_ALIGNED, max_pages=U64_ALIGNED, outstanding_pages=U64_ALIGNED,
    shr_pages=U64_ALIGNED, paged_pages=U64_ALIGNED, shared_info_frame=U64_ALIGNED, cpu_time=U64_ALIGNED,
    nr_online_vcpus=U32, max_vcpu_id=U32, ssidref=U32, handle=Array(U8, 16), cpupool=U32, gpaddr_bits=U8,
    pad2=Array(U8, 7), arch_config=ARCH_DOMAINCONFIG,
)
"""`cpu_time` is in nanoseconds."""
DOMCTL = Layout(
    "xen_domctl",
    cmd=U32, interface_version=U32, domain=U16, _pad=Array(U16, 3),
    u=Union(getdomaininfo=DOMCTL_GETDOMAININFO, pad=Array(U8, 128)),
)
