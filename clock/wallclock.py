"""The wall clock of shared_info: the Unix time at which system time was 0, which guests add to their system time."""

from struct import Struct
from typing import NamedTuple

from abi.xen import SHARED_INFO
from clock.pvclock import NANOSECONDS
from clock.time_info import begin_update
from state.arena import Arena

_U32 = Struct("<I")
_PLACES = {
    width: tuple(SHARED_INFO.at(width).offset[field] for field in ("wc_version", "wc_sec", "wc_nsec", high))
    for width, high in ((32, "arch_wc_sec_hi"), (64, "wc_sec_hi"))
}


class Wallclock(NamedTuple):
    """Unix time when the host booted."""

    seconds: int
    nanoseconds: int


def wallclock_base(epoch: int, system_time: int) -> Wallclock:
    """What makes it Unix time `epoch` at `system_time`, both in nanoseconds (Xen's do_settime)."""
    return Wallclock(*divmod(epoch - system_time, NANOSECONDS))


def write_wallclock(arena: Arena, shared_info: int, width: int, base: Wallclock) -> None:
    """Publish the wall clock in the shared_info at machine address `shared_info`, laid out for `width` bits.

    To be called again when the domain's width changes.
    """
    version_at, seconds_at, nanoseconds_at, high_at = _PLACES[width]
    memory = arena.u8
    version = begin_update(_U32.unpack_from(memory, shared_info + version_at)[0])
    for at, value in ((version_at, version), (seconds_at, base.seconds), (nanoseconds_at, base.nanoseconds),
                      (high_at, base.seconds >> 32), (version_at, version + 1)):
        _U32.pack_into(memory, shared_info + at, value & 0xFFFFFFFF)
