"""Sharing groups: who may touch whose things, and who has to wait until they are one group."""

import pytest
from group_host import HOLE, GroupHost, fails
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from abi.grant_table import GNTCOPY_source_gref
from abi.types import Domid, VcpuRow
from hypervisor.groups import Apart
from hypervisor.tables import DomainState

A, B, C, D = map(Domid, (1, 2, 3, 4))


def alone(*domids):
    return frozenset(domids)


def test_a_new_domain_is_a_group_of_its_own():
    assert GroupHost(3).groups() == {alone(A), alone(B), alone(C)}


def test_a_channel_makes_one_group_of_two_and_closing_it_makes_two_again():
    host = GroupHost(3)
    _, port = host.bind(A, B)
    host.round()
    assert host.groups() == {alone(A, B), alone(C)}
    host.hv.events.close(B, port)
    assert host.groups() == {alone(A, B), alone(C)}, "not at once"
    host.round()
    assert host.groups() == {alone(A), alone(B), alone(C)}


def test_only_what_is_of_the_own_group_is_fetched_from_other_nodes():
    host = GroupHost(4)
    host.bind(A, B)
    host.hv.domains.state[C] = DomainState.DEAD
    fetched = []
    host.hv.groups.reach = fetched.append
    host.hv.groups.require(A, B)
    host.hv.groups.require(A, C)  # several groups may ask for it at once, and all get the same answer
    with pytest.raises(Apart):
        host.hv.groups.require(A, D)
    assert fetched == [B]
    host.hv.groups.require(Domid(0), D)
    assert fetched == [B, D]


def test_a_mapped_grant_links_until_it_is_unmapped():
    host = GroupHost(2)
    handle = host.map(A, B, host.grant(B, A), HOLE)
    host.round()
    assert host.groups() == {alone(A, B)}
    host.unmap(A, handle, HOLE)
    host.round()
    assert host.groups() == {alone(A), alone(B)}


def test_two_who_map_pages_of_a_third_are_in_one_group_with_it_even_when_it_is_dead():
    host = GroupHost(3)
    for mapper in (A, C):
        host.map(mapper, B, host.grant(B, mapper), HOLE)
    host.round()
    assert host.groups() == {alone(A, B, C)}
    host.hv.sched.shutdown(B, 3)
    host.hv.reap()
    host.round()
    host.hv.groups.loosen(A, host.hv.later())
    host.round()
    assert host.hv.domains.state[B] == DomainState.DEAD
    assert host.hv.groups.together(A, C), "both still have pages of the dead one"


def test_a_call_that_leaves_no_link_joins_for_that_call():
    host = GroupHost(2)
    assert fails(lambda: host.map(A, B, 77, HOLE))
    assert host.groups() == {alone(A, B)}
    host.round()
    assert host.groups() == {alone(A), alone(B)}


def test_a_copy_between_grants_of_two_other_domains_gets_both():
    host = GroupHost(3)
    source, dest = host.grant(B, A), host.grant(C, A)
    host.act(A, lambda: host.hv.grants.copies.copy(A, source, B, 0, dest, C, 0, 100, GNTCOPY_source_gref | 2))
    assert host.groups() == {alone(A, B, C)}


@pytest.mark.parametrize("operation", [
    lambda hv: hv.events.bind_interdomain(A, B, 5), lambda hv: hv.events.status(A, B, 5),
    lambda hv: hv.events.alloc_unbound(A, B, A), lambda hv: hv.events.reset(A, B),
    lambda hv: hv.grants.mappings.map_grant_ref(A, 0x80000000, 2, 8, B),
    lambda hv: hv.grants.copies.copy(A, 8, B, 0, 16, A, 0, 10, GNTCOPY_source_gref)])
def test_what_touches_another_group_is_put_off_before_anything_has_happened(operation):
    host = GroupHost(2)
    before = bytes(host.hv.arena.u8[:])
    with pytest.raises(Apart) as raised:
        operation(host.hv)
    assert raised.value.other == B
    assert bytes(host.hv.arena.u8[:]) == before


def test_a_domain_that_does_not_exist_is_nobodys_group():
    host = GroupHost(2)
    for domid in (0, 3, 500, 0x7FF0):
        host.hv.groups.require(A, domid)
    host.hv.sched.shutdown(B, 0)
    host.hv.reap()
    with pytest.raises(Apart):  # others hear of its end when the round ends
        host.hv.groups.require(A, B)
    host.round()
    host.hv.groups.require(A, B)


class GroupsAreWhatHangsTogether(RuleBasedStateMachine):
    """Channels and mappings between six domains, made and unmade in any order, against the graph that they are."""

    @initialize()
    def boot(self):
        self.host = GroupHost(6)
        self.channels, self.mappings, self.dead = [], [], set()
        self.gfn = HOLE

    @rule(one=st.integers(1, 6), other=st.integers(1, 6))
    def bind(self, one, other):
        if one != other and not {one, other} & self.dead:
            self.channels.append((one, other, *self.host.bind(one, other)))

    @precondition(lambda self: self.channels)
    @rule(data=st.data(), end=st.integers(0, 1))
    def close(self, data, end):
        channel = self.channels.pop(data.draw(st.integers(0, len(self.channels) - 1)))
        if channel[end] not in self.dead:
            self.host.act(channel[end], lambda: self.host.hv.events.close(channel[end], channel[2 + end]))

    @rule(mapper=st.integers(1, 6), granter=st.integers(1, 6))
    def map(self, mapper, granter):
        if mapper != granter and not {mapper, granter} & self.dead:
            self.gfn += 1
            handle = self.host.map(mapper, granter, self.host.grant(granter, mapper), self.gfn)
            self.mappings.append((mapper, granter, handle, self.gfn))

    @precondition(lambda self: self.mappings)
    @rule(data=st.data())
    def unmap(self, data):
        mapper, _, handle, gfn = self.mappings.pop(data.draw(st.integers(0, len(self.mappings) - 1)))
        if mapper not in self.dead:
            self.host.unmap(mapper, handle, gfn)

    @rule(domid=st.integers(1, 6))
    def die(self, domid):
        if domid not in self.dead:
            self.host.hv.sched.current = VcpuRow(domid)
            self.host.hv.sched.shutdown(domid, 0)
            self.host.hv.reap()
            self.dead.add(domid)
            self.channels = [channel for channel in self.channels if domid not in channel[:2]]
            self.mappings = [mapping for mapping in self.mappings if mapping[0] != domid]

    @invariant()
    def groups_are_components(self):
        self.host.round()
        self.host.round()  # what was joined for a call that left no link
        part = {domid: {domid} for domid in range(1, 7)}
        for one, other, *_ in self.channels + self.mappings:
            if part[one] is not part[other]:
                together = part[one] | part[other]
                for domid in together:
                    part[domid] = together
        for one in range(1, 7):
            for other in range(1, 7):
                if not {one, other} & self.dead:
                    assert self.host.hv.groups.together(one, other) == (other in part[one])


TestGroupsAreWhatHangsTogether = GroupsAreWhatHangsTogether.TestCase
TestGroupsAreWhatHangsTogether.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
