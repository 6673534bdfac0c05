"""A process dies before any one of its writes to the host's tables: whatever it was doing, the others go on as if it
had died before or after."""

import pytest
from group_host import HOLE, GroupHost, fails
from kill_points import kill_at_writes

from abi.grant_table import (
    GNTCOPY_source_gref,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GTF_readonly,
    GTF_transitive,
)
from abi.types import NEVER, Domid, Gfn, GrantRef, VcpuRow
from abi.xen import DOMID_SELF
from experiments.kill_invariants import violations
from grants.entries import Entry
from grants.tables import DEFAULT_MAX_GRANT_FRAMES, GrantFrameTable
from hypervisor.event_channel_2l import MASK
from hypervisor.event_channel_tables import PORTS
from hypervisor.tables import DomainState, RunState

VICTIM, FRIEND, OTHER, GONE = map(Domid, (1, 2, 3, 4))
RO = GNTMAP_host_map | GNTMAP_readonly


class Scene(GroupHost):
    """A victim in one group with two others, who share with it and with each other, and with one that is dead."""

    def __init__(self, version=1):
        super().__init__(4)
        hv = self.hv
        for domid in (VICTIM, FRIEND, OTHER, GONE):
            hv.grants.set_version(domid, version)
        for domid in (VICTIM, FRIEND, OTHER, GONE):
            hv.domains.width[domid] = 64
        self.to_friend, self.from_victim = self.bind(VICTIM, FRIEND)
        self.to_other, _ = self.bind(VICTIM, OTHER)
        self.theirs, self.mine = self.bind(FRIEND, OTHER)
        self.map(FRIEND, VICTIM, self.grant(VICTIM, FRIEND), HOLE)
        self.map(OTHER, FRIEND, self.grant(FRIEND, OTHER), HOLE)
        self.ref = self.grant(FRIEND, VICTIM)
        self.handle = self.map(VICTIM, FRIEND, self.ref, HOLE + 1)
        self.given_back = self.map(VICTIM, FRIEND, self.grant(FRIEND, VICTIM), HOLE + 2)
        self.act(FRIEND, lambda: hv.memory.physmap.remove_and_free(FRIEND, 16 + (GrantRef(self.refs[FRIEND] - 1)) % 32))
        old, shared = self.grant(GONE, VICTIM), self.grant(GONE, FRIEND)
        self.old = self.map(VICTIM, GONE, old, HOLE + 3)
        self.map(FRIEND, GONE, shared, HOLE + 4)
        self.fresh = self.grant(FRIEND, VICTIM)
        self.unbound = self.act(FRIEND, lambda: hv.events.alloc_unbound(FRIEND, FRIEND, VICTIM))
        hv.sched.current = VcpuRow(GONE)
        hv.sched.shutdown(GONE, 0)
        hv.reap()
        self.round()
        self.round()
        assert hv.domains.state[GONE] == DomainState.DEAD
        assert violations(hv) == []
        hv.sched.start(VcpuRow(FRIEND))
        hv.vcpus.singleshot[FRIEND] = 10**9
        hv.sched.block(VcpuRow(FRIEND))
        hv.sched.start(VcpuRow(OTHER))
        hv.sched.poll(VcpuRow(OTHER), self.mine)
        hv.sched.start(VcpuRow(VICTIM))
        hv.vcpus.local_time[VICTIM] += 5000

    def unmask(self, domid, port):
        info = self.hv.domains.shared_info[domid]
        self.hv.arena.u8[info + MASK[64] + (port >> 3)] &= ~(1 << (port & 7))

    def survive(self):
        """Another process finds the victim dead; what follows is right, down to the last frame."""
        hv = self.hv = self.another()
        self.stand_still()
        hv.lose({VICTIM: "the domain's actor died"})
        self.round()
        self.round()
        self.check()
        assert hv.domains.state[VICTIM] == DomainState.DEAD
        assert hv.host.alive[0] == 2
        self.talk()
        self.check()
        self.end_of_all()

    def stand_still(self):
        self.hv.sched.current = VcpuRow(0)

    def check(self):
        assert violations(self.hv) == []

    def talk(self):
        """Events between the survivors arrive, and wake."""
        hv = self.hv
        for sender, port, receiver in ((FRIEND, self.theirs, OTHER), (OTHER, self.mine, FRIEND)):
            self.unmask(receiver, self.mine if receiver == OTHER else self.theirs)
            row = VcpuRow(receiver)
            info = hv.vcpus.info[row]
            hv.arena.u8[info] = 0  # the guest takes what is pending...
            hv.arena.u64[info + 8 >> 3] = 0
            shared = hv.domains.shared_info[receiver]
            hv.arena.u8[shared + 0x800:shared + 0x808] = bytes(8)
            if hv.vcpus.runstate[row] == RunState.RUNNABLE:
                hv.sched.start(row)
                hv.sched.block(row)  # ...and sleeps
            hv.sched.current = VcpuRow(sender)
            hv.events.send(sender, port)
            assert hv.vcpus.runstate[row] == RunState.RUNNABLE
            assert hv.vcpus.due[row] == hv.vcpus.local_time[row] != NEVER
        self.stand_still()

    def end_of_all(self):
        """When everybody has unmapped and ended, every frame is free."""
        hv = self.hv
        for domid in (FRIEND, OTHER):
            for handle in range(4):
                row = domid * (hv.grants._handle_share) + handle
                mappings = hv.grants.mappings
                if mappings._flags[row]:
                    mappings.unmap_grant_ref(domid, mappings._address[row], 0, handle)
        self.check()
        for domid in (FRIEND, OTHER):
            hv.sched.shutdown(domid, 0)
        hv.reap()
        self.round()
        self.check()
        assert hv.host.alive[0] == 0
        for domid in (VICTIM, FRIEND, OTHER, GONE):
            assert hv.frames.heap.free_of(domid) == hv.frames.heap._table.frames[domid]
            assert not hv.grants.domains.lingering[domid]


