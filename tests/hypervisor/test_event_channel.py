"""What EVTCHNOP_* do, operation by operation, with every error code."""

import pytest
from event_channel_host import EventHost, errno_of

from abi.event_channel import EvtchnStatus
from abi.xen import DOMID_IO, DOMID_SELF, Virq
from hypervisor.event_channel_tables import ChannelState
from hypervisor.tables import DomainState

GONE, NEVER_WAS = 5, 6
"""A domain that died, and a domid that nobody had."""
FREE_PORT, NO_PORT = 63, 64
"""Ports of a domain with few channels: one that exists and is free, one that does not exist yet."""


@pytest.fixture
def host():
    host = EventHost()
    host.start(GONE, 64)
    host.end(GONE)
    return host


@pytest.fixture
def events(host):
    return host.events


def fill(host, domid):
    """Use up all ports of a domain."""
    limit = host.domains.evtchn_limit[domid] = 10
    for _ in range(1, limit):
        host.events.alloc_unbound(domid, DOMID_SELF, 0)


def test_the_first_port_is_1_and_a_closed_one_is_used_again(events):
    assert [events.alloc_unbound(1, DOMID_SELF, 2) for _ in range(3)] == [1, 2, 3]
    events.close(1, 2)
    assert events.alloc_unbound(1, DOMID_SELF, 2) == 2
    assert events.alloc_unbound(1, DOMID_SELF, 2) == 4


class TestAllocUnbound:
    def test_waits_for_the_remote_domain(self, events):
        port = events.alloc_unbound(1, DOMID_SELF, 2)
        assert events.status(1, DOMID_SELF, port) == (EvtchnStatus.unbound, 0, 2, 0, 0)

    def test_remote_self_is_the_caller_and_not_the_owner(self, events):
        port = events.alloc_unbound(3, 1, DOMID_SELF)
        assert events.status(1, DOMID_SELF, port).dom == 3

    def test_the_remote_domain_need_not_exist(self, events):
        assert events.alloc_unbound(1, DOMID_SELF, NEVER_WAS) == 1

    def test_naming_oneself_needs_no_privilege(self, events):
        assert events.alloc_unbound(1, 1, 2) == 1

    def test_a_foreign_domain_needs_privilege(self, events):
        assert errno_of(events.alloc_unbound, 1, 2, 1) == "EPERM"
        assert events.alloc_unbound(3, 2, 1) == 1

    def test_a_refused_port_stays_free(self, events):
        assert errno_of(events.alloc_unbound, 1, 2, 1) == "EPERM"
        assert events.alloc_unbound(2, DOMID_SELF, 1) == 1

    @pytest.mark.parametrize("dom", [GONE, NEVER_WAS, 8, DOMID_IO, 0xFFFF])
    def test_no_such_domain(self, events, dom):
        assert errno_of(events.alloc_unbound, 3, dom, 1) == "ESRCH"

    def test_a_domain_that_shut_down_still_has_its_ports(self, host, events):
        host.domains.state[1] = DomainState.SHUTDOWN
        assert events.alloc_unbound(3, 1, 2) == 1

    def test_no_port_left(self, host, events):
        fill(host, 1)
        assert errno_of(events.alloc_unbound, 1, DOMID_SELF, 2) == "ENOSPC"

    def test_a_full_table_is_noticed_before_a_lack_of_privilege(self, host, events):
        fill(host, 2)
        assert errno_of(events.alloc_unbound, 1, 2, 1) == "ENOSPC"

    @pytest.mark.parametrize(("domid", "ports"), [(1, 4096), (2, 1024)])
    def test_the_layout_limits_the_ports(self, events, domid, ports):
        for port in range(1, ports):
            assert events.alloc_unbound(domid, DOMID_SELF, 3) == port
        assert errno_of(events.alloc_unbound, domid, DOMID_SELF, 3) == "ENOSPC"

    def test_a_chosen_port(self, events):
        assert events.alloc_unbound(1, DOMID_SELF, 2, 100) == 100
        assert errno_of(events.alloc_unbound, 1, DOMID_SELF, 2, 100) == "EBUSY"
        assert errno_of(events.alloc_unbound, 2, DOMID_SELF, 1, 1024) == "ENOSPC"


