"""The hypervisor's own ends of event channels: VIRQs, back ends, and ports whose events it consumes itself."""

import pytest
from event_channel_host import EventHost, errno_of

from abi.event_channel import EvtchnStatus
from abi.xen import DOMID_SELF, Virq

CONSOLE = 1


@pytest.fixture
def host():
    return EventHost()


@pytest.fixture
def events(host):
    return host.events


@pytest.fixture
def heard(events):
    """What the consumer was told."""
    heard = []
    events.consumers[CONSOLE] = lambda domid, port: heard.append((domid, port))
    return heard


class TestVirqs:
    def test_a_virq_that_is_not_bound_goes_nowhere(self, host, events):
        events.send_virq(host.row(1, 0), Virq.TIMER)
        events.send_global_virq(1, Virq.DOM_EXC)
        events.send_global_virq(0, Virq.DOM_EXC)
        assert host.became_pending == []

    def test_a_per_vcpu_virq_reaches_its_vcpu(self, host, events):
        port = events.bind_virq(2, Virq.TIMER, 1)
        events.send_virq(host.row(2, 0), Virq.TIMER)
        assert host.woken == []
        events.send_virq(host.row(2, 1), Virq.TIMER)
        assert host.woken == [host.row(2, 1)]
        assert host.upcall_handler(2, 1) == [port]

    def test_a_global_virq_reaches_its_domain(self, host, events):
        port = events.bind_virq(2, Virq.CONSOLE, 0)
        events.send_global_virq(1, Virq.CONSOLE)
        events.send_global_virq(2, Virq.CONSOLE)
        assert host.became_pending == [(2, port)]


class TestBackEnds:
    def test_looks_like_domain_0_to_the_guest(self, events, heard):
        port = events.alloc_unbound(0, 1, 0)
        backend_port = events.connect_backend(1, port, CONSOLE)
        assert events.status(1, DOMID_SELF, port) == (EvtchnStatus.interdomain, 0, 0, backend_port, 0)

    def test_hears_the_guest_and_is_called_once_when_it_connects(self, host, events, heard):
        port = events.alloc_unbound(0, 1, 0)
        events.send(1, port)
        assert heard == []
        events.connect_backend(1, port, CONSOLE)
        assert heard == [(1, port)]
        events.send(1, port)
        assert heard == [(1, port)] * 2
        assert host.became_pending == []

    def test_notifies_the_guest(self, host, events, heard):
        port = events.alloc_unbound(0, 1, 0)
        events.notify_guest(1, port)
        assert host.became_pending == []
        events.connect_backend(1, port, CONSOLE)
        events.notify_guest(1, port)
        assert host.upcall_handler(1, 0) == [port]

    def test_does_not_notify_a_port_that_became_something_else(self, host, events, heard):
        port = events.alloc_unbound(0, 1, 0)
        events.connect_backend(1, port, CONSOLE)
        events.close(1, port)
        events.notify_guest(1, port)
        ours, _ = host.connected()
        assert ours == port
        events.notify_guest(1, port)
        assert host.became_pending == []

    @pytest.mark.parametrize("port", [0, 63, 64, 4096 + 1, (1 << 64) - 1])
    def test_ignores_a_port_that_is_none(self, host, events, heard, port):
        events.connect_backend(2, events.alloc_unbound(0, 2, 0), CONSOLE)
        events.notify_guest(1, port)
        assert host.became_pending == []

    def test_a_guest_that_closed_its_port_may_bind_the_back_end_again(self, events, heard):
        port = events.alloc_unbound(0, 1, 0)
        backend_port = events.connect_backend(1, port, CONSOLE)
        events.close(1, port)
        assert events.status(0, DOMID_SELF, backend_port) == (EvtchnStatus.unbound, 0, 1, 0, 0)
        assert events.bind_interdomain(1, 0, backend_port) == port
        events.send(1, port)
        assert heard[-1] == (1, port)

    def test_only_binds_what_waits_for_domain_0(self, events, heard):
        assert errno_of(events.connect_backend, 1, 5, CONSOLE) == "EINVAL"
        assert errno_of(events.connect_backend, 1, events.alloc_unbound(1, DOMID_SELF, 2), CONSOLE) == "EINVAL"
        assert heard == []

    def test_lets_go_when_the_guest_dies(self, host, events, heard):
        first = events.connect_backend(1, events.alloc_unbound(0, 1, 0), CONSOLE)
        host.end(1)
        host.start(1, 64)
        assert events.connect_backend(1, events.alloc_unbound(0, 1, 0), CONSOLE) == first


class TestXenPorts:
    def test_the_guest_cannot_touch_it(self, events, heard):
        port = events.alloc_unbound_xen(1, 2, CONSOLE, 3)
        assert events.status(1, DOMID_SELF, port) == (EvtchnStatus.unbound, 2, 3, 0, 0)
        assert errno_of(events.send, 1, port) == "EINVAL"
        assert errno_of(events.close, 1, port) == "EINVAL"
        assert errno_of(events.bind_vcpu, 1, port, 0) == "EINVAL"
        events.unmask(1, port)
        assert not events.is_pending(1, port)

    def test_what_the_peer_sends_is_consumed(self, host, events, heard):
        port = events.alloc_unbound_xen(1, 2, CONSOLE, 3)
        theirs = events.bind_interdomain(3, 1, port)
        host.became_pending.clear()
        events.send(3, theirs)
        assert heard == [(3, theirs)]
        assert host.became_pending == []

    def test_is_still_xens_when_the_peer_is_gone(self, events, heard):
        port = events.alloc_unbound_xen(1, 2, CONSOLE, 3)
        events.close(3, events.bind_interdomain(3, 1, port))
        assert errno_of(events.close, 1, port) == "EINVAL"
        assert events.status(1, DOMID_SELF, port).dom == 3

    def test_no_port_left(self, host, events):
        host.domains.evtchn_limit[1] = 1
        assert errno_of(events.alloc_unbound_xen, 1, 0, CONSOLE, 3) == "ENOSPC"
