"""The local APIC of a vCPU, in x2APIC mode from the start (x86/hvm/vlapic.c): all of it is MSRs, and there is no page.

There is no IO-APIC: interrupts come from itself and from the domain's other processors (the ICR, SELF_IPI) and from its
timer, are all edge-triggered, and wait in IRR until the vCPU takes them.  Priorities are the processor's: a vector is
delivered when its upper four bits are more than those of the task priority and of all that is in service.
"""

from collections.abc import Callable
from typing import NamedTuple

from abi.types import NEVER
from hypervisor.apic import (
    BROADCAST,
    ESR_RECEIVE_ILLEGAL_VECTOR,
    ESR_SEND_ILLEGAL_VECTOR,
    FIRST_LEGAL_VECTOR,
    ICR_LOGICAL,
    LVT_MASKED,
    LVT_PERIODIC,
    SVR_ENABLED,
    ApicRegister,
    DeliveryMode,
    Shorthand,
    apic_id,
    logical_id,
)
from hypervisor.apic_bus import ApicBus

BUS_CYCLE = 10
"""Nanoseconds: the timer counts at 100 MHz, divided by what the guest sets (Xen's APIC_BUS_CYCLE_NS)."""
SHORTEST_PERIOD = 100_000
"""Nanoseconds between two ticks of a periodic timer, if a guest wants fewer: who blocks would run for ticks alone."""
_R = ApicRegister
_NR_LVT = 6
_VERSION = 0x14 | _NR_LVT - 1 << 16
_LVT = 0xFF | 1 << 12 | LVT_MASKED
_MODE, _PIN = 7 << 8, 7 << 13
_WRITABLE = {
    _R.TPR: 0xFF, _R.SVR: 0xFF | SVR_ENABLED, _R.ESR: 0, _R.EOI: 0, _R.SELF_IPI: 0xFF,
    _R.ICR: BROADCAST << 32 | 3 << 18 | 3 << 14 | ICR_LOGICAL | _MODE | 0xFF,
    _R.LVT_TIMER: _LVT | LVT_PERIODIC, _R.LVT_THERMAL: _LVT | _MODE, _R.LVT_PERFORMANCE: _LVT | _MODE,
    _R.LVT_LINT0: _LVT | _MODE | _PIN, _R.LVT_LINT1: _LVT | _MODE | _PIN, _R.LVT_ERROR: _LVT,
    _R.TIMER_INITIAL: 0xFFFFFFFF, _R.TIMER_DIVIDE: 0xB,
}
"""By register, the bits that may be set; setting another is #GP, as is writing any other register."""
_LVTS = range(_R.LVT_TIMER, _R.LVT_ERROR + 1)
_PENDING_DELIVERY = 1 << 12


class ApicFault(Exception):  # noqa: N818
    """The access raises #GP(0)."""


class VlapicState(NamedTuple):
    """Everything that it remembers; `irr` and `isr` are 256 bits, of which bit n is vector n."""

    irr: bytes
    isr: bytes
    tpr: int
    svr: int
    esr: int
    errors: int
    icr: int
    lvt: tuple[int, ...]
    initial: int
    divide: int
    deadline: int


_RESET = VlapicState(bytes(32), bytes(32), 0, 0xFF, 0, 0, 0, (LVT_MASKED,) * _NR_LVT, 0, 0, NEVER)