class TestBindInterdomain:
    def test_both_ends_know_each_other(self, events):
        theirs = events.alloc_unbound(2, DOMID_SELF, 1)
        ours = events.bind_interdomain(1, 2, theirs)
        assert events.status(1, DOMID_SELF, ours) == (EvtchnStatus.interdomain, 0, 2, theirs, 0)
        assert events.status(2, DOMID_SELF, theirs) == (EvtchnStatus.interdomain, 0, 1, ours, 0)

    def test_the_new_port_is_pending_at_once(self, host, events):
        theirs = events.alloc_unbound(2, DOMID_SELF, 1)
        ours = events.bind_interdomain(1, 2, theirs)
        assert host.upcall_handler(1, 0) == [ours]
        assert host.woken == [host.row(1, 0)]
        assert not host.pending(2, theirs)

    def test_loopback(self, host, events):
        one = events.alloc_unbound(1, DOMID_SELF, DOMID_SELF)
        other = events.bind_interdomain(1, DOMID_SELF, one)
        host.upcall_handler(1, 0)
        events.send(1, other)
        assert host.upcall_handler(1, 0) == [one]
        events.close(1, one)
        assert events.status(1, DOMID_SELF, other) == (EvtchnStatus.unbound, 0, 1, 0, 0)

    @pytest.mark.parametrize("dom", [GONE, NEVER_WAS, 8, DOMID_IO])
    def test_no_such_domain(self, events, dom):
        assert errno_of(events.bind_interdomain, 1, dom, 1) == "ESRCH"

    @pytest.mark.parametrize("port", [0, FREE_PORT, NO_PORT, 4096, 0xFFFFFFFF])
    def test_no_such_port(self, events, port):
        assert errno_of(events.bind_interdomain, 1, 2, port) == "EINVAL"

    def test_the_port_waits_for_somebody_else(self, events):
        port = events.alloc_unbound(2, DOMID_SELF, 3)
        assert errno_of(events.bind_interdomain, 1, 2, port) == "EINVAL"

    def test_the_port_is_bound_already(self, host, events):
        _, theirs = host.connected()
        assert errno_of(events.bind_interdomain, 1, 2, theirs) == "EINVAL"

    def test_no_port_left_is_noticed_before_a_bad_remote_port(self, host, events):
        fill(host, 1)
        assert errno_of(events.bind_interdomain, 1, 2, NO_PORT) == "ENOSPC"
        assert errno_of(events.bind_interdomain, 1, GONE, NO_PORT) == "ESRCH"

    def test_a_refused_port_stays_free(self, events):
        assert errno_of(events.bind_interdomain, 1, 2, NO_PORT) == "EINVAL"
        assert events.alloc_unbound(1, DOMID_SELF, 2) == 1


class TestBindVirq:
    def test_a_vcpu_binds_its_own_timer(self, events):
        port = events.bind_virq(1, Virq.TIMER, 2)
        assert events.status(1, DOMID_SELF, port) == (EvtchnStatus.virq, 2, 0, 0, Virq.TIMER)

    @pytest.mark.parametrize("virq", [24, 0xFFFFFFFF])
    def test_no_such_virq(self, events, virq):
        assert errno_of(events.bind_virq, 1, virq, 0) == "EINVAL"

    @pytest.mark.parametrize("virq", [Virq.CONSOLE, Virq.DOM_EXC, 5, 15, Virq.ARCH_7])
    def test_a_global_virq_is_bound_on_vcpu_0(self, events, virq):
        assert errno_of(events.bind_virq, 1, virq, 1) == "EINVAL"
        assert errno_of(events.bind_virq, 1, virq, 99) == "EINVAL"
        assert events.bind_virq(1, virq, 0) == 1

    @pytest.mark.parametrize("vcpu_id", [3, 0xFFFFFFFF])
    def test_no_such_vcpu(self, events, vcpu_id):
        assert errno_of(events.bind_virq, 1, Virq.TIMER, vcpu_id) == "ENOENT"

    def test_once_a_vcpu(self, events):
        assert events.bind_virq(1, Virq.TIMER, 0) != events.bind_virq(1, Virq.TIMER, 1)
        assert errno_of(events.bind_virq, 1, Virq.TIMER, 1) == "EEXIST"

    def test_once_a_domain_even_if_it_moved(self, events):
        port = events.bind_virq(1, Virq.CONSOLE, 0)
        events.bind_vcpu(1, port, 2)
        assert errno_of(events.bind_virq, 1, Virq.CONSOLE, 0) == "EEXIST"
        events.close(1, port)
        assert events.bind_virq(1, Virq.CONSOLE, 0) == port

    def test_no_port_left_is_noticed_last(self, host, events):
        timer = events.bind_virq(1, Virq.TIMER, 0)
        host.domains.evtchn_limit[1] = timer + 1
        assert errno_of(events.bind_virq, 1, Virq.TIMER, 0) == "EEXIST"
        assert errno_of(events.bind_virq, 1, Virq.DEBUG, 0) == "ENOSPC"
        host.domains.evtchn_limit[1] = 4096
        assert events.bind_virq(1, Virq.DEBUG, 0) == timer + 1


