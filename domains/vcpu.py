"""What every kind of vCPU shares: an engine, the way time passes on it, and the frame that a slice runs in.

A kind (PVH here, PV later) adds the exits it handles.  The hook must let nothing escape, for ctypes would swallow it:
a guest's mistake becomes a crash of that guest, and so does whatever else happens, with the internal error in its
report.
"""

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from abi.types import Domid, VcpuId, VcpuRow
from clock.pvclock import NANOSECONDS
from clock.time_info import REFRESH
from domains import envlayout as env
from domains.crash_report import registers
from domains.engine import TLB_FLUSH, Engine, EngineError
from domains.fast_path import FastPath
from domains.guest_code import GuestCode
from domains.guest_memory import LinearMemory
from domains.native import BlockMeter
from domains.paging import Walker
from domains.vmcb import EXIT_BASE, Exit
from hypervisor.crash import GuestCrash
from hypervisor.p2m import EVERY_PAGE
from hypervisor.tables import RunState
from hypervisor.trace import FOLD_AT
from hypervisor.vcpu_areas import update_areas

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor

_HOST_BUDGET = 200_000
"""Bytes of code between two looks at the host's clock: about half a millisecond."""
_REFRESH = REFRESH // 4
"""Nanoseconds between two looks at whether the guest's time parameters are to be renewed."""
_NOTHING = memoryview(bytes(8)).cast("Q")


class VcpuState(NamedTuple):
    """What a vCPU remembers beside its processor."""

    fresh: bool
    """It has not run yet."""
    refresh: int
    """When its time parameters are to be renewed, in nanoseconds."""
    width: int
    """Of its last hypercall."""


