"""The vCPUs of a PVH domain: one that has the engine to itself, or several that take turns in it."""

from collections.abc import Sequence

from abi.types import Domid, VcpuRow
from domains.native import BlockMeter
from domains.pvh_turns import PvhTurns
from domains.pvh_vcpu import PvhVcpu
from hypervisor.hypervisor import Hypervisor

_TSC = 500
"""Nanoseconds of virtual time that reading the time stamp counter takes: Linux does nothing else for 20 ms, with each
pair of processors, to see that the counter does not go back."""


class OneOfSeveral(PvhVcpu):
    """A vCPU of several."""

    def __init__(self, hv: Hypervisor, row: VcpuRow, meter: BlockMeter, turns: PvhTurns) -> None:
        super().__init__(hv, row, meter, turns)
        self._tsc_cycles = self._cycles(_TSC)

    def tsc(self) -> int:
        if self._virtual:
            self._budget[0] -= self._tsc_cycles
        return self.turns.not_back(super().tsc())

    def run_slice(self) -> None:
        self.turns.take(self)
        super().run_slice()

    def p2m_changed(self, gfn: int) -> None:
        for vcpu in self.turns.members:
            vcpu.forget_frames(gfn)
        self.turns.current.stale = True


def make_pvh_vcpus(hv: Hypervisor, rows: Sequence[VcpuRow], meter: BlockMeter) -> list[PvhVcpu]:
    """All of one domain, in the order of `rows`: the first is in the engine, which is not in guest mode yet."""
    turns = PvhTurns(hv, Domid(hv.vcpus.domid[rows[0]]))
    kind = OneOfSeveral if turns.several else PvhVcpu
    return [kind(hv, row, meter, turns) for row in rows]
