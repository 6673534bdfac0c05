"""physdev_op of PV guests (physdev.h): I/O privilege, and what Xen says of interrupts to a domain that has no devices.

Checks and errors are those of Xen 4.17 (xen/arch/x86/physdev.c).
"""

from collections.abc import Callable
from typing import Protocol

from abi.errno import Errno, XenError
from abi.layout import Layout
from abi.physdev import (
    PHYSDEV_APIC,
    PHYSDEV_EOI,
    PHYSDEV_IRQ,
    PHYSDEV_IRQ_STATUS_QUERY,
    PHYSDEV_MANAGE_PCI,
    PHYSDEV_MANAGE_PCI_EXT,
    PHYSDEV_MAP_PIRQ,
    PHYSDEV_PCI_DEVICE,
    PHYSDEV_PCI_DEVICE_ADD,
    PHYSDEV_PCI_MMCFG_RESERVED,
    PHYSDEV_PIRQ_EOI_GMFN,
    PHYSDEV_RESTORE_MSI,
    PHYSDEV_SET_IOBITMAP,
    PHYSDEV_SET_IOPL,
    PHYSDEV_SETUP_GSI,
    PHYSDEV_UNMAP_PIRQ,
    PhysdevOp,
    XENIRQSTAT_needs_eoi,
)
from abi.types import Mfn
from hypervisor.call import Call
from hypervisor.guest_access import guest_handle_okay
from hypervisor.mmu_owner import domain, page_owner
from hypervisor.pv import PvMemory
from hypervisor.pv_tables import PageType, PvVcpuTable
from hypervisor.tables import DomainTable
from hypervisor.unimplemented import Unimplemented, not_implemented

MOST_PORTS = 65536
NR_GSIS = 24
"""Interrupts of the host that drivers of a hardware domain would see: one IO-APIC's."""
NR_PIRQS = NR_GSIS + 32
"""Interrupt numbers that a domU has, none of them with a device behind it (extra_domU_irqs)."""


