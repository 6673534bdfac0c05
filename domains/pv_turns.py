"""The vCPUs of one PV domain take turns in one engine; who does not run has a copy of the processor's words.

One engine for a domain means one translation of its code.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from abi.types import VcpuRow
from domains.engine import Engine
from domains.engine_state import EngineState, restore_engine, save_engine
from domains.pv_front import PvFront

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu


class TurnsState(NamedTuple):
    """The processors of a domain between two slices."""

    engine: EngineState
    """Of the vCPU at row `current`."""
    current: int
    others: Mapping[VcpuRow, bytes]
    """The words of those that wait, by row; who is not here is still pristine."""
    pristine: bytes


class Turns:
    """`current` is the vCPU whose state is in the engine."""

    current: "PvVcpu"

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.front: PvFront | None = None
        self.members: dict[VcpuRow, PvVcpu] = {}
        self.pristine = b""
        """The processor's words right after it was started."""
        self._states: dict[VcpuRow, bytes] = {}

    def join(self, vcpu: "PvVcpu", front: PvFront | None) -> bool:
        """One more vCPU.  True for the first one, whose engine it is."""
        self.members[vcpu.vcpu] = vcpu
        if self.engine is None:
            self.engine, self.front, self.current = vcpu.engine, front, vcpu
            return True
        return False

    def take(self, vcpu: "PvVcpu") -> None:
        """Put the state of `vcpu` into the engine, which is between two runs."""
        old = self.current
        if old is vcpu:
            return
        words = vcpu.engine.q.cast("B")
        self._states[old.vcpu] = words.tobytes()
        words[:] = self._states.pop(vcpu.vcpu, self.pristine)
        if self.front is not None:
            self.front.select(vcpu.vcpu, vcpu.vcpu_id)
        self.current = vcpu
        vcpu.stale = True

    def prepare(self, vcpu: "PvVcpu", load: Callable[[], None]) -> None:
        """Let `load` make the state of a vCPU that is not in the engine, of the pristine one; in a hook."""
        current, words = self.current, vcpu.engine.q.cast("B")
        running, words[:] = words.tobytes(), self.pristine
        try:
            load()
            self._states[vcpu.vcpu] = words.tobytes()
        finally:
            words[:] = running
            current.stale = True

    def save(self) -> TurnsState:
        """All processors, between two slices."""
        return TurnsState(save_engine(self.engine_of()), self.current.vcpu, dict(self._states), self.pristine)

    def restore(self, state: TurnsState) -> None:
        """Go on with processors that were saved, in an engine that is in guest mode.

        Raises ValueError where they are none, KeyError where they are another domain's.
        """
        self.current = self.members[VcpuRow(state.current)]
        if self.front is not None:
            self.front.select(self.current.vcpu, self.current.vcpu_id)
        self._states = {self.members[VcpuRow(row)].vcpu: words for row, words in state.others.items()}
        self.pristine = state.pristine
        size = self.engine_of().q.nbytes
        if any(len(words) != size for words in (self.pristine, *self._states.values())):
            raise ValueError("expected the state of a processor")
        restore_engine(self.engine_of(), state.engine)

    def engine_of(self) -> Engine:
        """The engine; not before a vCPU has joined."""
        assert self.engine is not None
        return self.engine

    def on_syscall(self, _uc: object, _data: object) -> None:
        """The engine's SYSCALL hook."""
        self.current.on_syscall()

    def on_event(self) -> None:
        """The native front has done what it could: something is pending for the vCPU that is in the engine."""
        self.current.on_event()

    def on_sysenter(self, _uc: object, _data: object) -> None:
        """The engine's SYSENTER hook."""
        self.current.on_sysenter()

    def park(self) -> None:
        """`Vcpu.park` of the vCPU that is in the engine."""
        self.current.park()

    def failed(self, error: BaseException, text: str) -> None:
        """`Vcpu.failed` of the vCPU that is in the engine."""
        self.current.failed(error, text)
