"""Hypercalls in words, for crash reports, traces and logs: names, sub-operations, errors."""

from collections.abc import Callable, Sequence
from enum import IntEnum

from abi.callback import CallbackOp
from abi.errno import Errno
from abi.event_channel import EvtchnOp
from abi.grant_table import GnttabOp
from abi.hvm import HvmOp
from abi.memory import MemoryOp
from abi.naming import c_name
from abi.physdev import PhysdevOp
from abi.sched import SchedOp
from abi.vcpu import VcpuOp
from abi.version import VersionOp
from abi.xen import ConsoleIo, Hypercall, VmAssistCommand

LAST_ERRNO = 4095
"""Results from -4095 to -1 are errors, as Linux's IS_ERR has it."""
_MEMOP_CMD_MASK = 0x3F
_OPERATIONS: dict[int, type[IntEnum]] = {
    Hypercall.memory_op: MemoryOp, Hypercall.xen_version: VersionOp, Hypercall.console_io: ConsoleIo,
    Hypercall.grant_table_op: GnttabOp, Hypercall.vm_assist: VmAssistCommand, Hypercall.vcpu_op: VcpuOp,
    Hypercall.sched_op: SchedOp, Hypercall.callback_op: CallbackOp, Hypercall.event_channel_op: EvtchnOp,
    Hypercall.physdev_op: PhysdevOp, Hypercall.hvm_op: HvmOp,
}
"""Calls whose first argument is a sub-operation."""


def hypercall_name(number: int) -> str:
    """The name of hypercall `number`, or the number where Xen has none."""
    try:
        return Hypercall(number).name
    except ValueError:
        return f"hypercall_{number}"


def call_in_words(number: int, arguments: Sequence[int], name: Callable[[int], str] = hypercall_name) -> str:
    """A hypercall with its arguments: `event_channel_op(EVTCHNOP_send, 0x7ff0)`."""
    words = [hex(argument) if argument > 9 else str(argument) for argument in arguments]
    operations = _OPERATIONS.get(number)
    if operations is not None and arguments:
        low = arguments[0] & (_MEMOP_CMD_MASK if operations is MemoryOp else 0xFFFFFFFF)
        try:
            words[0] = c_name(operations(low))
        except ValueError:
            words[0] = f"unknown operation {low}"
    return f"{name(number)}({', '.join(words)})"


def result_in_words(result: int, width: int) -> str:
    """A result as it stands in the register: `0`, `0x4000b`, `-EINVAL`."""
    negative = (1 << width) - result
    if negative > LAST_ERRNO:
        return hex(result) if result > 9 else str(result)
    try:
        return "-" + Errno(negative).name
    except ValueError:
        return str(-negative)