class Host(Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def pv_vcpus(self) -> PvVcpuTable: ...
    @property
    def pv(self) -> PvMemory: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def pv_physdev_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """HYPERVISOR_physdev_op(cmd, arg).  EFAULT; the errors of each operation; ENOSYS for no such one."""
    command = cmd & 0xFFFFFFFF
    operation = _OPERATIONS.get(command)
    if operation is None:
        return not_implemented(hv, call, "physdev_op", command)
    operation(hv, call, arg)
    return 0


def _fields(call: Call, layout: Layout, arg: int) -> tuple[int, ...]:
    shape = layout.at(call.width)
    return shape.unpack(call.memory.read(arg, shape.size))


def _set_iopl(hv: Host, call: Call, arg: int) -> None:
    iopl, = _fields(call, PHYSDEV_SET_IOPL, arg)
    if iopl > 3:
        raise XenError(Errno.EINVAL)
    hv.pv_vcpus.iopl[call.vcpu] = iopl


def _set_iobitmap(hv: Host, call: Call, arg: int) -> None:
    bitmap, ports = _fields(call, PHYSDEV_SET_IOBITMAP, arg)
    if not guest_handle_okay(hv.domains, call, bitmap, (ports + 7) // 8) or ports > MOST_PORTS:
        raise XenError(Errno.EINVAL)
    hv.pv_vcpus.iobmp[call.vcpu], hv.pv_vcpus.iobmp_limit[call.vcpu] = bitmap, ports


def _irq_unmask_notify(hv: Host, call: Call, arg: int) -> None:
    """Every interrupt whose channel is not masked goes on: there is none."""


def _irq_status_query(hv: Host, call: Call, arg: int) -> None:
    irq, _ = _fields(call, PHYSDEV_IRQ_STATUS_QUERY, arg)
    if irq >= NR_PIRQS:
        raise XenError(Errno.EINVAL)
    # Xen asks for it of every interrupt, which may be masked for a time.
    call.memory.write(arg, PHYSDEV_IRQ_STATUS_QUERY.at(call.width).pack(irq, XENIRQSTAT_needs_eoi))


def _alloc_irq_vector(hv: Host, call: Call, arg: int) -> None:
    irq, _ = _fields(call, PHYSDEV_IRQ, arg)
    if irq >= NR_PIRQS:
        raise XenError(Errno.EINVAL)
    call.memory.write(arg, PHYSDEV_IRQ.at(call.width).pack(irq, irq))  # vectors are Xen's own affair


def _eoi(hv: Host, call: Call, arg: int) -> None:
    _fields(call, PHYSDEV_EOI, arg)
    raise XenError(Errno.EINVAL)  # no interrupt is bound


def _pirq_eoi_gmfn(hv: Host, call: Call, arg: int) -> None:
    """A page in which Xen would mark the interrupts that need an EOI: it stays as it is."""
    mfn, = _fields(call, PHYSDEV_PIRQ_EOI_GMFN, arg)
    table = hv.pv.domain_table.pirq_eoi
    if not hv.pv.types.frames.valid(mfn) or hv.pv.types.frames.owner(Mfn(mfn)) != call.domid:
        raise XenError(Errno.EINVAL)
    hv.pv.types.get(mfn, PageType.WRITABLE, call.domid)
    if table[call.domid]:
        hv.pv.types.put(mfn)
        raise XenError(Errno.EBUSY)
    table[call.domid] = mfn


def _map_pirq(hv: Host, call: Call, arg: int) -> None:
    _of_a_domain(hv, call, _fields(call, PHYSDEV_MAP_PIRQ, arg)[0])


def _unmap_pirq(hv: Host, call: Call, arg: int) -> None:
    _of_a_domain(hv, call, _fields(call, PHYSDEV_UNMAP_PIRQ, arg)[0])


def _of_a_domain(hv: Host, call: Call, domid: int) -> None:
    """Only who manages a domain may give it interrupts, which nobody has."""
    if domid != call.domid:
        domain(hv, page_owner(hv, call, domid))
    _privileged(hv, call, "map_pirq")


def _setup_gsi(hv: Host, call: Call, arg: int) -> None:
    gsi, *_ = _fields(call, PHYSDEV_SETUP_GSI, arg)
    if not 0 <= gsi < NR_GSIS:
        raise XenError(Errno.EINVAL)
    _privileged(hv, call, "setup_gsi")


def _for_the_privileged(name: str, layout: Layout | None) -> Callable[[Host, Call, int], None]:
    """An operation of the hardware domain's, which has this argument."""

    def operation(hv: Host, call: Call, arg: int) -> None:
        if layout is not None:
            call.memory.read(arg, layout.at(call.width).size)
        _privileged(hv, call, name)

    return operation


def _privileged(hv: Host, call: Call, name: str) -> None:
    if not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    not_implemented(hv, call, "physdev_op", name)


_OPERATIONS: dict[int, Callable[[Host, Call, int], None]] = {
    PhysdevOp.set_iopl: _set_iopl,
    PhysdevOp.set_iobitmap: _set_iobitmap,
    PhysdevOp.IRQ_UNMASK_NOTIFY: _irq_unmask_notify,
    PhysdevOp.irq_status_query: _irq_status_query,
    PhysdevOp.alloc_irq_vector: _alloc_irq_vector,
    PhysdevOp.eoi: _eoi,
    PhysdevOp.pirq_eoi_gmfn_v1: _pirq_eoi_gmfn,
    PhysdevOp.pirq_eoi_gmfn_v2: _pirq_eoi_gmfn,
    PhysdevOp.map_pirq: _map_pirq,
    PhysdevOp.unmap_pirq: _unmap_pirq,
    PhysdevOp.setup_gsi: _setup_gsi,
    **{operation: _for_the_privileged(operation.name, layout) for operation, layout in {
        PhysdevOp.apic_read: PHYSDEV_APIC, PhysdevOp.apic_write: PHYSDEV_APIC,
        PhysdevOp.manage_pci_add: PHYSDEV_MANAGE_PCI, PhysdevOp.manage_pci_remove: PHYSDEV_MANAGE_PCI,
        PhysdevOp.manage_pci_add_ext: PHYSDEV_MANAGE_PCI_EXT, PhysdevOp.restore_msi: PHYSDEV_RESTORE_MSI,
        PhysdevOp.pci_mmcfg_reserved: PHYSDEV_PCI_MMCFG_RESERVED, PhysdevOp.pci_device_add: PHYSDEV_PCI_DEVICE_ADD,
        PhysdevOp.pci_device_remove: PHYSDEV_PCI_DEVICE, PhysdevOp.restore_msi_ext: PHYSDEV_PCI_DEVICE,
        PhysdevOp.prepare_msix: PHYSDEV_PCI_DEVICE, PhysdevOp.release_msix: PHYSDEV_PCI_DEVICE,
        PhysdevOp.dbgp_op: None}.items()},
}
"""Not here: free_irq_vector, which Xen has no more, and get_free_pirq, for drivers of passed-through devices."""