class Vlapic:
    """`now()` is the vCPU's system time in nanoseconds; `set_timer(deadline)` has `timer_fired` called then, or not
    at all for NEVER.  `pending[0]` is kept: the vector that is to be delivered as soon as interrupts are open, or 0.
    `bus` leads to the domain's others.
    """

    def __init__(self, vcpu_id: int, pending: "memoryview[int]", now: Callable[[], int],
                 set_timer: Callable[[int], None], bus: ApicBus) -> None:
        self.vcpu_id, self.id, self.logical = vcpu_id, apic_id(vcpu_id), logical_id(vcpu_id)
        self._pending, self._now, self._set_timer, self._bus = pending, now, set_timer, bus
        self.restore(_RESET)
        bus.members.append(self)

    def keep_pending(self, pending: "memoryview[int]") -> None:
        """From now on it is `pending[0]` that is kept."""
        pending[0] = self._pending[0]
        self._pending = pending

    # -- what it remembers

    def save(self) -> VlapicState:
        """To go on elsewhere: the timer's deadline is set there, too, by whoever keeps it."""
        return VlapicState(self._irr.to_bytes(32, "little"), self._isr.to_bytes(32, "little"), self._tpr, self._svr,
                           self._esr, self._errors, self._icr, tuple(self._lvt), self._initial, self._divide,
                           self._deadline)

    def restore(self, state: VlapicState) -> None:
        """Go on with what was saved."""
        self._irr, self._isr = int.from_bytes(state.irr, "little"), int.from_bytes(state.isr, "little")
        self._tpr, self._svr, self._esr, self._errors, self._icr = (
            state.tpr, state.svr, state.esr, state.errors, state.icr)
        self._lvt = list(state.lvt)
        self._initial, self._divide, self._deadline = state.initial, state.divide, state.deadline
        self._update()

    def reset(self) -> None:
        """INIT."""
        self.restore(_RESET)
        self._set_timer(NEVER)

    # -- registers

    def read(self, register: int) -> int:
        """The value of a register (an MSR's number less 0x800).  Raises ApicFault."""
        if register in _LVTS:
            return self._lvt[register - _R.LVT_TIMER]
        for first, bits in ((_R.ISR, self._isr), (_R.TMR, 0), (_R.IRR, self._irr)):
            if first <= register < first + 8:
                return bits >> 32 * (register - first) & 0xFFFFFFFF
        values = {
            _R.ID: self.id, _R.VERSION: _VERSION, _R.TPR: self._tpr, _R.PPR: self.priority(), _R.LDR: self.logical,
            _R.SVR: self._svr, _R.ESR: self._esr, _R.ICR: self._icr, _R.TIMER_INITIAL: self._initial,
            _R.TIMER_CURRENT: self._count(), _R.TIMER_DIVIDE: self._divide,
        }
        if register not in values:
            raise ApicFault
        return values[ApicRegister(register)]

    def write(self, register: int, value: int) -> None:
        """Set a register to a value of 64 bits.  Raises ApicFault, and then nothing has changed."""
        if register not in _WRITABLE or value & ~_WRITABLE[ApicRegister(register)]:
            raise ApicFault
        if register in _LVTS:
            self._write_lvt(register - _R.LVT_TIMER, value)
        elif register == _R.EOI:
            self._isr &= ~(1 << self._highest(self._isr))
        elif register == _R.ICR:
            self._icr = value
            self._send(value)
        elif register == _R.SELF_IPI:
            self._send(Shorthand.SELF << 18 | value)
        elif register == _R.TPR:
            self._tpr = value
        elif register == _R.SVR:
            self._write_svr(value)
        elif register == _R.ESR:
            self._esr, self._errors = self._errors, 0
        elif register == _R.TIMER_INITIAL:
            self._initial = value
            self._start(value)
        else:
            left = self._count()
            self._divide = value
            if self._deadline != NEVER:
                self._start(left)
        self._update()

    def _write_lvt(self, index: int, value: int) -> None:
        if not self._svr & SVR_ENABLED:
            value |= LVT_MASKED
        self._lvt[index] = value & ~_PENDING_DELIVERY

    def _write_svr(self, value: int) -> None:
        self._svr = value
        if not value & SVR_ENABLED:
            self._lvt = [entry | LVT_MASKED for entry in self._lvt]

    # -- priorities

    @staticmethod
    def _highest(bits: int) -> int:
        """The highest vector of a set, 0 of an empty one."""
        return max(0, bits.bit_length() - 1)

    @property
    def enabled(self) -> bool:
        """It is on by software."""
        return bool(self._svr & SVR_ENABLED)

    def priority(self) -> int:
        """The processor's: the higher of the task's and of what is in service."""
        served = self._highest(self._isr)
        return self._tpr if self._tpr >> 4 >= served >> 4 else served & 0xF0

    def _update(self) -> None:
        waiting = self._highest(self._irr)
        self._pending[0] = waiting if self._svr & SVR_ENABLED and waiting >> 4 > self.priority() >> 4 else 0

    def accept(self) -> int:
        """The vCPU takes the vector that is pending, which is in service from now on."""
        vector = self._pending[0]
        self._irr &= ~(1 << vector)
        self._isr |= 1 << vector
        self._update()
        return vector

    # -- interrupts

    def _send(self, command: int) -> None:
        """What is written to the ICR."""
        fixed = command >> 8 & 7 in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY)
        if fixed and command & 0xFF < FIRST_LEGAL_VECTOR:
            self._error(ESR_SEND_ILLEGAL_VECTOR)
        else:
            self._bus.send(self, command)

    def receive(self, vector: int) -> bool:
        """An interrupt comes over the bus.  Whether there is something to deliver now."""
        self._raise(vector)
        self._update()
        return self._pending[0] != 0

    def _raise(self, vector: int) -> None:
        """An interrupt comes; while the APIC is off by software, it gets none."""
        if self._svr & SVR_ENABLED:
            self._irr |= 1 << vector

    def _local(self, index: int) -> None:
        """The interrupt of an LVT entry."""
        entry = self._lvt[index]
        if entry & LVT_MASKED:
            return
        if entry & 0xFF < FIRST_LEGAL_VECTOR:
            self._errors |= ESR_RECEIVE_ILLEGAL_VECTOR  # not by `_error`: the entry may be that for errors
        else:
            self._raise(entry & 0xFF)

    def _error(self, bit: int) -> None:
        self._errors |= bit
        self._local(_R.LVT_ERROR - _R.LVT_TIMER)

    # -- the timer

    def _step(self) -> int:
        """Nanoseconds of one count."""
        return BUS_CYCLE << ((self._divide & 3 | self._divide >> 1 & 4) + 1 & 7)

    def _start(self, count: int) -> None:
        self._deadline = self._now() + count * self._step() if count else NEVER
        self._set_timer(self._deadline)

    def _count(self) -> int:
        if self._deadline == NEVER:
            return 0
        return min(self._initial, max(0, -((self._now() - self._deadline) // self._step())))

    def timer_fired(self, now: int) -> bool:
        """The deadline has come.  Whether there is something to deliver now."""
        if self._lvt[0] & LVT_PERIODIC:
            period = max(self._initial * self._step(), SHORTEST_PERIOD)
            self._deadline += ((now - self._deadline) // period + 1) * period
        else:
            self._deadline = NEVER
        self._set_timer(self._deadline)
        self._local(0)
        self._update()
        return self._pending[0] != 0
