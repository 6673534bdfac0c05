"""IN and OUT of a PV vCPU: who may (guest_io_okay of pv/emul-priv-op.c)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from abi.errno import XenError
from abi.xen import VmAssist
from domains import delivery
from domains.port_hooks import PortHooks
from domains.ports import Ports

if TYPE_CHECKING:
    from domains.pv_vcpu import PvVcpu


class PvPortHooks(PortHooks):
    """As `PortHooks`, with Xen's rules: I/O privilege and bitmap are what physdev_op has set."""

    def __init__(self, vcpu: "PvVcpu", ports: Ports, fault: Callable[[int, int | None, int | None], None]) -> None:
        turns = vcpu.turns
        super().__init__(vcpu.engine, vcpu.walker, vcpu.hv.arena, ports, fault, turns.park,
                         turns.failed)
        self._turns = turns

    def _allowed(self, port: int, size: int) -> bool:
        if self._engine.parked:
            return False
        vcpu = self._turns.current
        if io_privileged(vcpu) or _in_bitmap(vcpu, port, size):
            return True
        self._fault(delivery.GP, 0, None)
        self._park()
        return False


def io_privileged(vcpu: "PvVcpu") -> bool:
    """The vCPU's IOPL allows it what it allows (iopl_ok)."""
    ring = 3
    if vcpu.kernel_mode():
        ring = 0 if vcpu.hv.assists.bits[vcpu.domid] >> VmAssist.architectural_iopl & 1 else 1
    return vcpu.hv.pv_vcpus.iopl[vcpu.vcpu] >= ring


def _in_bitmap(vcpu: "PvVcpu", port: int, size: int) -> bool:
    table, row = vcpu.hv.pv_vcpus, vcpu.vcpu
    if port + size > table.iobmp_limit[row]:
        return False
    try:
        # As the processor, Xen reads two bytes, the second as ones where it is not there.
        bits = vcpu.memory.read(table.iobmp[row] + (port >> 3), 1)
    except XenError:
        return False
    try:
        bits += vcpu.memory.read(table.iobmp[row] + (port >> 3) + 1, 1)
    except XenError:
        bits += b"\xff"
    return not int.from_bytes(bits, "little") >> (port & 7) & (1 << size) - 1
