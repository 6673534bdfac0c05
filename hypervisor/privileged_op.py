"""Hypercalls that are the toolstack's or the hardware domain's, as a domU meets them: what is checked first.

Every one of them ends with -EPERM for a domU; what an argument can change is which error comes first.  The privileged
would be let in, and there is nothing behind the door: it is -ENOSYS, and said.
"""

from typing import Protocol

from abi.dm_op import DM_OP_BUF
from abi.domctl import DOMCTL, XEN_DOMCTL_INTERFACE_VERSION
from abi.errno import Errno, XenError
from abi.layout import Layout
from abi.platform import PLATFORM_OP, XENPF_INTERFACE_VERSION
from abi.sysctl import SYSCTL, XEN_SYSCTL_INTERFACE_VERSION
from abi.types import Domid
from hypervisor.call import Call
from hypervisor.tables import DomainState, DomainTable, GuestKind
from hypervisor.unimplemented import Unimplemented, not_implemented

_MOST_BUFFERS = 2
"""Of dm_op, as many as any of its operations has."""
_CREATE = 1
"""XEN_DOMCTL_createdomain, which names no domain that is there."""
_SHADOW = 10
"""XEN_DOMCTL_shadow_op, the only one that Xen goes on with by paging_domctl_cont."""
_NO_DOMAIN = 0x7FF4


class Host(Protocol):
    """What these hypercalls need of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def platform_op(hv: Host, call: Call, arg: int) -> int:
    """EFAULT; EACCES for another version of the interface; EPERM."""
    command = _checked(call, PLATFORM_OP, arg, XENPF_INTERFACE_VERSION)
    return _refuse(hv, call, "platform_op", command)


def sysctl(hv: Host, call: Call, arg: int) -> int:
    """As `platform_op`."""
    return _refuse(hv, call, "sysctl", _checked(call, SYSCTL, arg, XEN_SYSCTL_INTERFACE_VERSION))


def domctl(hv: Host, call: Call, arg: int) -> int:
    """As `platform_op`, and ESRCH before EPERM where the domain is not there."""
    command = _checked(call, DOMCTL, arg, XEN_DOMCTL_INTERFACE_VERSION)
    domid = _domid(call, arg)
    if command != _CREATE and domid != _NO_DOMAIN:
        _domain(hv, domid)
    return _refuse(hv, call, "domctl", command)


def paging_domctl_cont(hv: Host, call: Call, arg: int) -> int:
    """EFAULT; EINVAL for what is not Xen's own continuation of a domctl; ESRCH; EPERM."""
    data = call.memory.read(arg, DOMCTL.at(call.width).size)
    command, version = (int.from_bytes(data[at:at + 4], "little") for at in (0, 4))
    if version != XEN_DOMCTL_INTERFACE_VERSION or command != _SHADOW:
        raise XenError(Errno.EINVAL)
    _domain(hv, _domid(call, arg))
    return _refuse(hv, call, "paging_domctl_cont", command)


def dm_op(hv: Host, call: Call, domid: int, number: int, buffers: int) -> int:
    """E2BIG, EFAULT; ESRCH; EPERM for the caller's own domain; EINVAL where that is no HVM guest; EPERM."""
    number &= 0xFFFFFFFF
    if number > _MOST_BUFFERS:
        raise XenError(Errno.E2BIG)
    if number:
        call.memory.read(buffers, number * DM_OP_BUF.at(call.width).size)
    target = _domain(hv, domid & 0xFFFF)
    if target == call.domid:
        raise XenError(Errno.EPERM)
    if hv.domains.kind[target] != GuestKind.PVH:
        raise XenError(Errno.EINVAL)
    return _refuse(hv, call, "dm_op", number)


def kexec_op(hv: Host, call: Call, op: int, arg: int) -> int:
    """EPERM, whatever it is."""
    return _refuse(hv, call, "kexec_op", op)


def mca(hv: Host, call: Call, arg: int) -> int:
    """EPERM, whatever it is."""
    return _refuse(hv, call, "mca", "any")


def _checked(call: Call, layout: Layout, arg: int, version: int) -> int:
    """The command of an argument that begins with it and with the version of its interface."""
    data = call.memory.read(arg, layout.at(call.width).size)
    if int.from_bytes(data[4:8], "little") != version:
        raise XenError(Errno.EACCES)
    return int.from_bytes(data[:4], "little")


def _domid(call: Call, arg: int) -> int:
    return int.from_bytes(call.memory.read(arg + DOMCTL.at(call.width).offset["domain"], 2), "little")


def _domain(hv: Host, domid: int) -> Domid:
    if domid >= hv.domains.rows or hv.domains.state[domid] in (DomainState.FREE, DomainState.DEAD):
        raise XenError(Errno.ESRCH)
    return Domid(domid)


def _refuse(hv: Host, call: Call, name: str, operation: int | str) -> int:
    if not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    return not_implemented(hv, call, name, operation)