def map_it(scene, ref, gfn, flags=GNTMAP_host_map):
    return scene.hv.grants.mappings.map_grant_ref(VICTIM, gfn << 12, flags, ref, FRIEND)


def unmap_it(scene, handle, gfn):
    scene.hv.grants.mappings.unmap_grant_ref(VICTIM, gfn << 12, 0, handle)


def send_unmasked(scene, port, receiver, far):
    scene.hv.events.ports.abi(receiver).clear_pending(receiver, far)
    scene.unmask(receiver, far)
    scene.hv.events.send(VICTIM, port)


def send_masked(scene):
    scene.hv.events.ports.abi(FRIEND).clear_pending(FRIEND, scene.from_victim)
    scene.hv.events.send(VICTIM, scene.to_friend)


def poll_woken(scene):
    far = scene.hv.events.channels.remote_port[VICTIM * PORTS + scene.to_other]
    scene.hv.events.ports.abi(OTHER).clear_pending(OTHER, far)
    scene.hv.vcpus.poll_port[OTHER] = far
    scene.hv.events.send(VICTIM, scene.to_other)


def balloon(scene):
    memory = scene.hv.memory
    memory.physmap.add_page(VICTIM, 0x1000, memory.allocate_pages(VICTIM, 2, 2), 1)
    memory.physmap.remove_and_free(VICTIM, 20)


def end_itself(scene):
    scene.hv.sched.shutdown(VICTIM, 0)
    scene.hv.reap()


def end_a_round(scene):
    hv = scene.hv
    hv.groups.wish(VcpuRow(FRIEND), OTHER)
    hv.groups.loosen(OTHER, hv.rounds.later(VcpuRow(0)))
    scene.round()


def end_and_be_buried(scene):
    end_itself(scene)
    scene.round()


DEEDS = {
    "maps": lambda scene: map_it(scene, scene.fresh, HOLE + 9),
    "maps to read, where a table is missing": lambda scene: map_it(scene, scene.fresh, 2 * HOLE, RO),
    "maps once more": lambda scene: map_it(scene, scene.ref, HOLE + 9, RO),
    "fails to map": lambda scene: fails(lambda: map_it(scene, scene.fresh, HOLE + 1)),
    "unmaps": lambda scene: unmap_it(scene, scene.handle, HOLE + 1),
    "unmaps what its owner gave back": lambda scene: unmap_it(scene, scene.given_back, HOLE + 2),
    "unmaps what its owner left behind": lambda scene: unmap_it(scene, scene.old, HOLE + 3),
    "binds": lambda scene: scene.hv.events.bind_interdomain(VICTIM, FRIEND, scene.unbound),
    "closes": lambda scene: scene.hv.events.close(VICTIM, scene.to_friend),
    "closes all": lambda scene: scene.hv.events.reset(VICTIM, VICTIM),
    "makes a port": lambda scene: scene.hv.events.alloc_unbound(VICTIM, VICTIM, OTHER),
    "sends, masked": send_masked,
    "sends to one that sleeps": lambda scene: send_unmasked(scene, scene.to_friend, FRIEND, scene.from_victim),
    "sends to one that polls": poll_woken,
    "gets and gives memory": balloon,
    "gets a larger grant table": lambda scene: scene.hv.grants.setup_table(VICTIM, 3),
    "ends": end_itself,
    "ends, and is buried": end_and_be_buried,
    "ends a round": end_a_round,
}


@pytest.mark.parametrize(("deed", "version"), [
    *((deed, 1) for deed in DEEDS),
    *((deed, 2) for deed in ("maps", "maps once more", "fails to map", "unmaps", "ends", "gets a larger grant table"))])
def test_who_dies_in_the_middle_of_anything_harms_nobody(deed, version):
    scene = Scene(version)
    assert kill_at_writes(lambda: DEEDS[deed](scene), scene.survive) > 1


def test_who_dies_while_he_copies_what_was_passed_on_to_him_harms_nobody():
    scene = Scene(version=2)
    hv, ref = scene.hv, GrantRef(7)
    theirs = scene.grant(OTHER, FRIEND)
    hv.grants._entries[2].write(FRIEND, ref, Entry(GTF_transitive | GTF_readonly, VICTIM, Gfn(theirs)))
    hv.arena.u16[(hv.state.table(GrantFrameTable).mfn[FRIEND * DEFAULT_MAX_GRANT_FRAMES] << 11) + ref * 8 + 2] = OTHER
    hv.sched.current = VcpuRow(VICTIM)
    assert kill_at_writes(lambda: hv.grants.copies.copy(
        VICTIM, ref, FRIEND, 0, 16, DOMID_SELF, 0, 4096, GNTCOPY_source_gref), scene.survive) > 1


@pytest.mark.parametrize("version", [1, 2])
def test_who_dies_while_he_changes_the_version_of_his_table_harms_nobody(version):
    scene = Scene(version)
    scene.unmap(FRIEND, 0, HOLE)
    scene.hv.sched.current = VcpuRow(VICTIM)
    assert kill_at_writes(lambda: scene.hv.grants.set_version(VICTIM, 3 - version), scene.survive) > 1
