"""Exceptions of a PVH vCPU, as its engine reports them: they go to the guest's own interrupt table, and take time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from abi.types import VcpuId
from domains import delivery
from domains import envlayout as env
from domains.delivery import Delivery, TripleFault
from domains.null_mmio import NullMmio

if TYPE_CHECKING:
    from domains.pvh_vcpu import PvhVcpu

_VMCALL = b"\x0f\x01\xc1"
_WRITE, _FETCH = 2, 16
_FAULT = 200
"""Nanoseconds of virtual time that one takes, which may well lead to the next one without any code in between."""


class PvhExceptions:
    """Of one vCPU.  `cycles` turns nanoseconds into work."""

    def __init__(self, vcpu: "PvhVcpu", cycles: Callable[[int], int]) -> None:
        hv, engine = vcpu.hv, vcpu.engine
        self._vcpu, self._engine, self._q, self._d, self._budget = vcpu, engine, engine.q, engine.d, engine.budget
        self._delivery = Delivery(engine, vcpu.walker, hv.arena)
        self.null_mmio = NullMmio(engine, hv.arena, hv.memory, vcpu.domid,
                                   VcpuId(hv.vcpus.vcpu_id[vcpu.vcpu]))
        self._cycles = cycles(_FAULT)

    def handler(self, vector: int) -> Callable[[], None]:
        """What to do when the engine reports exception `vector`."""
        special = {delivery.PF: self._page_fault, delivery.UD: self._invalid_opcode, delivery.DB: self._debug}
        if vector in special:
            return special[vector]
        if vector in delivery.HAS_ERROR_CODE:
            return lambda: self.throw(vector, self._d[env.ERROR_CODE])
        return lambda: self.throw(vector)

    def throw(self, vector: int, code: int | None = None, address: int | None = None) -> None:
        """Raise an exception in the guest, at its RIP; `address` is for CR2."""
        self._charge()
        self.null_mmio.finish()
        try:
            self._delivery.exception(vector, code, address)
        except TripleFault as fault:
            self.triple_fault(fault)

    def interrupt(self, vector: int) -> bool:
        """An interrupt from the APIC, or an upcall; they must be open.  False where that was the processor's end."""
        try:
            self._delivery.interrupt(vector)
        except TripleFault as fault:
            self.triple_fault(fault)
            return False
        return True

    def undefined(self) -> None:
        """#UD."""
        self.throw(delivery.UD)

    def general_protection(self) -> None:
        """#GP."""
        self.throw(delivery.GP, 0)

    def software(self, vector: int) -> None:
        """INT n, INT3 or INTO: the engine has moved RIP past it already."""
        self._d[env.EXCEPTION_IS_INT] = 0  # left set, the next exit would restore a stale RIP
        after = self._q[env.RIP]
        code = self._vcpu.code.at(after - 2, 2)
        self._q[env.RIP] = after - (1 if (vector == delivery.BP and code[-1:] == b"\xcc") or
                                    (vector == delivery.OF and code[-1:] == b"\xce") else 2)
        self._charge()
        try:
            self._delivery.software(vector, after)
        except TripleFault as fault:
            self.triple_fault(fault)

    def nested_page_fault(self) -> None:
        """An access to what is no memory, or not for that."""
        code, address = self._d[env.ERROR_CODE], self._engine.fault_address
        self._charge()
        if not self.null_mmio.begin(address, write=bool(code & _WRITE), fetch=bool(code & _FETCH)):
            self.throw(delivery.GP, 0)

    def shutdown(self) -> None:
        """The processor itself gave up."""
        self.triple_fault(TripleFault(delivery.DF))

    def triple_fault(self, fault: TripleFault) -> None:
        """The processor shut down: Xen ends the domain for HVM_PARAM_TRIPLE_FAULT_REASON."""
        vcpu = self._vcpu
        vcpu.hv.triple_fault(vcpu.domid, f"{fault} at {vcpu.where()}")
        self._engine.stop()

    def _charge(self) -> None:
        """Something took time, and where no block of code comes that would see it, no time is left."""
        self._budget[0] -= self._cycles
        if self._budget[0] < 0:
            self._engine.stop()

    def _page_fault(self) -> None:
        self.throw(delivery.PF, self._d[env.ERROR_CODE], self._engine.fault_address)

    def _invalid_opcode(self) -> None:
        if self._vcpu.code.here(3) == _VMCALL:  # Intel's form of the hypercall instruction
            self._vcpu.vmmcall()
        else:
            self.throw(delivery.UD)

    def _debug(self) -> None:
        if not self.null_mmio.finish():
            self.throw(delivery.DB)
