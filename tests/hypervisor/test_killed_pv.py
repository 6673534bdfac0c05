"""A process dies at any of its writes while its PV domain changes page tables, or maps another's pages."""

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import pytest
from kill_points import kill_at_writes

from abi.grant_table import GNTMAP_host_map, GNTMAP_readonly, GTF_accept_transfer
from abi.types import Domid, Gfn, GrantRef, VcpuRow
from abi.xen import MmuextOp
from clock.source import VirtualClock
from clock.wallclock import Wallclock
from grants.entries import Entry
from hypervisor.domain import start_domain
from hypervisor.host_state import HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import DomainState
from hypervisor.xen_version import XenVersion
from tests.hypervisor import pv_host
from tests.hypervisor.pv_host import BASE, FREE, PAGES, RW, A, D, P, PvHost

ONE, TWO, PVH = Domid(1), Domid(2), Domid(3)
HOLE = 0x80000


class Scene(PvHost):
    """Domains 1 (PV) and 3 (PVH) have pages of domain 2 mapped, and domain 2 one of domain 1."""

    def __init__(self, width):
        super().__init__(width)
        hv, mappings = self.hv, self.hv.grants.mappings
        self.hv.local_flush.clear()
        for granter, grantee, ref in ((2, 1, 8), (2, 1, 9), (2, 3, 10), (2, 3, 11), (1, 2, 8)):
            hv.grants.seed(Domid(granter), GrantRef(ref), Domid(grantee), Gfn(self.mfn(FREE + ref, granter)))
        self.mapped = mappings.map_grant_ref(ONE, BASE + FREE * 4096, GNTMAP_host_map, GrantRef(8), TWO)[0]
        self.seen = mappings.map_grant_ref(PVH, HOLE << 12, GNTMAP_host_map, GrantRef(10), TWO)[0]
        self.theirs = mappings.map_grant_ref(TWO, BASE + FREE * 4096, GNTMAP_host_map, GrantRef(8), ONE)[0]
        start_domain(hv, PVH)
        hv.sched.current = VcpuRow(1)

    def survive(self, victim):
        shape = self.hv.state.shape
        self.hv = hv = Hypervisor(HostState(self.memory, shape), VirtualClock(10**9), XenVersion("4.17"),
                                  Wallclock(0, 0), pv_host.Io())
        self.pv, self.u64 = hv.pv, hv.arena.u64
        hv.sched.current = VcpuRow(0)
        hv.lose({victim: "the domain's actor died"})
        hv.host.horizon[0] = max(hv.groups.table.ended)  # when others hear of it
        hv.rounds.end()
        assert hv.domains.state[victim] == DomainState.DEAD
        self.first.pop(victim, None)
        extra = []  # the grant tables' own references to what the living have mapped of each other
        if victim != ONE:
            extra += [(self.mfn(FREE + 8, 1), False), (self.mfn(FREE + 8, 2), False)]
        if victim != PVH:
            extra.append((self.mfn(FREE + 10, 2), True))
        self.check(extra)
        assert hv.frames.owner(self.theirs_frame) == ONE
        hv.grants.mappings.unmap_grant_ref(TWO, BASE + FREE * 4096, 0, self.theirs)
        for domid in (ONE, TWO, PVH):
            hv.sched.shutdown(domid, 0)
        hv.reap()
        hv.rounds.end()
        for domid in (ONE, TWO, PVH):
            assert hv.frames.heap.is_whole(domid), domid
            assert not hv.domains.tot_pages[domid]
            assert not hv.grants.domains.lingering[domid]


@pytest.fixture(params=[64, 32])
def scene(request, monkeypatch):
    kept = []

    def private(handle, size):
        kept.append(mmap(handle, size, flags=MAP_PRIVATE | MAP_ANONYMOUS))
        return kept[-1]

    monkeypatch.setattr(pv_host, "mmap", private)
    scene = Scene(request.param)
    scene.memory = memoryview(kept[0])
    scene.theirs_frame = scene.mfn(FREE + 8, 1)
    return scene


def a_table(scene):
    """Make a page an L1 that maps pages of its own, pin it, and unpin it."""
    page, other = FREE + 20, FREE + 21
    for index in range(4):
        scene.u64[(scene.mfn(page) << 9) + index * 7] = scene.mfn(other + index) << 12 | P | RW | A | D
    scene.protect(page)
    assert scene.ext((MmuextOp.PIN_L1_TABLE, scene.mfn(page))) == 0
    assert scene.mmu((scene.mfn(page) << 12, scene.mfn(other + 5) << 12 | P | RW)) == 0
    assert scene.ext((MmuextOp.UNPIN_TABLE, scene.mfn(page))) == 0


def give(scene, taker, page):
    """Domain 1 gives a page away."""
    grants = scene.hv.grants
    scene.va(FREE + 30, 0)
    grants._entries[grants.domains.version[taker]].write(
        taker, GrantRef(7), Entry(GTF_accept_transfer, ONE, Gfn(page)))
    grants.transfers.transfer(ONE, Gfn(scene.mfn(FREE + 30)), taker, GrantRef(7))


def end_itself(scene):
    scene.hv.sched.shutdown(ONE, 0)
    scene.hv.reap()


DEEDS = {
    "maps": (ONE, lambda scene: scene.hv.grants.mappings.map_grant_ref(
        ONE, BASE + (FREE + 1) * 4096, GNTMAP_host_map, GrantRef(9), TWO)),
    "maps to read": (ONE, lambda scene: scene.hv.grants.mappings.map_grant_ref(
        ONE, BASE + (FREE + 1) * 4096, GNTMAP_host_map | GNTMAP_readonly, GrantRef(9), TWO)),
    "unmaps": (ONE, lambda scene: scene.hv.grants.mappings.unmap_grant_ref(ONE, BASE + FREE * 4096, 0, scene.mapped)),
    "writes over a mapping": (ONE, lambda scene: scene.va(FREE, 0)),
    "a PVH domain maps": (PVH, lambda scene: scene.hv.grants.mappings.map_grant_ref(
        PVH, HOLE + 1 << 12, GNTMAP_host_map, GrantRef(11), TWO)),
    "a PVH domain unmaps": (PVH, lambda scene: scene.hv.grants.mappings.unmap_grant_ref(
        PVH, HOLE << 12, 0, scene.seen)),
    "makes a page table": (ONE, a_table),
    "gives a page to a PVH domain": (ONE, lambda scene: give(scene, PVH, HOLE + 7)),
    "gives a page to a PVH domain, where a table is missing": (ONE, lambda scene: give(scene, PVH, 2 * HOLE)),
    "gives a page to a PV domain": (ONE, lambda scene: give(scene, TWO, 0x7000)),
    "ends": (ONE, end_itself),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_who_dies_over_page_tables_harms_nobody(scene, deed):
    victim, operation = DEEDS[deed]
    assert scene.pages == PAGES
    assert kill_at_writes(lambda: operation(scene), lambda: scene.survive(victim)) > 1
