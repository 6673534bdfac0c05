"""Scheduler and event channels together: timers and polls as a guest sees them."""

import pytest
from event_channel_host import EventHost
from sched_host import QUANTUM, schedule

from abi.xen import Virq
from hypervisor.event_channel import EventChannels
from hypervisor.sched import Scheduler
from hypervisor.tables import RunState


class Host(EventHost):
    """`EventHost` with a scheduler: vCPU 0 of domains 1 and 2 is up."""

    def __init__(self):
        super().__init__()
        self.sched = sched = Scheduler(self.domains, self.vcpus, QUANTUM)
        sched.format()
        self.events = EventChannels(self.channels, self.virqs, self.spaces, self.domains, self.vcpus, self.arena,
                                    sched.wake)
        sched.timer_event = lambda row: self.events.send_virq(row, Virq.TIMER)
        self.one, self.two = self.row(1, 0), self.row(2, 0)
        for row in (self.one, self.two):
            sched.add_vcpu(row)
            sched.up(row)


@pytest.fixture
def host():
    return Host()


def test_a_timer_with_an_upcall_wakes_a_blocked_vcpu(host):
    port = host.events.bind_virq(1, Virq.TIMER, 0)
    host.sched.start(host.one)
    host.sched.set_singleshot(host.one, 50)
    host.sched.block(host.one)
    assert schedule(host.sched) == host.two
    host.sched.start(host.two)
    host.sched.block(host.two)
    assert schedule(host.sched) == host.one
    assert host.vcpus.due[host.one] == 50
    assert host.upcall_handler(1, 0) == [port]


def test_a_masked_timer_wakes_nobody_but_who_polls_for_it(host):
    port = host.events.bind_virq(1, Virq.TIMER, 0)
    host.mask(1, port)
    host.sched.start(host.one)
    host.sched.set_singleshot(host.one, 50)
    host.sched.block(host.one)
    host.sched.start(host.two)
    host.sched.block(host.two)
    assert schedule(host.sched) is None
    host.take(1, port)
    host.sched.wake(host.one)
    host.sched.start(host.one)
    host.sched.set_singleshot(host.one, 90)
    host.sched.poll(host.one, port)
    assert schedule(host.sched) == host.one
    assert host.vcpus.due[host.one] == 90


def test_two_domains_play_ping_pong(host):
    port, remote_port = host.connected()
    turns, ports = [], {host.one: (1, port), host.two: (2, remote_port)}
    for _ in range(6):
        row = schedule(host.sched)
        turns.append(row)
        host.sched.start(row)
        domid, mine = ports[row]
        host.vcpus.local_time[row] += 10
        host.upcall_handler(domid, 0)
        host.events.send(domid, mine)
        host.sched.block(row)
    assert turns == [host.one, host.two] * 3
    assert host.vcpus.runstate[host.two] == RunState.BLOCKED
    assert host.vcpus.local_time[host.one] == 50