class TestBindIpi:
    def test_notifies_the_vcpu(self, host, events):
        port = events.bind_ipi(1, 2)
        assert events.status(1, DOMID_SELF, port) == (EvtchnStatus.ipi, 2, 0, 0, 0)
        events.send(1, port)
        assert host.upcall_handler(1, 0) == []
        assert host.upcall_handler(1, 2) == [port]

    def test_no_such_vcpu_is_noticed_before_a_full_table(self, host, events):
        fill(host, 1)
        assert errno_of(events.bind_ipi, 1, 3) == "ENOENT"
        assert errno_of(events.bind_ipi, 1, 2) == "ENOSPC"


class TestBindVcpu:
    def test_interdomain_moves(self, host, events):
        ours, theirs = host.connected()
        events.bind_vcpu(2, theirs, 2)
        events.send(1, ours)
        assert host.woken == [host.row(2, 2)]
        assert host.upcall_handler(2, 2) == [theirs]

    def test_unbound_moves_and_keeps_it_when_bound(self, events):
        theirs = events.alloc_unbound(2, DOMID_SELF, 1)
        events.bind_vcpu(2, theirs, 1)
        events.bind_interdomain(1, 2, theirs)
        assert events.status(2, DOMID_SELF, theirs).vcpu == 1

    def test_a_global_virq_moves(self, host, events):
        port = events.bind_virq(1, Virq.DOM_EXC, 0)
        events.bind_vcpu(1, port, 1)
        events.send_global_virq(1, Virq.DOM_EXC)
        assert host.upcall_handler(1, 1) == [port]

    def test_per_vcpu_virqs_and_ipis_do_not_move(self, events):
        assert errno_of(events.bind_vcpu, 1, events.bind_virq(1, Virq.TIMER, 1), 1) == "EINVAL"
        assert errno_of(events.bind_vcpu, 1, events.bind_ipi(1, 1), 1) == "EINVAL"

    @pytest.mark.parametrize("port", [0, FREE_PORT, NO_PORT, 4096, 0xFFFFFFFF])
    def test_no_such_port(self, events, port):
        assert errno_of(events.bind_vcpu, 1, port, 0) == "EINVAL"

    def test_no_such_vcpu_is_noticed_before_a_bad_port(self, events):
        assert errno_of(events.bind_vcpu, 1, NO_PORT, 3) == "ENOENT"

    def test_a_port_that_is_used_again_is_back_on_vcpu_0(self, events):
        port = events.bind_ipi(1, 2)
        events.close(1, port)
        assert events.status(1, DOMID_SELF, port) == (EvtchnStatus.closed, 0, 0, 0, 0)
        assert events.status(1, DOMID_SELF, events.alloc_unbound(1, DOMID_SELF, 2)).vcpu == 0


class TestSend:
    def test_reaches_the_other_end_both_ways(self, host, events):
        ours, theirs = host.connected()
        events.send(1, ours)
        assert host.upcall_handler(2, 0) == [theirs]
        events.send(2, theirs)
        assert host.upcall_handler(1, 0) == [ours]
        assert host.became_pending == [(2, theirs), (1, ours)]

    def test_an_unbound_port_is_silent(self, host, events):
        events.send(1, events.alloc_unbound(1, DOMID_SELF, 2))
        assert host.became_pending == []

    @pytest.mark.parametrize("port", [0, FREE_PORT, NO_PORT, 4095, 4096, 0xFFFFFFFF])
    def test_no_such_port(self, events, port):
        assert errno_of(events.send, 1, port) == "EINVAL"

    def test_a_virq_is_not_the_guests_to_send(self, events):
        assert errno_of(events.send, 1, events.bind_virq(1, Virq.TIMER, 0)) == "EINVAL"

    def test_the_number_beyond_the_last_port_is_not_the_next_domains(self, host, events):
        events.bind_ipi(2, 0)
        assert errno_of(events.send, 1, 4096 + 1) == "EINVAL"
        assert host.became_pending == []


