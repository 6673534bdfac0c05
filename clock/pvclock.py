"""The arithmetic of Xen's pv clock: from time stamp counter ticks to nanoseconds by a multiplication and a shift.

A guest computes `system_time + ((ticks << shift) * mul >> 32)`, or with `ticks >> -shift` where the shift is negative
(struct vcpu_time_info of xen/xen.h).  Both steps round down, so a sum of parts is never more than the whole.
"""

from typing import NamedTuple

NANOSECONDS = 1_000_000_000
"""In a second."""


class TimeScale(NamedTuple):
    """`mul` is a binary fraction of 32 bits, `shift` a power of two that may be negative."""

    mul: int
    shift: int


def set_time_scale(frequency: int) -> TimeScale:
    """Multiplier and shift for a counter of `frequency` Hz, the very numbers that Xen gives.

    Raises ValueError where `frequency` is not positive.
    """
    if frequency <= 0:
        raise ValueError(f"a counter of {frequency} Hz cannot tell the time")
    shift = 0
    while frequency > 2 * NANOSECONDS:
        frequency >>= 1
        shift -= 1
    while frequency <= NANOSECONDS:
        frequency <<= 1
        shift += 1
    return TimeScale((NANOSECONDS << 32) // frequency, shift)


def representable(frequency: int) -> int:
    """The highest frequency not above this one for which Xen's numbers never run fast.

    Above 2 GHz the low bits of a frequency get lost in the shift.  A guest would then be ahead of the host by up to a
    nanosecond a second, and would see time go back whenever it is told the truth.
    """
    lost = 0
    while frequency >> lost > 2 * NANOSECONDS:
        lost += 1
    return frequency >> lost << lost


def scale(ticks: int, mul: int, shift: int) -> int:
    """Nanoseconds for `ticks`, exactly as a guest with enough bits computes them."""
    return ((ticks << shift if shift >= 0 else ticks >> -shift) * mul) >> 32


def unscale(nanoseconds: int, mul: int, shift: int) -> int:
    """The smallest number of ticks that `scale` takes to at least `nanoseconds`."""
    shifted = -((-nanoseconds << 32) // mul)
    return -(-shifted >> shift) if shift >= 0 else shifted << -shift
