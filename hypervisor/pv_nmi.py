"""Non-maskable interrupts of PV guests: their handler (nmi_op, callback_op), and who sends them (VCPUOP_send_nmi).

An NMI is delivered before any event, whatever the upcall mask says, and the next one not before the iret hypercall: a
return by the processor's own IRET does not count (process_nmi and async_exception_cleanup of x86_64/entry.S).
"""

from typing import Protocol

from abi.errno import Errno, XenError
from abi.nmi import XENNMI_CALLBACK, NmiOp
from abi.types import VcpuRow
from abi.x86_32 import FLAT_KERNEL_CS as FLAT_KERNEL_CS32
from abi.x86_64 import FLAT_KERNEL_CS64
from hypervisor.call import Call
from hypervisor.pv_tables import TRAPS, PvVcpuTable, TrapTable
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainTable

VECTOR = 2
MASKS_EVENTS = 4
PENDING, IN_HANDLER = 1, 2
"""In `PvVcpuTable.nmi`."""
_CANONICAL = (0, 0x1FFFF)


class Host(Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def traps(self) -> TrapTable: ...


def nmi_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """EFAULT; EINVAL for an address that is not canonical; ENOSYS for no such command."""
    command = cmd & 0xFFFFFFFF
    if command == NmiOp.register_callback:
        shape = XENNMI_CALLBACK.at(call.width)
        register_nmi(hv, call, shape.unpack(call.memory.read(arg, shape.size))[0])
    elif command == NmiOp.unregister_callback:
        unregister_nmi(hv, call)
    else:
        raise XenError(Errno.ENOSYS)
    return 0


def register_nmi(hv: Host, call: Call, address: int) -> None:
    """The calling vCPU's NMIs go to `address` in the kernel's flat segment.  Raises XenError(EINVAL)."""
    if call.width == 64 and address >> 47 not in _CANONICAL:
        raise XenError(Errno.EINVAL)
    table, at = hv.traps, call.vcpu * TRAPS + VECTOR
    table.cs[at] = FLAT_KERNEL_CS64 if hv.domains.width[call.domid] == 64 else FLAT_KERNEL_CS32
    table.flags[at], table.address[at] = MASKS_EVENTS, address


def unregister_nmi(hv: Host, call: Call) -> None:
    """The calling vCPU has no handler any more; an NMI waits until there is one."""
    table, at = hv.traps, call.vcpu * TRAPS + VECTOR
    table.cs[at] = table.flags[at] = table.address[at] = 0


def send_nmi(table: PvVcpuTable, sched: Scheduler, row: VcpuRow) -> None:
    """Make an NMI pending for a vCPU, which takes it when it runs next; one that is pending takes in the others."""
    if table.nmi[row] & PENDING:
        return
    table.nmi[row] |= PENDING
    _notice(sched, row)


def handled(table: PvVcpuTable, sched: Scheduler, row: VcpuRow) -> None:
    """The vCPU returns by the hypercall: if it was from its handler, the next NMI can come."""
    table.nmi[row] &= ~IN_HANDLER
    if table.nmi[row]:
        _notice(sched, row)


def _notice(sched: Scheduler, row: VcpuRow) -> None:
    """Have a vCPU begin a slice, which is when it looks."""
    if sched.current == row:
        sched.preempt(row)
        sched.changed = True
    else:
        sched.wake(row)


def take_nmi(table: PvVcpuTable, traps: TrapTable, row: VcpuRow) -> bool:
    """Whether the vCPU is to enter its handler now; it counts as in it from here on."""
    if table.nmi[row] != PENDING or not traps.address[row * TRAPS + VECTOR]:
        return False
    table.nmi[row] = IN_HANDLER
    return True
