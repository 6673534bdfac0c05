"""vcpu_op (vcpu.h): vCPUs up and down, their timers, run states and areas.

Errors and the order of the checks are those of Xen 4.17 (do_vcpu_op, and compat_vcpu_op for 32-bit callers).
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from abi.errno import Errno, XenError
from abi.types import NEVER, Domid, VcpuRow
from abi.vcpu import (
    VCPU_REGISTER_VCPU_INFO,
    VCPU_RUNSTATE_INFO,
    VCPU_SET_PERIODIC_TIMER,
    VCPU_SET_SINGLESHOT_TIMER,
    VCPU_SSHOTTMR_future,
    VcpuOp,
)
from clock import time_info
from hypervisor import vcpu_areas, vcpu_info
from hypervisor.call import Call
from hypervisor.guest_access import guest_handle_okay
from hypervisor.tables import GuestKind
from hypervisor.unimplemented import Unimplemented, not_implemented

SHORTEST_PERIOD = 1_000_000
"""Nanoseconds."""
STIME_DELTA_MAX = (1 << 62) - 1
"""Nanoseconds: the longest period."""
_SIGN = 1 << 63
_PERIODIC, _VCPU_INFO = VCPU_SET_PERIODIC_TIMER.at(64), VCPU_REGISTER_VCPU_INFO.at(64)


class Host(vcpu_areas.Host, vcpu_info.Host, Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def unimplemented(self) -> Unimplemented: ...

    @property
    def initialise_vcpu(self) -> Mapping[Domid, Callable[[Call, VcpuRow, int], None]]:
        """By domain: reads the context at a guest address and gives it to the vCPU.

        Raises XenError: EFAULT; then EEXIST where the vCPU has one; EINVAL.  Who is not here has no engine.
        """

    @property
    def send_nmi(self) -> Callable[[VcpuRow], None] | None:
        """Makes an NMI pending; None where the engine cannot yet."""


def vcpu_op(hv: Host, call: Call, cmd: int, vcpu_id: int, arg: int) -> int:
    """HYPERVISOR_vcpu_op(cmd, vcpu_id, arg).  ENOENT where the domain has no such vCPU."""
    cmd, vcpu_id = cmd & 0xFFFFFFFF, vcpu_id & 0xFFFFFFFF
    domains, domid = hv.domains, call.domid
    if vcpu_id >= domains.vcpu_count[domid]:
        raise XenError(Errno.ENOENT)
    operation = _OPERATIONS.get(cmd)
    if operation is None:
        return not_implemented(hv, call, "vcpu_op", cmd)
    return operation(hv, call, VcpuRow(domains.vcpu_base[domid] + vcpu_id), arg)


def _initialise(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    if not hv.vcpus.info[row]:
        raise XenError(Errno.EINVAL)
    initialise = hv.initialise_vcpu.get(call.domid)
    if initialise is None:
        return not_implemented(hv, call, "vcpu_op", VcpuOp.initialise.name)
    initialise(call, row, arg)
    hv.vcpus.initialised[row] = 1
    return 0


def _up(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    if not hv.vcpus.initialised[row]:
        raise XenError(Errno.EINVAL)
    if not hv.sched.is_up(row):
        hv.sched.up(row)
    return 0


def _down(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    hv.sched.down(row)
    return 0


def _is_up(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    return int(hv.sched.is_up(row))


def _get_runstate_info(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    told = hv.sched.runstates.get(row, hv.vcpus.local_time[call.vcpu])
    call.memory.write(arg, told.pack(call.width))
    return 0


def _register_runstate_memory_area(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    hv.vcpus.runstate_area[row] = _area(hv, call, arg, VCPU_RUNSTATE_INFO.at(call.width).size)
    hv.vcpus.runstate_width[row] = call.width
    if hv.vcpus.runstate_area[row]:
        vcpu_areas.update_runstate_area(hv, call, row)
    return 0


def _register_vcpu_time_memory_area(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    hv.vcpus.time_area[row] = _area(hv, call, arg, time_info.SIZE)
    vcpu_areas.update_time(hv, call, row)
    return 0


def _area(hv: Host, call: Call, arg: int, size: int) -> int:
    """The address that a register operation's argument holds; 0 withdraws the area."""
    # Of the union, a 32-bit guest sets only the pointer.
    area = int.from_bytes(call.memory.read(arg, call.width // 8), "little")
    if not guest_handle_okay(hv.domains, call, area, size):
        raise XenError(Errno.EFAULT)
    return area


def _set_periodic_timer(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    period, = _PERIODIC.unpack(call.memory.read(arg, _PERIODIC.size))
    if not SHORTEST_PERIOD <= period <= STIME_DELTA_MAX:
        raise XenError(Errno.EINVAL)
    hv.sched.set_periodic(row, period)
    return 0


def _stop_periodic_timer(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    hv.sched.set_periodic(row, 0)
    return 0


def _set_singleshot_timer(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    shape = VCPU_SET_SINGLESHOT_TIMER.at(call.width)
    if call.width == 64:
        _require_self(call, row)
        deadline, flags = shape.unpack(call.memory.read(arg, shape.size))
    else:  # the compat layer translates the argument before anything is checked
        deadline, flags = shape.unpack(call.memory.read(arg, shape.size))
        _require_self(call, row)
    if flags & VCPU_SSHOTTMR_future and deadline < hv.vcpus.local_time[row]:
        raise XenError(Errno.ETIME)
    hv.sched.set_singleshot(row, deadline if deadline < _SIGN else 0)  # Xen's timers are signed
    return 0


def _stop_singleshot_timer(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    _require_self(call, row)
    hv.sched.set_singleshot(row, NEVER)
    return 0


def _require_self(call: Call, row: VcpuRow) -> None:
    if row != call.vcpu:
        raise XenError(Errno.EINVAL)


def _register_vcpu_info(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    gfn, offset, _ = _VCPU_INFO.unpack(call.memory.read(arg, _VCPU_INFO.size))
    vcpu_info.map_vcpu_info(hv, call, row, gfn, offset)
    vcpu_areas.update_time(hv, call, row)
    return 0


def _send_nmi(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    if arg:
        raise XenError(Errno.EINVAL)
    if hv.send_nmi is None or hv.domains.kind[call.domid] != GuestKind.PV:
        return not_implemented(hv, call, "vcpu_op", VcpuOp.send_nmi.name)
    hv.send_nmi(row)
    return 0


def _get_physid(hv: Host, call: Call, row: VcpuRow, arg: int) -> int:
    raise XenError(Errno.EINVAL)  # only the vCPUs of a hardware domain are pinned


_OPERATIONS: dict[int, Callable[[Host, Call, VcpuRow, int], int]] = {
    VcpuOp.set_singleshot_timer: _set_singleshot_timer,
    VcpuOp.stop_singleshot_timer: _stop_singleshot_timer,
    VcpuOp.set_periodic_timer: _set_periodic_timer,
    VcpuOp.stop_periodic_timer: _stop_periodic_timer,
    VcpuOp.initialise: _initialise,
    VcpuOp.up: _up,
    VcpuOp.down: _down,
    VcpuOp.is_up: _is_up,
    VcpuOp.get_runstate_info: _get_runstate_info,
    VcpuOp.register_runstate_memory_area: _register_runstate_memory_area,
    VcpuOp.register_vcpu_time_memory_area: _register_vcpu_time_memory_area,
    VcpuOp.register_vcpu_info: _register_vcpu_info,
    VcpuOp.send_nmi: _send_nmi,
    VcpuOp.get_physid: _get_physid,
}