class TestUnmask:
    @pytest.mark.parametrize("port", [NO_PORT, 4096, 0xFFFFFFFF])
    def test_no_such_port(self, events, port):
        assert errno_of(events.unmask, 1, port) == "EINVAL"

    def test_a_closed_port_stays_as_it_is(self, host, events):
        host.mask(1, FREE_PORT)
        events.unmask(1, FREE_PORT)
        assert host.masked(1, FREE_PORT)

    def test_gives_what_was_held_back_to_the_vcpu_of_the_port(self, host, events):
        port = events.bind_ipi(1, 1)
        host.mask(1, port)
        events.send(1, port)
        assert host.woken == []
        events.unmask(1, port)
        assert host.woken == [host.row(1, 1)]
        assert host.upcall_handler(1, 1) == [port]

    def test_nothing_pending_nothing_given(self, host, events):
        port = events.bind_ipi(1, 1)
        host.mask(1, port)
        events.unmask(1, port)
        assert not host.masked(1, port)
        assert host.woken == []

    def test_an_unmasked_port_is_not_raised_again(self, host, events):
        port = events.bind_ipi(1, 0)
        events.send(1, port)
        host.arena.u8[host.vcpus.info[host.row(1, 0)]] = 0
        events.unmask(1, port)
        assert host.woken == [host.row(1, 0)]


class TestStatus:
    def test_of_ports_that_are_closed_or_reserved(self, events):
        assert events.status(1, DOMID_SELF, 0).status == EvtchnStatus.closed
        assert events.status(1, DOMID_SELF, FREE_PORT).status == EvtchnStatus.closed

    def test_ports_come_into_being_64_at_a_time(self, events):
        assert errno_of(events.status, 1, DOMID_SELF, 64) == "EINVAL"
        for _ in range(64):
            events.bind_ipi(1, 0)
        assert events.status(1, DOMID_SELF, 64).status == EvtchnStatus.ipi
        assert events.status(1, DOMID_SELF, 127).status == EvtchnStatus.closed
        assert errno_of(events.status, 1, DOMID_SELF, 128) == "EINVAL"

    def test_of_another_domain_needs_privilege(self, events):
        port = events.bind_ipi(2, 0)
        assert errno_of(events.status, 1, 2, port) == "EPERM"
        assert events.status(3, 2, port).status == EvtchnStatus.ipi
        assert events.status(2, 2, port).status == EvtchnStatus.ipi

    def test_domain_then_port_then_privilege(self, events):
        assert errno_of(events.status, 1, GONE, NO_PORT) == "ESRCH"
        assert errno_of(events.status, 1, 2, NO_PORT) == "EINVAL"
        assert errno_of(events.status, 1, 2, FREE_PORT) == "EPERM"


class TestClose:
    def test_the_peer_waits_for_the_closer(self, host, events):
        ours, theirs = host.connected()
        events.bind_vcpu(2, theirs, 1)
        events.close(1, ours)
        assert events.status(1, DOMID_SELF, ours).status == EvtchnStatus.closed
        assert events.status(2, DOMID_SELF, theirs) == (EvtchnStatus.unbound, 1, 1, 0, 0)
        assert events.bind_interdomain(1, 2, theirs) == ours

    @pytest.mark.parametrize("port", [0, FREE_PORT, NO_PORT, 4096, 0xFFFFFFFF])
    def test_no_such_port(self, events, port):
        assert errno_of(events.close, 1, port) == "EINVAL"

    def test_twice(self, events):
        port = events.bind_ipi(1, 0)
        events.close(1, port)
        assert errno_of(events.close, 1, port) == "EINVAL"

    def test_a_pending_event_is_forgotten_and_the_mask_is_kept(self, host, events):
        port = events.bind_ipi(1, 0)
        host.mask(1, port)
        events.send(1, port)
        events.close(1, port)
        assert not host.pending(1, port)
        assert host.masked(1, port)

    def test_a_virq_can_be_bound_again(self, events):
        port = events.bind_virq(1, Virq.TIMER, 1)
        events.close(1, port)
        assert events.bind_virq(1, Virq.TIMER, 1) == port


