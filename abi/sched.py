"""sched_op: sub-operations, their arguments, and why a domain shuts down (sched.h)."""

from enum import IntEnum

from abi.layout import I32, POINTER, U16, U32, U64, Layout
from abi.naming import c_prefix


@c_prefix("SCHEDOP_")
class SchedOp(IntEnum):
    yield_ = 0
    block = 1
    shutdown = 2
    poll = 3
    remote_shutdown = 4
    shutdown_code = 5
    watchdog = 6
    pin_override = 7


@c_prefix("SHUTDOWN_")
class ShutdownReason(IntEnum):
    poweroff = 0
    reboot = 1
    suspend = 2
    crash = 3
    watchdog = 4
    soft_reset = 5


SHUTDOWN_MAX = 5

SCHED_SHUTDOWN = Layout("sched_shutdown", reason=U32)
"""Also the argument of SCHEDOP_shutdown_code."""
SCHED_POLL = Layout("sched_poll", ports=POINTER, nr_ports=U32, timeout=U64)
"""`timeout` is a system time in nanoseconds; 0 waits for ever."""
SCHED_REMOTE_SHUTDOWN = Layout("sched_remote_shutdown", domain_id=U16, reason=U32)
SCHED_WATCHDOG = Layout("sched_watchdog", id=U32, timeout=U32)
"""`timeout` is in seconds; 0 destroys the watchdog."""
SCHED_PIN_OVERRIDE = Layout("sched_pin_override", pcpu=I32)
