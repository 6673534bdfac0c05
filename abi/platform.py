"""platform_op, as far as a domU can see it: what every argument begins with (platform.h)."""

from abi.layout import U8, U32, Array, Layout, Union

XENPF_INTERFACE_VERSION = 0x03000001

PLATFORM_OP = Layout("xen_platform_op", cmd=U32, interface_version=U32, u=Union(pad=Array(U8, 128)))
