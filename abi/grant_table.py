"""Grant tables, versions 1 and 2: entries, flags, sub-operations and their arguments (grant_table.h)."""

from enum import IntEnum

from abi.layout import I16, POINTER, U16, U32, U64, ULONG, Layout, Union
from abi.naming import c_prefix


@c_prefix("GNTTABOP_")
class GnttabOp(IntEnum):
    map_grant_ref = 0
    unmap_grant_ref = 1
    setup_table = 2
    dump_table = 3
    transfer = 4
    copy = 5
    query_size = 6
    unmap_and_replace = 7
    set_version = 8
    get_status_frames = 9
    get_version = 10
    swap_grant_ref = 11
    cache_flush = 12


@c_prefix("GNTST_")
class GrantStatus(IntEnum):
    """What an operation writes into its `status`."""

    okay = 0
    general_error = -1
    bad_domain = -2
    bad_gntref = -3
    bad_handle = -4
    bad_virt_addr = -5
    bad_dev_addr = -6
    no_device_space = -7
    permission_denied = -8
    bad_page = -9
    bad_copy_arg = -10
    address_too_big = -11
    eagain = -12
    no_space = -13


GNTTAB_NR_RESERVED_ENTRIES = 8
GNTTAB_RESERVED_CONSOLE = 0
GNTTAB_RESERVED_XENSTORE = 1

GTF_invalid = 0
GTF_permit_access = 1
GTF_accept_transfer = 2
GTF_transitive = 3
GTF_type_mask = 3
GTF_readonly = 1 << 2
GTF_reading = 1 << 3
GTF_writing = 1 << 4
GTF_PWT = 1 << 5
GTF_PCD = 1 << 6
GTF_PAT = 1 << 7
GTF_sub_page = 1 << 8
GTF_transfer_committed = 1 << 2
GTF_transfer_completed = 1 << 3

GNTMAP_device_map = 1 << 0
GNTMAP_host_map = 1 << 1
GNTMAP_readonly = 1 << 2
GNTMAP_application_map = 1 << 3
GNTMAP_contains_pte = 1 << 4
GNTMAP_guest_avail_mask = 0xFFFF0000

GNTCOPY_source_gref = 1 << 0
GNTCOPY_dest_gref = 1 << 1

GNTTAB_CACHE_CLEAN = 1 << 0
GNTTAB_CACHE_INVAL = 1 << 1
GNTTAB_CACHE_SOURCE_GREF = 1 << 31

GRANT_ENTRY_V1 = Layout("grant_entry_v1", flags=U16, domid=U16, frame=U32)
GRANT_ENTRY_HEADER = Layout("grant_entry_header", flags=U16, domid=U16)
GRANT_ENTRY_V2_FULL_PAGE = Layout("union grant_entry_v2.full_page", hdr=GRANT_ENTRY_HEADER, pad0=U32, frame=U64)
GRANT_ENTRY_V2_SUB_PAGE = Layout(
    "union grant_entry_v2.sub_page", hdr=GRANT_ENTRY_HEADER, page_off=U16, length=U16, frame=U64,
)
GRANT_ENTRY_V2_TRANSITIVE = Layout(
    "union grant_entry_v2.transitive", hdr=GRANT_ENTRY_HEADER, trans_domid=U16, pad0=U16, gref=U32,
)
GRANT_ENTRY_V2 = Layout("union grant_entry_v2", full_page=GRANT_ENTRY_V2_FULL_PAGE)
"""Any of the three; they are equally long."""
GRANT_STATUS_SIZE = 2
"""Bytes of one word in the status frames of version 2."""

GNTTAB_MAP_GRANT_REF = Layout(
    "gnttab_map_grant_ref", host_addr=U64, flags=U32, ref=U32, dom=U16, status=I16, handle=U32, dev_bus_addr=U64,
)
GNTTAB_UNMAP_GRANT_REF = Layout("gnttab_unmap_grant_ref", host_addr=U64, dev_bus_addr=U64, handle=U32, status=I16)
GNTTAB_SETUP_TABLE = Layout("gnttab_setup_table", dom=U16, nr_frames=U32, status=I16, frame_list=POINTER)
GNTTAB_DUMP_TABLE = Layout("gnttab_dump_table", dom=U16, status=I16)
GNTTAB_TRANSFER = Layout("gnttab_transfer", mfn=ULONG, domid=U16, ref=U32, status=I16)
GNTTAB_COPY_PTR = Layout("gnttab_copy_ptr", u=Union(ref=U32, gmfn=ULONG), domid=U16, offset=U16)
GNTTAB_COPY = Layout("gnttab_copy", source=GNTTAB_COPY_PTR, dest=GNTTAB_COPY_PTR, len=U16, flags=U16, status=I16)
GNTTAB_QUERY_SIZE = Layout("gnttab_query_size", dom=U16, nr_frames=U32, max_nr_frames=U32, status=I16)
GNTTAB_UNMAP_AND_REPLACE = Layout("gnttab_unmap_and_replace", host_addr=U64, new_addr=U64, handle=U32, status=I16)
GNTTAB_SET_VERSION = Layout("gnttab_set_version", version=U32)
GNTTAB_GET_STATUS_FRAMES = Layout("gnttab_get_status_frames", nr_frames=U32, dom=U16, status=I16, frame_list=POINTER)
GNTTAB_GET_VERSION = Layout("gnttab_get_version", dom=U16, pad=U16, version=U32)
GNTTAB_SWAP_GRANT_REF = Layout("gnttab_swap_grant_ref", ref_a=U32, ref_b=U32, status=I16)
GNTTAB_CACHE_FLUSH = Layout("gnttab_cache_flush", a=Union(dev_bus_addr=U64, ref=U32), offset=U16, length=U16, op=U32)
