"""Where a vCPU's time goes: running, runnable, blocked, offline (struct vcpu_runstate_info of xen/vcpu.h)."""

from typing import NamedTuple

from abi.vcpu import VCPU_RUNSTATE_INFO
from hypervisor.tables import VcpuTable


class RunstateInfo(NamedTuple):
    """A state (RUNSTATE_*), the system time at which it was entered, and nanoseconds spent in each."""

    state: int
    state_entry_time: int
    running: int
    runnable: int
    blocked: int
    offline: int

    def pack(self, width: int, update_flag: int = 0) -> bytes:
        """The structure for a guest of `width`; `update_flag` is or-ed into the entry time."""
        state, entered, *times = self
        return VCPU_RUNSTATE_INFO.at(width).pack(state, entered | update_flag, *times)


class Runstates:
    """The accounts of all vCPUs.  The times of one vCPU add up to the system time since its first state."""

    def __init__(self, vcpus: VcpuTable) -> None:
        self._state, self._entered = vcpus.runstate, vcpus.state_entry_time
        self._times = (vcpus.time_running, vcpus.time_runnable, vcpus.time_blocked, vcpus.time_offline)

    def change(self, row: int, state: int, now: int) -> None:
        """The vCPU enters `state` at `now`; nothing happens where it is in that state already."""
        states, entries = self._state, self._entered
        old = states[row]
        if old == state:
            return
        entered = entries[row]
        if now > entered:
            times = self._times[old]
            times[row] = times[row] + now - entered
            entries[row] = now
        states[row] = state

    def get(self, row: int, now: int) -> RunstateInfo:
        """The accounts as they stand at `now` (Xen's vcpu_runstate_get)."""
        state, entered = self._state[row], self._entered[row]
        times = [column[row] for column in self._times]
        times[state] += max(0, now - entered)
        return RunstateInfo(state, entered, *times)
