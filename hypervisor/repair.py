"""What a process leaves behind that died in the middle of anything, put right.

Whoever is killed while it makes a hypercall, or while it ends a round, leaves the host's tables half changed.  Nobody
looks at them before the hypervisor's process, which lets everybody stand still, has been here.  Some facts are
*primary*: which domains live; of each living domain its maptrack, its page tables, which ports it has, what its frames
are; these are right at any instant, because only their own domain writes them, or one store does.  Everything else is
*derived* from them anew: pins, references, type counts, the far ends of channels, heap lists, due times, groups.  What
the dead domains had is not unwound, which would lead through their broken tables: their facts are simply struck out,
and what followed from these is then gone as well.

All of it may be done again, by one who finds it half done.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from abi.types import Domid, VcpuRow
from hypervisor.frames import Frames
from hypervisor.groups import GroupTable
from hypervisor.host_state import HostState, HostTable
from hypervisor.memory import MemoryTable
from hypervisor.p2m import P2m, P2mTable
from hypervisor.pv_tables import (
    DESCRIPTOR_FRAMES,
    GdtFrameTable,
    LdtFrameTable,
    PvDomainTable,
    PvNestedTable,
    PvVcpuTable,
)
from hypervisor.repair_events import EventRepair
from hypervisor.repair_frames import FrameRepair
from hypervisor.repair_grants import GrantRepair
from hypervisor.tables import DomainState, DomainTable
from hypervisor.vcpu_timer import VcpuTimers

if TYPE_CHECKING:
    from hypervisor.groups import Groups


class Wrong(NamedTuple):
    """How much of what the living depend on had to be put right."""

    grants: int
    frames: int
    events: int


class Repair:
    """For one host; `wake` makes a blocked vCPU runnable."""

    def __init__(self, state: HostState, frames: Frames, p2m: P2m, groups: "Groups", timers: VcpuTimers,
                 wake: Callable[[VcpuRow], None]) -> None:
        self._state, self._groups = state, groups
        self._grants, self._frames = GrantRepair(state), FrameRepair(state, frames, p2m)
        self._events = EventRepair(state, timers, wake)

    def run(self, dead: Iterable[Domid]) -> Wrong:
        """The domains in `dead` have shut down, or were dead already, and their processes died."""
        ended = set(dead)
        for domid in ended:
            self._events.forget(domid)
            self._grants.forget(domid)
            self._forget_memory(domid)
        grants = self._grants.run(ended)
        frames = self._frames.run(ended)
        events = self._events.run(ended)
        self._groups.form_anew()
        domains, host = self._state.table(DomainTable), self._state.table(HostTable)
        host.alive[0] = sum(domains.awaited[domid] != 0 for domid in range(1, domains.rows)
                            if domains.state[domid] in (DomainState.RUNNING, DomainState.SHUTDOWN))
        return Wrong(grants, frames, events)

    def _forget_memory(self, domid: Domid) -> None:
        """The dead domain refers to no frames any more."""
        table = self._state.table
        domains, pv = table(DomainTable), table(PvVcpuTable)
        for p2m in (table(P2mTable), table(PvNestedTable)):
            p2m.root[domid] = p2m.directory[domid] = 0
        table(PvDomainTable).perdomain_l3[domid] = 0
        domains.shared_info[domid] = table(MemoryTable).map_page[domid] = 0
        table(GroupTable).store[domid] = 0
        first = domains.vcpu_base[domid]
        for row in range(first, first + domains.vcpu_count[domid]):
            pv.kernel_cr3[row] = pv.user_cr3[row] = pv.compat_l4[row] = pv.spare_l4[row] = 0
            for descriptors in (table(GdtFrameTable).mfn, table(LdtFrameTable).mfn):
                for index in range(row * DESCRIPTOR_FRAMES, (row + 1) * DESCRIPTOR_FRAMES):
                    descriptors[index] = 0
