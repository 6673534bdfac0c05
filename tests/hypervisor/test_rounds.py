"""Rounds: how long they are, and what takes effect between them."""

import pytest
from group_host import HOLE, GroupHost

from abi.sched import ShutdownReason
from abi.types import NEVER, Domid, VcpuRow
from hypervisor.rounds import ALONE, LATENCY
from hypervisor.tables import DomainState, RunState

A, B, C = map(Domid, (1, 2, 3))


def at(host, domid, time):
    """The domain's vCPU runs, and has reached `time`."""
    host.hv.sched.current = VcpuRow(domid)
    host.hv.vcpus.local_time[domid] = time


def end_at(host, time):
    """The end of a round that went up to `time`."""
    host.hv.sched.current = VcpuRow(0)
    host.hv.host.horizon[0] = time
    host.hv.rounds.end()


def test_a_round_begins_where_the_first_vcpu_is_and_takes_as_long_as_it_takes_to_reach_another_group():
    host = GroupHost(2)
    host.hv.vcpus.due[A], host.hv.vcpus.due[B] = 5_000_000, 5_000_900
    host.hv.rounds.next()
    assert host.hv.host.horizon[0] == 5_000_000 + LATENCY
    assert host.hv.rounds.active() == [A, B]
    host.hv.vcpus.due[B] = host.hv.host.horizon[0]
    assert host.hv.rounds.active() == [A]


def test_there_is_no_round_where_all_wait_for_ever():
    host = GroupHost(2)
    host.hv.vcpus.due[A] = host.hv.vcpus.due[B] = NEVER
    assert not host.hv.rounds.next()


def test_the_only_group_has_long_rounds():
    host = GroupHost(2)
    host.bind(A, B)
    host.round()
    assert host.hv.host.alone[0]
    host.hv.rounds.next()
    assert host.hv.host.horizon[0] == min(host.hv.vcpus.due) + ALONE


def test_a_slice_does_not_depend_on_where_the_round_ends():
    host, ends = GroupHost(2), []
    for horizon in (50, 5_000_000):
        host.hv.host.horizon[0] = horizon
        host.hv.sched.start(A)
        ends.append(host.hv.sched.slice_end - host.hv.vcpus.local_time[A])
        host.hv.sched.preempt(A)
    assert ends[0] == ends[1]


def test_a_round_ends_where_something_takes_effect():
    host = GroupHost(3)
    host.hv.vcpus.due[A] = host.hv.vcpus.due[B] = host.hv.vcpus.due[C] = 5_000_000
    host.hv.groups.table.store[C] = 5_300_000
    host.hv.rounds.next()
    assert host.hv.host.horizon[0] == 5_300_000


def test_there_are_rounds_while_something_is_to_take_effect_though_all_wait_for_ever():
    host = GroupHost(2)
    host.hv.vcpus.due[A] = host.hv.vcpus.due[B] = NEVER
    host.hv.groups.table.store[A] = 7_000_000
    assert host.hv.rounds.next()
    assert host.hv.host.horizon[0] == 7_000_000
    assert host.hv.rounds.active() == []


def test_who_waits_for_another_group_goes_on_when_they_are_one():
    host = GroupHost(2)
    sched = host.hv.sched
    sched.start(A)
    host.hv.vcpus.local_time[A] = start = host.hv.vcpus.local_time[A] + 100
    host.hv.join(A, B)
    assert sched.changed
    assert host.hv.vcpus.runstate[A] == RunState.RUNNABLE
    assert host.hv.vcpus.due[A] == start + LATENCY
    end_at(host, start + LATENCY - 1)
    assert not host.hv.groups.together(A, B)
    end_at(host, start + LATENCY)
    assert host.hv.groups.together(A, B)


def test_the_only_group_ends_its_round_itself_when_something_is_to_take_effect():
    host = GroupHost(2)
    host.bind(A, B)
    host.round()
    host.hv.rounds.next()
    host.hv.sched.start(A)
    now = host.hv.vcpus.local_time[A] = host.hv.vcpus.local_time[A] + 50
    host.hv._store_event(A, 1)
    assert host.hv.host.horizon[0] == now + LATENCY


def test_a_dead_domain_is_dead_to_others_a_while_later():
    host = GroupHost(2)
    told = []
    host.hv.destroyed.append(told.append)
    alive = host.hv.host.alive[0]
    at(host, B, 500)
    host.hv.sched.shutdown(B, ShutdownReason.poweroff)
    host.hv.reap()
    assert host.hv.domains.state[B] == DomainState.SHUTDOWN
    assert (host.hv.host.alive[0], told) == (alive, [])
    end_at(host, 500 + LATENCY)
    assert host.hv.domains.state[B] == DomainState.DEAD
    assert (host.hv.host.alive[0], told) == (alive - 1, [B])


@pytest.mark.parametrize("order", [(A, B, C), (C, A, B), (B, C, A)])
def test_the_dead_are_buried_in_the_order_of_their_ends(order):
    host = GroupHost(3)
    told, times = [], {A: 300, B: 100, C: 200}
    host.hv.destroyed.append(told.append)
    for domid in order:
        at(host, domid, times[domid])
        host.hv.sched.shutdown(domid, ShutdownReason.poweroff)
        host.hv.reap()
    end_at(host, 10 * LATENCY)
    assert told == [B, C, A]


def test_the_store_serves_in_order_of_time_and_domid_and_each_once():
    host = GroupHost(3)
    served = []
    host.hv.serve_store = served.append
    for domid, time in ((C, 100), (A, 300), (B, 100), (A, 400)):
        at(host, domid, time)
        host.hv._store_event(domid, 1)
    assert served == []
    end_at(host, 250 + LATENCY)
    assert served == [B, C]
    end_at(host, 300 + LATENCY)
    assert served == [B, C, A]
    end_at(host, 900 + LATENCY)
    assert served == [B, C, A]


def test_who_is_woken_between_rounds_wakes_at_the_time_that_all_have_reached():
    host = GroupHost(2)
    host.hv.sched.start(A)
    host.hv.sched.block(A)
    host.hv.serve_store = lambda domid: host.hv.sched.wake(A)
    at(host, B, 5_000_000)
    host.hv._store_event(B, 1)
    end_at(host, 5_000_000 + LATENCY)
    assert host.hv.vcpus.local_time[A] == host.hv.vcpus.due[A] == 5_000_000 + LATENCY


def test_a_lost_link_is_looked_for_where_it_was_lost_first():
    host = GroupHost(2)
    handles = [host.map(A, B, host.grant(B, A), HOLE + n) for n in range(2)]
    host.round()
    at(host, A, 10_000_000)
    host.unmap(A, handles[0], HOLE)
    at(host, A, 10_000_500)
    host.unmap(A, handles[1], HOLE + 1)
    end_at(host, 10_000_000 + LATENCY)
    assert not host.hv.groups.together(A, B)


def test_who_ends_while_it_waits_for_another_group_is_not_waited_for():
    """Else its group would be looked through for ever, and no deadlock be seen."""
    host = GroupHost(2)
    host.hv.sched.start(A)
    host.hv.join(A, B)
    host.hv.groups.loosen(A, 1)
    host.hv.sched.shutdown(A, ShutdownReason.watchdog)
    host.hv.reap()
    host.hv.vcpus.due[B] = NEVER
    for _ in range(10):
        host.hv.sched.current = VcpuRow(0)
        host.hv.rounds.end()
        if not host.hv.rounds.next():
            return
    raise AssertionError("something is always still to be done")