class TestReset:
    def test_closes_everything(self, host, events):
        ours, theirs = host.connected()
        ipi, virq = events.bind_ipi(1, 1), events.bind_virq(1, Virq.TIMER, 1)
        events.reset(1, DOMID_SELF)
        for port in (ours, ipi, virq):
            assert events.status(1, DOMID_SELF, port).status == EvtchnStatus.closed
        assert events.status(2, DOMID_SELF, theirs).status == EvtchnStatus.unbound
        assert events.bind_virq(1, Virq.TIMER, 1) == 1

    def test_leaves_the_hypervisors_ends(self, events):
        port = events.alloc_unbound_xen(1, 0, 1, 3)
        events.reset(1, DOMID_SELF)
        assert events.status(1, DOMID_SELF, port).status == EvtchnStatus.unbound

    @pytest.mark.parametrize("operation", ["reset", "reset_cont"])
    def test_domain_then_privilege_then_pause(self, events, operation):
        reset = getattr(events, operation)
        assert errno_of(reset, 1, GONE) == "ESRCH"
        assert errno_of(reset, 1, 2) == "EPERM"
        assert errno_of(reset, 3, 2) == "EINVAL"

    def test_a_paused_domain_is_reset_from_outside(self, host, events):
        port = events.bind_ipi(2, 0)
        for vcpu_id in range(3):
            host.vcpus.paused[host.row(2, vcpu_id)] = 1
        events.reset(3, 2)
        assert errno_of(events.close, 2, port) == "EINVAL"

    def test_a_domain_that_is_being_built_counts_as_paused(self, host, events):
        host.domains.state[2] = DomainState.BUILDING
        events.reset(3, 2)

    def test_no_reset_is_ever_left_to_continue(self, events):
        assert errno_of(events.reset_cont, 1, DOMID_SELF) == "EBUSY"


def test_priorities_need_the_other_abi(events):
    assert errno_of(events.set_priority, 1, NO_PORT, 0) == "EINVAL"
    assert errno_of(events.set_priority, 1, events.bind_ipi(1, 0), 0) == "ENOSYS"


def test_is_pending_answers_for_ports_that_exist(host, events):
    port = events.bind_ipi(1, 0)
    assert not events.is_pending(1, port)
    events.send(1, port)
    assert events.is_pending(1, port)
    assert not events.is_pending(1, FREE_PORT)
    assert errno_of(events.is_pending, 1, NO_PORT) == "EINVAL"


class TestPollers:
    @pytest.mark.parametrize(("polled", "woken"), [(1, True), (-1, True), (2, False), (0, False)])
    def test_an_event_ends_the_polls_that_wait_for_it(self, host, events, polled, woken):
        port = events.bind_ipi(1, 0)
        host.mask(1, port)
        row = host.row(1, 2)
        host.vcpus.poll_port[row] = polled
        events.send(1, port)
        assert (row in host.woken) == woken
        assert host.vcpus.poll_port[row] == (0 if woken else polled)

    def test_a_port_that_is_pending_already_ends_no_poll(self, host, events):
        port = events.bind_ipi(1, 0)
        events.send(1, port)
        host.woken.clear()
        host.vcpus.poll_port[host.row(1, 0)] = port
        events.send(1, port)
        assert host.woken == []


class TestDeath:
    def test_peers_are_unbound_and_the_number_can_be_used_again(self, host, events):
        ours, theirs = host.connected()
        events.bind_virq(1, Virq.TIMER, 2)
        events.alloc_unbound_xen(1, 0, 1, 3)
        host.end(1)
        assert events.status(2, DOMID_SELF, theirs) == (EvtchnStatus.unbound, 0, 1, 0, 0)
        assert errno_of(events.status, 3, 1, ours) == "ESRCH"
        host.start(1, 64)
        assert events.bind_virq(1, Virq.TIMER, 2) == 1

    def test_nobody_is_reached_after_it(self, host, events):
        ours, _ = host.connected()
        host.end(2)
        events.send(1, ours)
        assert host.became_pending == []
        assert not any(host.arena.page(2))
        assert not any(state for state in host.channels.state[2 * 4096:3 * 4096] if state != ChannelState.FREE)


def test_two_processes_see_the_same_ports(host, events):
    other = host.attach()
    ours, theirs = host.connected()
    other.send(1, ours)
    assert host.upcall_handler(2, 0) == [theirs]
    other.close(2, theirs)
    assert events.status(1, DOMID_SELF, ours).status == EvtchnStatus.unbound
