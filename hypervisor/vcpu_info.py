"""VCPUOP_register_vcpu_info: the guest puts a vCPU's vcpu_info where it likes (Xen's map_vcpu_info)."""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Gfn, Mfn, VcpuRow
from abi.xen import VCPU_INFO
from grants.interfaces import P2mType
from hypervisor.call import Call
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainTable, VcpuTable
from state.arena import Arena

SIZE = VCPU_INFO.at(64).size
_UPCALL_MASK = VCPU_INFO.at(64).offset["evtchn_upcall_mask"]
_RAM = frozenset((P2mType.RAM_RW, P2mType.RAM_LOGDIRTY, P2mType.RAM_RO))


class Events(Protocol):
    def vcpu_info_moved(self, row: VcpuRow) -> None: ...


class Memory(Protocol):
    def lookup(self, domid: Domid, gfn: Gfn) -> "tuple[Mfn, P2mType]":
        """Raises XenError where there is no page."""

    def get_writable_page(self, mfn: Mfn, domid: Domid) -> bool:
        """Take a reference for writing; False where the frame is not `domid`'s, or must not be written."""

    def put_writable_page(self, mfn: Mfn) -> None:
        """Drop a reference."""


class Host(Protocol):
    """What this operation needs of the hypervisor."""

    @property
    def arena(self) -> Arena: ...
    @property
    def domains(self) -> DomainTable: ...
    @property
    def vcpus(self) -> VcpuTable: ...
    @property
    def sched(self) -> Scheduler: ...
    @property
    def events(self) -> Events: ...
    @property
    def memory(self) -> Memory: ...


def map_vcpu_info(hv: Host, call: Call, row: VcpuRow, gfn: int, offset: int) -> None:
    """Move the vcpu_info of `row`, with its content, to `offset` bytes into the guest's page `gfn`, for good.

    EINVAL where it would not fit or is not aligned, has been moved before, belongs to another vCPU that is up, or
    where no memory of the domain's own is.  Everything is marked as pending, so that no event is lost.
    """
    domid, vcpus = call.domid, hv.vcpus
    if offset > PAGE_SIZE - SIZE or offset % VCPU_INFO.at(hv.domains.width[domid]).align:
        raise XenError(Errno.EINVAL)
    if vcpus.info_registered[row]:
        raise XenError(Errno.EINVAL)
    old = vcpus.info[row]
    if row != call.vcpu and hv.sched.is_up(row):
        raise XenError(Errno.EINVAL)
    new = (_own_frame(hv, domid, Gfn(gfn)) << PAGE_SHIFT) + offset
    if old:
        hv.arena.write(new, hv.arena.read(old, SIZE))
    else:
        hv.arena.write(new, bytes(SIZE))
        hv.arena.u8[new + _UPCALL_MASK] = 1
    vcpus.info[row], vcpus.info_registered[row] = new, 1
    hv.events.vcpu_info_moved(row)


def release_vcpu_infos(hv: Host, domid: Domid) -> None:
    """A domain that does not run any more is destroyed: let the frames go that its vCPUs' infos were put in."""
    first, vcpus = hv.domains.vcpu_base[domid], hv.vcpus
    for row in range(first, first + hv.domains.vcpu_count[domid]):
        if vcpus.info_registered[row]:
            hv.memory.put_writable_page(Mfn(vcpus.info[row] >> PAGE_SHIFT))
        vcpus.info[row] = vcpus.info_registered[row] = 0


def _own_frame(hv: Host, domid: Domid, gfn: Gfn) -> Mfn:
    """The frame behind a page, with a reference that keeps it while the domain lives."""
    try:
        mfn, kind = hv.memory.lookup(domid, gfn)
    except XenError:
        raise XenError(Errno.EINVAL) from None
    if kind not in _RAM or not hv.memory.get_writable_page(mfn, domid):
        raise XenError(Errno.EINVAL)
    return mfn
