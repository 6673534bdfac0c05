"""sched_op (sched.h): yield, block, poll, shut down.  Errors and the order of the checks are those of Xen 4.17."""

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from abi.errno import Errno, XenError
from abi.sched import SCHED_POLL, SCHED_REMOTE_SHUTDOWN, SCHED_SHUTDOWN, SCHED_WATCHDOG, SchedOp
from abi.types import NEVER, Domid, Port
from abi.xen import VCPU_INFO
from hypervisor.call import Call
from hypervisor.guest_access import guest_handle_okay
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainState, DomainTable, VcpuTable
from hypervisor.unimplemented import Unimplemented, not_implemented
from state.arena import Arena

MOST_POLLED = 128
"""Ports in one SCHEDOP_poll."""
_UPCALL_MASK = VCPU_INFO.at(64).offset["evtchn_upcall_mask"]
assert VCPU_INFO.at(32).offset["evtchn_upcall_mask"] == _UPCALL_MASK
_SHUTDOWN, _REMOTE_SHUTDOWN, _WATCHDOG = SCHED_SHUTDOWN.at(64), SCHED_REMOTE_SHUTDOWN.at(64), SCHED_WATCHDOG.at(64)
_PORT = Struct("<I")
_HARDWARE_DOMAIN = 0
_SIGN = 1 << 63


class Events(Protocol):
    def is_pending(self, domid: Domid, port: Port) -> bool:
        """Raises XenError(EINVAL) where there is no such port."""


class Host(Protocol):
    """What this hypercall needs of the hypervisor."""

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
    def unimplemented(self) -> Unimplemented: ...

    def poll_console(self, domid: Domid) -> None:
        """Take what the domain has printed."""

    def local_events_need_delivery(self, call: Call) -> bool:
        """Would the calling vCPU take an upcall or interrupt at once, if it went on now?

        For a PV guest that is `evtchn_upcall_pending` without `evtchn_upcall_mask`; for an HVM guest what is pending
        with interrupts open, whatever the mask says.
        """


def sched_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """HYPERVISOR_sched_op(cmd, arg)."""
    operation = _OPERATIONS.get(cmd & 0xFFFFFFFF)
    if operation is None:
        return not_implemented(hv, call, "sched_op", cmd & 0xFFFFFFFF)
    return operation(hv, call, arg)


def sched_op_compat(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """The call's old number: three operations, and the reason for a shutdown is the argument itself."""
    cmd &= 0xFFFFFFFF
    if cmd in (SchedOp.yield_, SchedOp.block):
        return _OPERATIONS[cmd](hv, call, 0)
    if cmd == SchedOp.shutdown:
        hv.sched.shutdown(call.domid, arg & 0xFF)
        return 0
    return not_implemented(hv, call, "sched_op_compat", cmd)


def _yield(hv: Host, call: Call, arg: int) -> int:
    hv.poll_console(call.domid)  # PV GRUB waits in this way for its output to be taken
    hv.sched.yield_(call.vcpu)
    return 0


def _block(hv: Host, call: Call, arg: int) -> int:
    info = hv.vcpus.info[call.vcpu]
    if info:
        hv.arena.u8[info + _UPCALL_MASK] = 0
    hv.sched.block(call.vcpu, hv.local_events_need_delivery(call))
    return 0


def _poll(hv: Host, call: Call, arg: int) -> int:
    shape = SCHED_POLL.at(call.width)
    ports, nr_ports, timeout = shape.unpack(call.memory.read(arg, shape.size))
    if nr_ports > MOST_POLLED:
        raise XenError(Errno.EINVAL)
    if not guest_handle_okay(hv.domains, call, ports, nr_ports * _PORT.size):
        raise XenError(Errno.EFAULT)
    if hv.local_events_need_delivery(call):
        return 0
    port = 0
    for index in range(nr_ports):
        port, = _PORT.unpack(call.memory.read(ports + index * _PORT.size, _PORT.size))
        if hv.events.is_pending(call.domid, Port(port)):
            return 0
    # Xen's timers are signed: one beyond the sign fires at once.
    deadline = NEVER if timeout == 0 else 0 if timeout >= _SIGN else timeout
    hv.sched.poll(call.vcpu, port if nr_ports == 1 and port else -1, deadline)
    return 0


def _shutdown(hv: Host, call: Call, arg: int) -> int:
    reason, = _SHUTDOWN.unpack(call.memory.read(arg, _SHUTDOWN.size))
    hv.sched.shutdown(call.domid, reason & 0xFF)
    return 0


def _shutdown_code(hv: Host, call: Call, arg: int) -> int:
    reason, = _SHUTDOWN.unpack(call.memory.read(arg, _SHUTDOWN.size))
    hv.sched.latch_shutdown_code(call.domid, reason & 0xFF)
    return 0


def _remote_shutdown(hv: Host, call: Call, arg: int) -> int:
    domid, reason = _REMOTE_SHUTDOWN.unpack(call.memory.read(arg, _REMOTE_SHUTDOWN.size))
    domains = hv.domains
    if domid >= domains.rows or domains.state[domid] in (DomainState.FREE, DomainState.DEAD):
        raise XenError(Errno.ESRCH)
    if not domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    hv.sched.shutdown(domid, reason & 0xFF)
    return 0


def _watchdog(hv: Host, call: Call, arg: int) -> int:
    number, timeout = _WATCHDOG.unpack(call.memory.read(arg, _WATCHDOG.size))
    return hv.sched.set_watchdog(call.domid, number, timeout)


def _pin_override(hv: Host, call: Call, arg: int) -> int:
    if call.domid != _HARDWARE_DOMAIN:
        raise XenError(Errno.EPERM)
    return not_implemented(hv, call, "sched_op", SchedOp.pin_override.name)  # the seat of domain 0 has no vCPU


_OPERATIONS: dict[int, Callable[[Host, Call, int], int]] = {
    SchedOp.yield_: _yield,
    SchedOp.block: _block,
    SchedOp.poll: _poll,
    SchedOp.shutdown: _shutdown,
    SchedOp.shutdown_code: _shutdown_code,
    SchedOp.remote_shutdown: _remote_shutdown,
    SchedOp.watchdog: _watchdog,
    SchedOp.pin_override: _pin_override,
}
