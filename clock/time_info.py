"""The pv clock's page: struct vcpu_time_info of xen/xen.h, by which a guest turns its TSC into system time.

Time never goes back for a guest: the counter is rounded down to a tick, and what is published with it is that tick's
system time, not the time of writing.  What the guest adds for later ticks is rounded down again, hence it is never
ahead of what the next update says (see `pvclock`).
"""

from struct import Struct

from abi.xen import VCPU_INFO, VCPU_TIME_INFO
from clock.source import Clock
from state.arena import Arena

SIZE = VCPU_TIME_INFO.at(64).size
"""Bytes, in either width."""
IN_VCPU_INFO = VCPU_INFO.at(64).offset["time"]
"""Where it is in a vcpu_info, in either width."""
REFRESH = 500_000_000
"""Nanoseconds after which the parameters are renewed.

A guest that multiplies in 64 bits gets wrong results 2.1 seconds after an update; a slice may come between.
"""

_SHAPE = VCPU_TIME_INFO.at(64)
_VERSION = Struct("<I")
_PUBLISHED = Struct("<QI")
_SYSTEM_TIME = _SHAPE.offset["system_time"]
assert _SHAPE.offset["tsc_to_system_mul"] == _SYSTEM_TIME + 8


def write_time_info(arena: Arena, address: int, clock: Clock, now: int) -> None:
    """Publish the clock's parameters as of system time `now` at machine address `address`.

    `flags` stay 0: each vCPU has its own time, and one may be ahead of another by a scheduler's quantum, so a guest
    with several must not trust that their clocks agree (XEN_PVCLOCK_TSC_STABLE_BIT).
    """
    memory = arena.u8
    version = begin_update(_VERSION.unpack_from(memory, address)[0])
    tsc = clock.tsc(now)
    mul, shift = clock.scale
    _SHAPE.pack_into(memory, address, version, 0, tsc, clock.system_time(tsc), mul, shift, 0, bytes(2))
    _VERSION.pack_into(memory, address, version + 1 & 0xFFFFFFFF)


def refresh_time_info(arena: Arena, address: int, clock: Clock, now: int) -> bool:
    """Publish the parameters if none are there or they are older than `REFRESH`.  Was anything written?

    The age is read from the guest's memory.  A guest that changes it deceives itself alone.
    """
    published, mul = _PUBLISHED.unpack_from(arena.u8, address + _SYSTEM_TIME)
    if mul and 0 <= now - published < REFRESH:
        return False
    write_time_info(arena, address, clock, now)
    return True


def begin_update(version: int) -> int:
    """The next odd version: readers wait or try again (Xen's version_update_begin)."""
    return (version + 1 | 1) & 0xFFFFFFFF
