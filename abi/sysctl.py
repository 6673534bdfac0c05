"""sysctl, as far as a domU can see it: what every argument begins with (sysctl.h)."""

from abi.layout import U8, U32, Array, Layout, Union

XEN_SYSCTL_INTERFACE_VERSION = 0x15

SYSCTL = Layout("xen_sysctl", cmd=U32, interface_version=U32, u=Union(pad=Array(U8, 128)))