class _Stopping(dict[int, Callable[[], None]]):
    """In the place of a vCPU's `exits`: whatever happens stops the engine."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop = stop

    def get(self, number: int, default: object = None) -> Callable[[], None]:
        return self._stop


class Vcpu:
    """One vCPU; implements `hypervisor.call.Call`.

    `run_slice` runs the guest until the scheduler's `slice_end`, or until the vCPU blocks, yields or shuts down.
    """

    def __init__(self, hv: "Hypervisor", row: VcpuRow, meter: BlockMeter, front: FastPath | None = None,
                 engine: Engine | None = None,
                 on_exit: Callable[[object, int, object], None] | None = None) -> None:
        self.hv, self.vcpu = hv, row
        self.domid = Domid(hv.vcpus.domid[row])
        self.width = hv.domains.width[self.domid]
        self.front = front
        """Sees all exits first, if there is one."""
        self.engine = Engine(hv.arena.u8, meter, on_exit or self._on_exit, self.front) if engine is None else engine
        self.q, self.d = self.engine.q, self.engine.d
        self._frames: dict[int, int] = {}
        self._writable_frames: dict[int, int] = {}
        self.walker = Walker(self.engine, hv.arena, self._frame, self._frames, self._writable_frames)
        self.memory = LinearMemory(self.walker, hv.arena)
        self.code = GuestCode(self.engine, self.walker, hv.arena)
        self._local_time, self._runstate = hv.vcpus.local_time, hv.vcpus.runstate
        self._budget = self.engine.budget
        self._started = self._granted = self._end = 0
        hv.local_flush[self.domid] = self.p2m_changed
        self._stop = self.engine.stop
        self._vcpu_id, self._events_received = VcpuId(hv.vcpus.vcpu_id[row]), hv.vcpus.events_received
        self._trace_upcall = hv.trace.upcall
        self.exits: dict[int, Callable[[], None]] = {EXIT_BASE + Exit.HLT: self._stop}
        """By the engine's number.  The one here ends `Engine.enter`; a kind puts its own in its place after that."""
        self._sched, self._clock = hv.sched, hv.clock
        self._virtual = hv.clock.virtual
        self._nanoseconds, self._cycles = hv.clock.nanoseconds, hv.clock.cycles
        self._one_to_one = self._virtual and hv.clock.frequency == NANOSECONDS
        """A cycle is a nanosecond."""
        self.stale = False
        """The engine's translations are to be flushed at the end of this exit."""
        self._touched = _NOTHING if self.front is None else self.front.touched
        self._apic_pending = _NOTHING
        """[0] is the vector that waits in the APIC; only some kinds have one."""
        self._refresh = 0
        self._fresh = True
        self._unsettled = False
        self._interrupted: KeyboardInterrupt | None = None
        self._parked_exits: dict[int, Callable[[], None]] | None = None
        self.symbol: Callable[[int], str] = lambda address: ""
        self.host_seconds = 0.0

    # -- time

    def now(self) -> int:
        """Nanoseconds of system time that this vCPU has reached, also stored as its `local_time`."""
        if self._one_to_one:
            now = self._started + self._granted - self._budget[0]
        elif self._virtual:
            now = self._started + self._nanoseconds(self._granted - self._budget[0])
        else:
            now = self._clock.now()
        self._local_time[self.vcpu] = now
        return now

    def tsc(self) -> int:
        """The vCPU's time stamp counter."""
        return self._clock.tsc(self.now())

    # -- a slice

    def run_slice(self) -> None:
        """Run the guest until its slice ends.  The scheduler has started the vCPU; it has to be told afterwards."""
        row, vcpus = self.vcpu, self.hv.vcpus
        if self.hv.domains.flush[self.domid]:
            self.hv.domains.flush[self.domid] = 0
            self.p2m_changed(EVERY_PAGE)
        if self.stale:
            self.stale = False
            self.engine.flush_tlb()
        self._started = started = self._local_time[row]
        self._sched.changed = False
        self._end = end = self._sched.slice_end
        if self._virtual:
            granted = end - started if self._one_to_one else self._cycles(end - started)
        else:
            granted = _HOST_BUDGET
        self._granted = self._budget[0] = granted
        try:
            if self._fresh:
                self._fresh = False
                self.hv.trace.start(self.domid, started, VcpuId(vcpus.vcpu_id[row]))
            if started >= self._refresh or vcpus.runstate_area[row]:
                self._refresh = started + _REFRESH
                update_areas(self.hv, self)
            if self.front is not None:
                self.front.begin(started + granted, end)
            if self._apic_pending[0] or (self.hv.arena.u8[vcpus.info[row]] and (
                    self.front is None or not self.front.arm_upcall())):
                self.arm_upcall()
                if self._runstate[row] != RunState.RUNNING:  # it could not be told, and has crashed
                    return
            while True:
                self.engine.run()
                if self._touched[0]:
                    self._collect()
                if self._unsettled:
                    self._settle()
                vcpus.work[row] += self._granted - self._budget[0]
                now = self.now()
                if not self._virtual and self._runstate[row] == RunState.RUNNING and now < self._sched.slice_end:
                    self._granted = self._budget[0] = _HOST_BUDGET
                    continue
                return
        except EngineError as error:
            self.crash(f"the engine gave up: {error}")

    def arm_upcall(self) -> None:
        """Have the guest take what is pending for it as soon as it can."""
        raise NotImplementedError

    def event_deliverable(self) -> bool:
        """Would the guest take an upcall at once, if it went on now?"""
        raise NotImplementedError

    def upcall_taken(self, vector: int) -> None:
        """Account for an upcall that the guest gets now."""
        row = self.vcpu
        self._events_received[row] += 1
        self._trace_upcall(self.domid, self._local_time[row], self._vcpu_id, vector)

    def slice_changed(self) -> bool:
        """After a call into the hypervisor: True where the slice is over; a shortened slice is taken over."""
        sched = self._sched
        sched.changed = False
        if self._runstate[self.vcpu] != RunState.RUNNING:
            return True
        end = sched.slice_end
        if end != self._end and self._virtual:
            shortened = self._end - end
            if not self._one_to_one:
                shortened = self._cycles(self._end - self._started) - self._cycles(end - self._started)
            self._granted -= shortened
            self._budget[0] -= shortened
            self._end = end
            if self.front is not None:
                self.front.slice_end(self._started + self._granted, end)
        return False

    def start_front(self) -> None:
        """Let the native front begin, if there is one and the clock is one that it can keep."""
        if self.front is not None and self.front_keeps_time():
            self.front.fill(self, TLB_FLUSH)

    def front_keeps_time(self) -> bool:
        """Whether the native front can tell the time of this host's clock."""
        return self._one_to_one

    def _collect(self) -> None:
        """Take over what the native front did: its part of the trace, and a slice that became shorter."""
        assert self.front is not None
        buffer = self.hv.trace.buffers[self.domid]
        shortened, end = self.front.collect(buffer)
        self._granted -= shortened
        if end != self._end:
            self._end = self._sched.slice_end = end
        if len(buffer) >= FOLD_AT:
            self.hv.trace.fold(self.domid)

    # -- memory

    def _frame(self, gfn: int, write: bool) -> int | None:
        """The machine address of a guest frame: see `paging.Walker`.  Kept in `_frames` and `_writable_frames`."""
        raise NotImplementedError

    def p2m_changed(self, gfn: int) -> None:
        """The domain's p2m lost or changed an entry: forget the translations of this page, or of all (EVERY_PAGE).

        The engine's own are forgotten before the guest goes on: at the end of an exit, once for all that it changed.
        """
        self.forget_frames(gfn)
        self.stale = True

    def forget_frames(self, gfn: int) -> None:
        """What was remembered of a frame, or of all, holds no longer."""
        self.walker.forget(gfn)
        if gfn == EVERY_PAGE:
            self._frames.clear()
            self._writable_frames.clear()
        else:
            self._frames.pop(gfn, None)
            self._writable_frames.pop(gfn, None)

    # -- exits

    def _on_exit(self, _uc: object, number: int, _data: object) -> None:
        try:
            if self._touched[0]:
                self._collect()
            handler = self.exits.get(number)
            if handler is not None:
                handler()
                if self.stale:
                    self.stale = False
                    self.engine.flush_tlb()
            elif number < EXIT_BASE:
                self.software_interrupt(number)
            else:
                self.crash(f"unexpected exit {number - EXIT_BASE:#x}")
        except GuestCrash as error:
            self.crash(str(error))
        except BaseException as error:
            self.failed(error, traceback.format_exc())

    def failed(self, error: BaseException, text: str) -> None:
        """Something came out of a hook's Python code, with traceback `text`: the guest pays for it, Ctrl-C goes on."""
        if isinstance(error, KeyboardInterrupt):
            self._interrupted, self._unsettled = error, True
            self._stop()
            return
        self.hv.internal_error(self.domid, text)
        self.crash(f"internal error, {type(error).__name__}: {error}")

    def park(self) -> None:
        """In a hook inside a block: the CPU's state is as the guest is to go on in, whatever the block's rest does."""
        self.engine.park()
        self._parked_exits, self.exits = self.exits, _Stopping(self._stop)
        if self.front is not None:
            self.front.enable(False)
        self._unsettled = True

    def _settle(self) -> None:
        """After `Engine.run`: what a hook could not do itself."""
        self._unsettled = False
        if self._parked_exits is not None:
            self.exits, self._parked_exits = self._parked_exits, None
            if self.front is not None:
                self.front.enable(True)
        if self._interrupted is not None:
            raise self._interrupted

    def software_interrupt(self, vector: int) -> None:
        """INT n, with RIP already behind it."""
        raise NotImplementedError

    # -- to go on elsewhere

    def save(self) -> VcpuState:
        """What is kept here between two slices and lies neither in the host's bytes nor in the engine."""
        within = self._unsettled or self._parked_exits is not None or self._touched[0]
        assert not within, "saved within a slice"
        return VcpuState(self._fresh, self._refresh, self.width)

    def restore(self, state: VcpuState) -> None:
        """Go on with it."""
        self._fresh, self._refresh, self.width = state
        self.stale = True

    # -- the end, and reports

    def where(self) -> str:
        """`rip 0x1034b8 (main+0x18)`, for reports; of several vCPUs, which."""
        rip = self.q[env.RIP]
        symbol = self.symbol(rip)
        which = f"vCPU {self._vcpu_id}, " if self.hv.domains.vcpu_count[self.domid] > 1 else ""
        return f"{which}rip {rip:#x}" + (f" ({symbol})" if symbol else "")

    def crash(self, reason: str) -> None:
        """Crash the domain, with a report of where it stood, and stop running."""
        self.hv.crash(self.domid, f"{reason}; {self.where()}", registers(self.engine))
        self._stop()
