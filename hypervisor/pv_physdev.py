"""physdev_op of PV guests (physdev.h): I/O privilege alone, for there are no devices to pass through."""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.physdev import PHYSDEV_SET_IOBITMAP, PHYSDEV_SET_IOPL, PhysdevOp
from hypervisor.call import Call
from hypervisor.guest_access import guest_handle_okay
from hypervisor.pv_tables import PvVcpuTable
from hypervisor.tables import DomainTable
from hypervisor.unimplemented import Unimplemented, not_implemented

MOST_PORTS = 65536


class Host(Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def pv_vcpus(self) -> PvVcpuTable: ...
    @property
    def unimplemented(self) -> Unimplemented: ...


def pv_physdev_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """EINVAL for an IOPL beyond 3, or a bitmap that is too long or in Xen's place; EFAULT; ENOSYS for the rest."""
    command, table, row = cmd & 0xFFFFFFFF, hv.pv_vcpus, call.vcpu
    if command == PhysdevOp.set_iopl:
        iopl, = PHYSDEV_SET_IOPL.at(call.width).unpack(call.memory.read(arg, PHYSDEV_SET_IOPL.at(call.width).size))
        if iopl > 3:
            raise XenError(Errno.EINVAL)
        table.iopl[row] = iopl
        return 0
    if command == PhysdevOp.set_iobitmap:
        shape = PHYSDEV_SET_IOBITMAP.at(call.width)
        bitmap, ports = shape.unpack(call.memory.read(arg, shape.size))
        if not guest_handle_okay(hv.domains, call, bitmap, (ports + 7) // 8) or ports > MOST_PORTS:
            raise XenError(Errno.EINVAL)
        table.iobmp[row], table.iobmp_limit[row] = bitmap, ports
        return 0
    return not_implemented(hv, call, "physdev_op", command)
