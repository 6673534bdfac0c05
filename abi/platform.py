"""platform_op, as far as a domU can see it: what every argument begins with (platform.h)."""

from abi.layout import U8, U32, U64, Array, Layout, Union

XENPF_INTERFACE_VERSION = 0x03000001

XENPF_SETTIME64 = Layout("xenpf_settime64", secs=U64, nsecs=U32, mbz=U32, system_time=U64)
PLATFORM_OP = Layout(
    "xen_platform_op", cmd=U32, interface_version=U32, u=Union(settime64=XENPF_SETTIME64, pad=Array(U8, 128)))
"""One member is enough for the union's alignment."""
