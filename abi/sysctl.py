"""sysctl, as far as a domU can see it: what every argument begins with (sysctl.h)."""

from abi.layout import I32, U8, U32, U64_ALIGNED, Array, Layout, Union

XEN_SYSCTL_INTERFACE_VERSION = 0x15

SYSCTL_AVAILHEAP = Layout("xen_sysctl_availheap", min_bitwidth=U32, max_bitwidth=U32, node=I32, avail_bytes=U64_ALIGNED)
SYSCTL = Layout("xen_sysctl", cmd=U32, interface_version=U32, u=Union(availheap=SYSCTL_AVAILHEAP, pad=Array(U8, 128)))
"""One member is enough for the union's alignment."""
