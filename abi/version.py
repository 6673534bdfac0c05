"""xen_version: sub-operations and what they return (version.h).  Feature bits are in `abi.features`."""

from enum import IntEnum

from abi.layout import U8, U32, ULONG, Array, Layout
from abi.naming import c_prefix


@c_prefix("XENVER_")
class VersionOp(IntEnum):
    version = 0
    extraversion = 1
    compile_info = 2
    capabilities = 3
    changeset = 4
    platform_parameters = 5
    get_features = 6
    pagesize = 7
    guest_handle = 8
    commandline = 9
    build_id = 10


XEN_EXTRAVERSION_LEN = 16
XEN_CAPABILITIES_INFO_LEN = 1024
XEN_CHANGESET_INFO_LEN = 64
XEN_COMMANDLINE_LEN = 1024
XEN_DOMAIN_HANDLE_LEN = 16
"""The five above are sizes in bytes of the buffers that the guest gives."""

COMPILE_INFO = Layout(
    "xen_compile_info",
    compiler=Array(U8, 64), compile_by=Array(U8, 16), compile_domain=Array(U8, 32), compile_date=Array(U8, 32),
)
PLATFORM_PARAMETERS = Layout("xen_platform_parameters", virt_start=ULONG)
FEATURE_INFO = Layout("xen_feature_info", submap_idx=U32, submap=U32)
BUILD_ID = Layout("xen_build_id", len=U32, buf=Array(U8, 0))
"""`len` bytes follow."""
