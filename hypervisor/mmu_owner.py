"""Whose tables and whose frames an MMU hypercall is about (get_pg_owner of xen/arch/x86/mm.c, xsm_mmu_update)."""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.types import Domid
from abi.xen import DOMID_IO, DOMID_SELF, DOMID_XEN
from hypervisor.call import Call
from hypervisor.pv import PvMemory
from hypervisor.tables import DomainState, DomainTable
from hypervisor.unimplemented import Unimplemented

PREEMPTED = 1 << 31
"""In `count`: the call is the rest of one that was not finished (MMU_UPDATE_PREEMPTED)."""


class Host(Protocol):
    """What the MMU hypercalls need of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def pv(self) -> PvMemory: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def domain(hv: Host, domid: int) -> Domid:
    """The domain with this number.  Raises XenError(ESRCH)."""
    if domid >= hv.domains.rows or hv.domains.state[domid] in (DomainState.FREE, DomainState.DEAD):
        raise XenError(Errno.ESRCH)
    return Domid(domid)


def page_owner(hv: Host, call: Call, domid: int) -> Domid:
    """Whose frames `domid` names.  Raises XenError(ESRCH), also for the caller's own number."""
    if domid == DOMID_SELF:
        return call.domid
    if domid == call.domid:
        raise XenError(Errno.ESRCH)
    return Domid(domid) if domid in (DOMID_IO, DOMID_XEN) else domain(hv, domid)


def check_target(hv: Host, call: Call, owner: int) -> None:
    """The caller may map frames of `owner`.  Raises XenError(EPERM)."""
    if owner not in (call.domid, DOMID_IO) and not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)


def count_done(call: Call, pdone: int, count: int, done: int) -> None:
    """Say in the guest's memory how many requests were done; a resumed call adds to what it finds there."""
    if pdone:
        try:
            if count & PREEMPTED:
                done += int.from_bytes(call.memory.read(pdone, 4), "little")
            call.memory.write(pdone, (done & 0xFFFFFFFF).to_bytes(4, "little"))
        except XenError:
            pass  # Xen does not look, either
