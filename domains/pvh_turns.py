"""The vCPUs of one PVH domain take turns in one engine; who does not run has a copy of the processor.

One engine for a domain means one translation of its code, so that what one vCPU writes into it counts for all.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from abi.errno import Errno, XenError
from abi.sched import ShutdownReason
from abi.types import Domid, VcpuRow
from domains import envlayout as env
from domains.engine import Engine
from domains.engine_state import EngineState, put_processor, restore_engine, save_engine
from domains.fast_calls import FastCalls
from domains.fast_path import FastPath
from domains.hvm_context import SIZE, load_context
from domains.port_hooks import PortHooks
from domains.ports import Ports
from domains.pvh_start import WordsCopy, set_real_mode_state
from domains.segments import CR0_PE, CR0_PG
from hypervisor.apic_bus import ApicBus
from hypervisor.call import Call
from hypervisor.crash import GuestCrash

if TYPE_CHECKING:
    from domains.pvh_vcpu import PvhVcpu
    from hypervisor.hypervisor import Hypervisor


class PvhTurnsState(NamedTuple):
    """The processors of a domain between two slices."""

    current: int
    """The number of the vCPU that is in the engine."""
    processors: Sequence[EngineState]
    """By number."""
    boot: EngineState
    """The one that the domain booted with, before it did anything."""
    last: int
    """`ApicBus.last`."""
    tsc: int
    """The latest time stamp that one of them has read."""


class PvhTurns:
    """`current` is the vCPU whose state is in the engine."""

    current: "PvhVcpu"

    def __init__(self, hv: "Hypervisor", domid: Domid) -> None:
        self._hv, self._domid = hv, domid
        self.several = hv.domains.vcpu_count[domid] > 1
        self.engine: Engine | None = None
        self.front: FastPath | None = None
        self.members: list[PvhVcpu] = []
        self.bus = ApicBus(self)
        self._boot = EngineState(b"", 0, 0, b"")
        self._states: dict[VcpuRow, EngineState] = {}
        self._tsc = 0

    def join(self, vcpu: "PvhVcpu") -> bool:
        """One more vCPU, in the order of their numbers.  True for the first one, whose engine it is."""
        self.members.append(vcpu)
        if self.engine is not None:
            return False
        self.engine, self.front, self.current = vcpu.engine, vcpu.front, vcpu
        self._hv.initialise_vcpu[self._domid] = self.initialise
        return True

    def add_hooks(self, first: "PvhVcpu") -> None:
        """Those of the engine, for whichever vCPU is in it."""
        console = self._hv.console_lines
        ports = Ports(lambda data: console.write(self._domid, data), self.shut_down)
        self._hooks = (PortHooks(first.engine, first.walker, self._hv.arena, ports, self.throw, self.park, self.failed),
                       FastCalls(first.engine, self.throw))

    def booted(self) -> None:
        """The engine has the processor's boot state, in which the others are, too."""
        assert self.engine is not None
        self._boot = save_engine(self.engine)
        for vcpu in self.members:
            if vcpu is not self.current:
                self._states[vcpu.vcpu] = self._boot

    def take(self, vcpu: "PvhVcpu") -> None:
        """Put the state of `vcpu` into the engine, which is between two runs."""
        old = self.current
        if old is vcpu:
            return
        self._states[old.vcpu] = old.save_engine()
        put_processor(vcpu.engine, self._states.pop(vcpu.vcpu))
        old.apart()
        if self.front is not None:
            self.front.select(vcpu.vcpu, vcpu.number)
            vcpu.keep_pending(self.front.apic)
        self.current = vcpu
        vcpu.stale = True

    def on_exit(self, _uc: object, number: int, _data: object) -> None:
        """The engine's hook, where there are several vCPUs."""
        self.current.on_exit(number)

    def throw(self, vector: int, code: int | None = None, address: int | None = None) -> None:
        """`PvhExceptions.throw` of the vCPU that is in the engine."""
        self.current.exceptions.throw(vector, code, address)

    def park(self) -> None:
        """`Vcpu.park` of the vCPU that is in the engine."""
        self.current.park()

    def failed(self, error: BaseException, text: str) -> None:
        """`Vcpu.failed` of the vCPU that is in the engine."""
        self.current.failed(error, text)

    def shut_down(self, reason: ShutdownReason) -> None:
        """By a port, which the vCPU in the engine wrote to."""
        self.current.shut_down(reason)

    def not_back(self, tsc: int) -> int:
        """What a vCPU reads of the time stamp counter that stands at `tsc` for it.

        The time of one may be a quantum behind another's; but a guest that compares what both have read, as Linux does
        before it trusts the counter, must not see it go back.
        """
        self._tsc = value = max(self._tsc, tsc)
        return value

    # -- a vCPU's beginning and end

    def initialise(self, call: Call, row: VcpuRow, arg: int) -> None:
        """VCPUOP_initialise: see `hypervisor.vcpu_op.Host.initialise_vcpu`."""
        data = call.memory.read(arg, SIZE)
        if self._hv.vcpus.initialised[row]:
            raise XenError(Errno.EEXIST)
        vcpu = self.members[self._hv.vcpus.vcpu_id[row]]
        words = WordsCopy(self._boot.words)
        load_context(words, data)
        if words.q[env.CR0] & CR0_PG and not words.q[env.CR0] & CR0_PE:  # the processor would refuse to enter it
            raise GuestCrash(self._domid, vcpu.number, "CR0 has PG without PE")
        self._begin(vcpu, words)

    def wake(self, vcpu_id: int) -> None:
        """See `apic_bus.Processors`."""
        self._hv.sched.wake(self.members[vcpu_id].vcpu)

    def init(self, vcpu_id: int) -> None:
        """See `apic_bus.Processors`.  Nothing happens to one that is reset already."""
        vcpu, vcpus = self.members[vcpu_id], self._hv.vcpus
        if vcpus.initialised[vcpu.vcpu]:
            vcpus.initialised[vcpu.vcpu] = 0
            self._hv.sched.reset(vcpu.vcpu)
            vcpu.apic.reset()

    def start_up(self, vcpu_id: int, page: int) -> None:
        """See `apic_bus.Processors`.  It goes to all that were never initialised, too, as in Xen."""
        vcpu, vcpus = self.members[vcpu_id], self._hv.vcpus
        if not vcpus.initialised[vcpu.vcpu]:
            words = WordsCopy(self._boot.words)
            set_real_mode_state(words, page)
            self._begin(vcpu, words)
            vcpus.initialised[vcpu.vcpu] = 1
            self._hv.sched.up(vcpu.vcpu)

    def _begin(self, vcpu: "PvhVcpu", words: WordsCopy) -> None:
        assert vcpu is not self.current, "a vCPU that is in the engine has begun"
        self._states[vcpu.vcpu] = self._boot._replace(words=bytes(words.data))
        vcpu.begin_anew()

    # -- to go on elsewhere

    def save(self) -> PvhTurnsState:
        """All processors, between two slices."""
        processors = [vcpu.save_engine() if vcpu is self.current else self._states[vcpu.vcpu] for vcpu in self.members]
        return PvhTurnsState(self.current.number, processors, self._boot, self.bus.last, self._tsc)

    def restore(self, state: PvhTurnsState) -> None:
        """Go on with processors that were saved, in an engine that is in guest mode.

        Raises ValueError where they are none.
        """
        engine = self.engine
        assert engine is not None
        if len(state.processors) != len(self.members) or not 0 <= state.current < len(self.members):
            raise ValueError("expected the state of other processors")
        sizes = {len(processor.words) for processor in (state.boot, *state.processors)}
        if sizes != {engine.q.nbytes}:
            raise ValueError("expected the state of a processor")
        self.booted()
        self._boot, self.bus.last, self._tsc = state.boot, state.last, state.tsc
        self.take(self.members[state.current])
        for vcpu, processor in zip(self.members, state.processors, strict=True):
            if vcpu is not self.current:
                self._states[vcpu.vcpu] = processor
        restore_engine(engine, state.processors[state.current])
