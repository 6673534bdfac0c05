"""memory_op: sub-operations and their arguments (memory.h), and the entries of XENMEM_memory_map."""

from enum import IntEnum

from abi.layout import POINTER, U16, U32, U64, ULONG, Layout, Scalar, Union
from abi.naming import c_prefix
from abi.physdev import PHYSDEV_PCI_DEVICE


@c_prefix("XENMEM_")
class MemoryOp(IntEnum):
    """The low six bits of the command; the rest is where a preempted call goes on."""

    increase_reservation = 0
    decrease_reservation = 1
    maximum_ram_page = 2
    current_reservation = 3
    maximum_reservation = 4
    machphys_mfn_list = 5
    populate_physmap = 6
    add_to_physmap = 7
    memory_map = 9
    machine_memory_map = 10
    exchange = 11
    machphys_mapping = 12
    set_memory_map = 13
    maximum_gpfn = 14
    remove_from_physmap = 15
    set_pod_target = 16
    get_pod_target = 17
    get_sharing_freed_pages = 18
    get_sharing_shared_pages = 19
    paging_op = 20
    access_op = 21
    sharing_op = 22
    add_to_physmap_batch = 23
    claim_pages = 24
    machphys_compat_mfn_list = 25
    get_vnumainfo = 26
    reserved_device_memory_map = 27
    acquire_resource = 28


@c_prefix("XENMAPSPACE_")
class MapSpace(IntEnum):
    """What add_to_physmap puts into the caller's address space."""

    shared_info = 0
    grant_table = 1
    gmfn = 2
    gmfn_range = 3
    gmfn_foreign = 4
    dev_mmio = 5


@c_prefix("XENMEM_resource_")
class Resource(IntEnum):
    """What acquire_resource maps."""

    ioreq_server = 0
    grant_table = 1
    vmtrace_buf = 2


XENMEM_resource_grant_table_id_shared = 0
XENMEM_resource_grant_table_id_status = 1
XENMEM_resource_ioreq_server_frame_bufioreq = 0
XENMAPIDX_grant_table_status = 0x80000000
"""In `idx` of XENMAPSPACE_grant_table: a status frame instead of a frame of entries."""
XENMEM_RDM_ALL = 1
XENMEMF_populate_on_demand = 1 << 16
XENMEMF_exact_node_request = 1 << 17
XENMEMF_vnode = 1 << 18

MEMORY_RESERVATION = Layout(
    "xen_memory_reservation", extent_start=POINTER, nr_extents=ULONG, extent_order=U32, mem_flags=U32, domid=U16,
)
MEMORY_EXCHANGE = Layout("xen_memory_exchange", in_=MEMORY_RESERVATION, out=MEMORY_RESERVATION, nr_exchanged=ULONG)
MEMORY_DOMAIN = Layout("xen_memory_domain", domid=U16)
MACHPHYS_MFN_LIST = Layout("xen_machphys_mfn_list", max_extents=U32, extent_start=POINTER, nr_extents=U32)
MACHPHYS_MAPPING = Layout("xen_machphys_mapping", v_start=ULONG, v_end=ULONG, max_mfn=ULONG)
ADD_TO_PHYSMAP = Layout("xen_add_to_physmap", domid=U16, size=U16, space=U32, idx=ULONG, gpfn=ULONG)
ADD_TO_PHYSMAP_BATCH = Layout(
    "xen_add_to_physmap_batch",
    domid=U16, space=U16, size=U16, u=Union(foreign_domid=U16, res0=U16), idxs=POINTER, gpfns=POINTER, errs=POINTER,
)
REMOVE_FROM_PHYSMAP = Layout("xen_remove_from_physmap", domid=U16, gpfn=ULONG)
MEMORY_MAP = Layout("xen_memory_map", nr_entries=U32, buffer=POINTER)
FOREIGN_MEMORY_MAP = Layout("xen_foreign_memory_map", domid=U16, map=MEMORY_MAP)
POD_TARGET = Layout(
    "xen_pod_target", target_pages=U64, tot_pages=U64, pod_cache_pages=U64, pod_entries=U64, domid=U16,
)
RESERVED_DEVICE_MEMORY = Layout("xen_reserved_device_memory", start_pfn=ULONG, nr_pages=ULONG)
RESERVED_DEVICE_MEMORY_MAP = Layout(
    "xen_reserved_device_memory_map", flags=U32, nr_entries=U32, buffer=POINTER, dev=Union(pci=PHYSDEV_PCI_DEVICE),
)
MEM_ACQUIRE_RESOURCE = Layout(
    "xen_mem_acquire_resource", domid=U16, type=U16, id=U32, nr_frames=U32, pad=U32, frame=U64, frame_list=POINTER,
)
VMEMRANGE = Layout("xen_vmemrange", start=U64, end=U64, flags=U32, nid=U32)
VNUMA_TOPOLOGY_INFO = Layout(
    "xen_vnuma_topology_info",
    domid=U16, pad=U16, nr_vnodes=U32, nr_vcpus=U32, nr_vmemranges=U32,
    vdistance=Union(h=POINTER, pad=U64), vcpu_to_vnode=Union(h=POINTER, pad=U64), vmemrange=Union(h=POINTER, pad=U64),
)

_U64_PACKED = Scalar("Q", "Q", 8, 8, 4, 4)
E820ENTRY = Layout("e820entry", addr=_U64_PACKED, size=_U64_PACKED, type=U32)
"""20 bytes, as the PC's firmware has it; XENMEM_memory_map fills its buffer with these."""
E820_RAM = 1
E820_RESERVED = 2
E820_ACPI = 3
E820_NVS = 4
E820_UNUSABLE = 5
