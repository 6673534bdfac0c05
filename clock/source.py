"""Where time comes from: work done (virtual) or the host.

System time is in nanoseconds since the host booted.  A cycle is one byte of guest code executed, which is also what
the time stamp counter counts at `frequency` Hz while a vCPU runs.
"""

from collections.abc import Callable

from clock.pvclock import NANOSECONDS, representable, set_time_scale


class Clock:
    """Conversions between system time, cycles and the time stamp counter (TSC).

    `frequency` is the counter's in Hz; above 2 GHz it is rounded down by up to a few Hz, to what the pv clock can
    express.  Raises ValueError where it is not positive.
    """

    virtual: bool
    """Time is what the vCPUs have done, not what the host's clock says."""

    def __init__(self, frequency: int) -> None:
        self.frequency = representable(frequency)
        self.scale = set_time_scale(self.frequency)

    def now(self) -> int:
        """System time, where it is one for all: only where time is the host's."""
        raise NotImplementedError("each vCPU has a time of its own")

    def tsc(self, time: int) -> int:
        """The time stamp counter at a system time."""
        return time * self.frequency // NANOSECONDS

    def system_time(self, tsc: int) -> int:
        """The system time that a counter stands for: never after the time at which `tsc` gave it."""
        return tsc * NANOSECONDS // self.frequency

    def nanoseconds(self, cycles: int) -> int:
        """How long `cycles` take, rounded up: who does anything at all gets on in time."""
        return -(-cycles * NANOSECONDS // self.frequency)

    def cycles(self, nanoseconds: int) -> int:
        """The fewest cycles that take at least `nanoseconds`."""
        return (nanoseconds - 1) * self.frequency // NANOSECONDS + 1 if nanoseconds > 0 else 0


class VirtualClock(Clock):
    """Time is work.  Each vCPU has a time of its own, which the scheduler keeps; there is no other."""

    virtual = True


class HostClock(Clock):
    """Time is the host's.  `read_ns` is a clock in nanoseconds that never goes back; `boot` its value at boot.

    Every process of a host passes the same `boot`, so that all of them mean the same by a time.
    """

    virtual = False

    def __init__(self, frequency: int, read_ns: Callable[[], int], boot: int | None = None) -> None:
        super().__init__(frequency)
        self._read = read_ns
        self.boot = read_ns() if boot is None else boot

    def now(self) -> int:
        """System time."""
        return self._read() - self.boot
