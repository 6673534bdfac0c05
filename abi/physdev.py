"""physdev_op: sub-operations and their arguments (physdev.h)."""

from enum import IntEnum

from abi.layout import I32, POINTER, U8, U16, U32, U64, ULONG, Array, Layout, Union
from abi.naming import c_prefix


@c_prefix("PHYSDEVOP_")
class PhysdevOp(IntEnum):
    IRQ_UNMASK_NOTIFY = 4
    irq_status_query = 5
    set_iopl = 6
    set_iobitmap = 7
    apic_read = 8
    apic_write = 9
    alloc_irq_vector = 10
    free_irq_vector = 11
    eoi = 12
    map_pirq = 13
    unmap_pirq = 14
    manage_pci_add = 15
    manage_pci_remove = 16
    pirq_eoi_gmfn_v1 = 17
    restore_msi = 19
    manage_pci_add_ext = 20
    setup_gsi = 21
    get_free_pirq = 23
    pci_mmcfg_reserved = 24
    pci_device_add = 25
    pci_device_remove = 26
    restore_msi_ext = 27
    pirq_eoi_gmfn_v2 = 28
    dbgp_op = 29
    prepare_msix = 30
    release_msix = 31


@c_prefix("MAP_PIRQ_TYPE_")
class MapPirqType(IntEnum):
    MSI = 0
    GSI = 1
    UNKNOWN = 2
    MSI_SEG = 3
    MULTI_MSI = 4


XENIRQSTAT_needs_eoi = 1
XENIRQSTAT_shared = 2
XEN_PCI_MMCFG_RESERVED = 1
XEN_PCI_DEV_EXTFN = 1
XEN_PCI_DEV_VIRTFN = 2
XEN_PCI_DEV_PXM = 4
PHYSDEVOP_DBGP_RESET_PREPARE = 1
PHYSDEVOP_DBGP_RESET_DONE = 2
PHYSDEVOP_DBGP_BUS_UNKNOWN = 0
PHYSDEVOP_DBGP_BUS_PCI = 1

_PCI_FUNCTION = Layout("", bus=U8, devfn=U8)

PHYSDEV_EOI = Layout("physdev_eoi", irq=U32)
PHYSDEV_PIRQ_EOI_GMFN = Layout("physdev_pirq_eoi_gmfn", gmfn=ULONG)
PHYSDEV_IRQ_STATUS_QUERY = Layout("physdev_irq_status_query", irq=U32, flags=U32)
PHYSDEV_SET_IOPL = Layout("physdev_set_iopl", iopl=U32)
PHYSDEV_SET_IOBITMAP = Layout("physdev_set_iobitmap", bitmap=POINTER, nr_ports=U32)
PHYSDEV_APIC = Layout("physdev_apic", apic_physbase=ULONG, reg=U32, value=U32)
PHYSDEV_IRQ = Layout("physdev_irq", irq=U32, vector=U32)
PHYSDEV_MAP_PIRQ = Layout(
    "physdev_map_pirq",
    domid=U16, type=I32, index=I32, pirq=I32, bus=I32, devfn=I32, entry_nr=I32, table_base=U64,
)
PHYSDEV_UNMAP_PIRQ = Layout("physdev_unmap_pirq", domid=U16, pirq=I32)
PHYSDEV_MANAGE_PCI = Layout("physdev_manage_pci", bus=U8, devfn=U8)
PHYSDEV_RESTORE_MSI = Layout("physdev_restore_msi", bus=U8, devfn=U8)
PHYSDEV_MANAGE_PCI_EXT = Layout(
    "physdev_manage_pci_ext", bus=U8, devfn=U8, is_extfn=U32, is_virtfn=U32, physfn=_PCI_FUNCTION,
)
PHYSDEV_OP = Layout(
    "physdev_op",
    cmd=U32,
    u=Union(
        irq_status_query=PHYSDEV_IRQ_STATUS_QUERY,
        set_iopl=PHYSDEV_SET_IOPL,
        set_iobitmap=PHYSDEV_SET_IOBITMAP,
        apic_op=PHYSDEV_APIC,
        irq_op=PHYSDEV_IRQ,
    ),
)
"""The argument of the old hypercall, physdev_op_compat."""
PHYSDEV_SETUP_GSI = Layout("physdev_setup_gsi", gsi=I32, triggering=U8, polarity=U8)
PHYSDEV_GET_FREE_PIRQ = Layout("physdev_get_free_pirq", type=I32, pirq=U32)
PHYSDEV_PCI_MMCFG_RESERVED = Layout(
    "physdev_pci_mmcfg_reserved", address=U64, segment=U16, start_bus=U8, end_bus=U8, flags=U32,
)
PHYSDEV_PCI_DEVICE_ADD = Layout(
    "physdev_pci_device_add", seg=U16, bus=U8, devfn=U8, flags=U32, physfn=_PCI_FUNCTION, optarr=Array(U32, 0),
)
PHYSDEV_PCI_DEVICE = Layout("physdev_pci_device", seg=U16, bus=U8, devfn=U8)
PHYSDEV_DBGP_OP = Layout("physdev_dbgp_op", op=U8, bus=U8, u=Union(pci=PHYSDEV_PCI_DEVICE))
