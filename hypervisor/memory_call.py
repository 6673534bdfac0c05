"""What the handlers of memory_op share: the host as they see it, and whose memory a caller may touch."""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.layout import Layout
from abi.types import Domid, Mfn
from abi.xen import DOMID_SELF
from hypervisor.call import Call
from hypervisor.memory import Memory
from hypervisor.tables import DomainState, DomainTable
from hypervisor.unimplemented import Unimplemented

EXTENT_SHIFT = 6
"""A command's low bits are the operation, the rest says where a continued call goes on (MEMOP_EXTENT_SHIFT)."""
CMD_MASK = (1 << EXTENT_SHIFT) - 1
SHARE = 512
"""Pages that one call changes before it lets others run and goes on later."""


class GrantFrames(Protocol):
    def shared_frame(self, domid: Domid, index: int) -> Mfn:
        """Frame `index` of a domain's grant table, which grows to have it.  Raises XenError."""


class MemoryHost(Protocol):
    @property
    def domains(self) -> DomainTable: ...
    @property
    def memory(self) -> Memory: ...
    @property
    def grants(self) -> GrantFrames: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def copied_in(call: Call, layout: Layout, arg: int) -> tuple[int, ...]:
    """The fields of the structure at `arg`, in the caller's layout.  Raises XenError(EFAULT)."""
    shape = layout.at(call.width)
    return shape.unpack(call.memory.read(arg, shape.size))


def domain_by_any_id(hv: MemoryHost, call: Call, domid: int) -> Domid:
    """The domain that `domid` names; DOMID_SELF is the caller.  Raises XenError(ESRCH)."""
    return call.domid if domid == DOMID_SELF else domain_by_id(hv, domid)


def domain_by_id(hv: MemoryHost, domid: int) -> Domid:
    """The domain with this number.  Raises XenError(ESRCH)."""
    if domid >= hv.domains.rows or hv.domains.state[domid] in (DomainState.FREE, DomainState.DEAD):
        raise XenError(Errno.ESRCH)
    return Domid(domid)


def check_target(hv: MemoryHost, call: Call, domid: Domid) -> None:
    """The caller acts on itself or is privileged (XSM_TARGET).  Raises XenError(EPERM)."""
    if domid != call.domid and not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)


def check_privileged(hv: MemoryHost, call: Call) -> None:
    """The caller is privileged (XSM_PRIV).  Raises XenError(EPERM)."""
    if not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)


def target_of(hv: MemoryHost, call: Call, domid: int) -> Domid:
    """The domain that `domid` names, which the caller may act on.  Raises XenError: ESRCH, EPERM."""
    found = domain_by_any_id(hv, call, domid)
    check_target(hv, call, found)
    return found


def refuse_restart(start: int) -> None:
    """For operations that are never continued.  Raises XenError(EINVAL) where the command says one is."""
    if start:
        raise XenError(Errno.EINVAL)
