"""Rounds: windows of virtual time, and what waits for their end."""

from group_host import HOLE, GroupHost

from abi.sched import ShutdownReason
from abi.types import NEVER, Domid, VcpuRow
from hypervisor.rounds import LONGEST, SHORTEST
from hypervisor.tables import DomainState, RunState

A, B, C = map(Domid, (1, 2, 3))


def settle(host):
    """Rounds in which nothing happens between groups, until windows are as long as they get."""
    for _ in range(10):
        host.round()


def test_a_round_begins_where_the_first_vcpu_is_and_ends_a_window_later():
    host = GroupHost(2)
    host.hv.vcpus.due[A], host.hv.vcpus.due[B] = 5_000, 9_000
    host.hv.rounds.next()
    assert host.hv.host.horizon[0] == 5_000 + host.hv.host.window[0]
    assert host.hv.rounds.active() == [A, B]
    host.hv.vcpus.due[B] = host.hv.host.horizon[0]
    assert host.hv.rounds.active() == [A]


def test_there_is_no_round_where_all_wait_for_ever():
    host = GroupHost(2)
    host.hv.vcpus.due[A] = host.hv.vcpus.due[B] = NEVER
    assert not host.hv.rounds.next()


def test_windows_grow_while_nothing_happens_between_groups_and_are_short_after_it_has():
    host = GroupHost(2)
    settle(host)
    assert host.hv.host.window[0] == LONGEST
    host.bind(A, B)
    assert host.hv.host.window[0] == SHORTEST


def test_with_many_groups_windows_stay_shorter():
    host = GroupHost(64)
    settle(host)
    assert SHORTEST < host.hv.host.window[0] < LONGEST


def test_no_slice_goes_beyond_the_horizon():
    host = GroupHost(2)
    host.hv.sched.start(A)
    assert host.hv.sched.slice_end <= host.hv.host.horizon[0]


def test_who_waits_for_another_group_goes_on_first_in_the_next_round():
    host = GroupHost(2)
    sched, horizon = host.hv.sched, host.hv.host.horizon[0]
    sched.start(A)
    host.hv.vcpus.local_time[A] += 100
    host.hv.join(A, B)
    assert sched.changed
    assert host.hv.vcpus.runstate[A] == RunState.RUNNABLE
    assert host.hv.vcpus.due[A] == horizon
    host.hv.vcpus.due[B] = horizon + 7
    host.round()
    assert host.hv.groups.together(A, B)
    assert host.hv.sched.pick() == A


def test_a_dead_domain_is_dead_to_others_at_the_end_of_the_round():
    host = GroupHost(2)
    told = []
    host.hv.destroyed.append(told.append)
    alive = host.hv.host.alive[0]
    host.hv.sched.shutdown(B, ShutdownReason.poweroff)
    host.hv.reap()
    assert host.hv.domains.state[B] == DomainState.SHUTDOWN
    assert (host.hv.host.alive[0], told) == (alive, [])
    host.round()
    assert host.hv.domains.state[B] == DomainState.DEAD
    assert (host.hv.host.alive[0], told) == (alive - 1, [B])


def test_the_dead_are_buried_in_the_order_of_their_ends():
    host = GroupHost(3)
    told = []
    host.hv.destroyed.append(told.append)
    for domid, time in ((A, 300), (B, 100), (C, 200)):
        host.hv.vcpus.local_time[domid] = time
        host.hv.sched.shutdown(domid, ShutdownReason.poweroff)
        host.hv.reap()
    host.round()
    assert told == [B, C, A]


def test_the_store_serves_in_order_of_time_and_domid_when_the_round_ends():
    host = GroupHost(3)
    served = []
    host.hv.serve_store = served.append
    for domid, time in ((C, 100), (A, 300), (B, 100), (A, 400)):
        host.hv.sched.current = VcpuRow(domid)
        host.hv.vcpus.local_time[domid] = time
        host.hv._store_event(domid, 1)
    assert served == []
    host.round()
    assert served == [B, C, A]
    host.round()
    assert served == [B, C, A]


def test_the_only_group_need_not_wait_for_the_store():
    host = GroupHost(2)
    served = []
    host.hv.serve_store = served.append
    host.map(A, B, host.grant(B, A), HOLE)
    host.round()
    host.hv.sched.current = VcpuRow(A)
    host.hv._store_event(A, 1)
    assert served == [A]


def test_who_is_woken_at_the_end_of_a_round_wakes_at_the_time_that_all_have_reached():
    host = GroupHost(2)
    host.hv.sched.start(A)
    host.hv.sched.block(A)
    host.hv.vcpus.local_time[B] = horizon = host.hv.host.horizon[0]
    host.hv.serve_store = lambda domid: host.hv.sched.wake(A)
    host.hv.groups.table.store[B] = 1
    host.round()
    assert host.hv.vcpus.local_time[A] == host.hv.vcpus.due[A] == horizon
