"""The vCPUs of a PVH domain: one that has the engine to itself, or several that take turns in it."""

from collections.abc import Sequence

from abi.types import Domid, VcpuRow
from domains.native import BlockMeter
from domains.pvh_turns import PvhTurns
from domains.pvh_vcpu import PvhVcpu
from hypervisor.hypervisor import Hypervisor


class OneOfSeveral(PvhVcpu):
    """A vCPU of several."""

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
