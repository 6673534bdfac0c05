"""Hypercalls whose whole answer to every guest is an error, as in a Xen with the default options."""

from abi.errno import Errno, XenError
from hypervisor.call import Call
from hypervisor.host import Host
from hypervisor.tables import GuestKind
from hypervisor.unimplemented import not_implemented


def physdev_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """ENOSYS to PVH guests, which have no physical interrupts (hvm_physdev_op); for PV guests it is not there yet."""
    if hv.domains.kind[call.domid] == GuestKind.PVH:
        raise XenError(Errno.ENOSYS)
    not_implemented(hv, call, "physdev_op", cmd)


def xsm_op(hv: Host, call: Call, op: int) -> int:
    """ENOSYS: no security module is built in."""
    raise XenError(Errno.ENOSYS)


def argo_op(hv: Host, call: Call, *arguments: int) -> int:
    """EOPNOTSUPP: Argo is off unless the host's command line turns it on."""
    raise XenError(Errno.EOPNOTSUPP)


def xenpmu_op(hv: Host, call: Call, op: int, arg: int) -> int:
    """EOPNOTSUPP: the virtual PMU is off unless the host's command line turns it on."""
    raise XenError(Errno.EOPNOTSUPP)


def hypfs_op(hv: Host, call: Call, *arguments: int) -> int:
    """EPERM to guests; ENOSYS to the privileged, as in a Xen built without it."""
    raise XenError(Errno.ENOSYS if hv.domains.privileged[call.domid] else Errno.EPERM)
