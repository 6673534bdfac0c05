"""Any sequence of event-channel operations by three domains, against a model that knows nothing of bytes.

The model is what the ABI promises: which port is what, and which events a guest has not seen yet.  An event counts as
lost when a guest that runs its upcall handlers, as its hardware tells it to, does not find it.
"""

from event_channel_host import VCPUS, EventHost, errno_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from abi.event_channel import EvtchnStatus
from abi.xen import DOMID_SELF, NR_VIRQS, PER_VCPU_VIRQS, Virq
from hypervisor.event_channel_tables import PORTS, PORTS_PER_BUCKET, ChannelState

DOMIDS = (1, 2, 3)
PRIVILEGED = 3
CONSUMER = 7
LIMIT = 12

callers = st.sampled_from(DOMIDS)
targets = st.sampled_from((*DOMIDS, DOMID_SELF, 6))
ports = st.integers(0, LIMIT + 1) | st.sampled_from([PORTS_PER_BUCKET, PORTS, (1 << 32) - 1])
vcpu_ids = st.integers(0, VCPUS)
virqs = st.sampled_from([Virq.TIMER, Virq.DEBUG, Virq.CONSOLE, Virq.DOM_EXC, NR_VIRQS])


class EventChannelMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.host = EventHost()
        self.events = self.host.events
        self.events.consumers[CONSUMER] = lambda domid, port: self.consumed.append((domid, port))
        self.consumed = []
        self.channels = {}
        """(domid, port) -> [kind, vcpu_id, detail]: detail is who may bind, the peer, or the VIRQ."""
        self.xens = set()
        """Ends that the hypervisor consumes."""
        self.raised = set()
        """Events that arrived and were not seen."""
        self.masked = set()
        self.dead = set()

    @initialize()
    def limit(self):
        for domid in DOMIDS:
            self.host.domains.evtchn_limit[domid] = LIMIT

    # Steps of the model.

    def lowest_free(self, domid):
        return next((port for port in range(1, LIMIT) if (domid, port) not in self.channels), None)

    def resolve(self, caller, dom):
        """(domid, error)"""
        domid = caller if dom == DOMID_SELF else dom
        return (None, "ESRCH") if domid not in (0, *DOMIDS) or domid in self.dead else (domid, None)

    def exists(self, port):
        return port < PORTS_PER_BUCKET

    def raise_event(self, end):
        if end in self.channels and end not in self.xens:
            self.raised.add(end)

    def drop(self, end):
        kind, _, detail = self.channels.pop(end)
        if kind == "interdomain":
            self.channels[detail][0], self.channels[detail][2] = "unbound", end[0]
        self.raised.discard(end)
        self.xens.discard(end)

    def ask(self, expected, call, *arguments):
        """Make a call; `expected` is the name of its error, or None.  Gives what the call gave."""
        if expected is None:
            return call(*arguments)
        assert errno_of(call, *arguments) == expected
        return None

    # What guests do to each other.

    @rule(caller=callers, dom=targets, remote=targets)
    def alloc_unbound(self, caller, dom, remote):
        if caller in self.dead:
            return
        domid, error = self.resolve(caller, dom)
        port = None if error else self.lowest_free(domid)
        if not error and port is None:
            error = "ENOSPC"
        if not error and caller not in (domid, PRIVILEGED):
            error = "EPERM"
        got = self.ask(error, self.events.alloc_unbound, caller, dom, remote)
        if not error:
            assert got == port
            self.channels[domid, port] = ["unbound", 0, caller if remote == DOMID_SELF else remote]

    @rule(caller=callers, dom=targets, remote_port=ports)
    def bind_interdomain(self, caller, dom, remote_port):
        if caller in self.dead:
            return
        domid, error = self.resolve(caller, dom)
        port = self.lowest_free(caller)
        if not error:
            peer = self.channels.get((domid, remote_port))
            if port is None:
                error = "ENOSPC"
            elif peer is None or peer[0] != "unbound" or peer[2] != caller:
                error = "EINVAL"
        got = self.ask(error, self.events.bind_interdomain, caller, dom, remote_port)
        if not error:
            assert got == port
            self.connect((caller, port), (domid, remote_port))

    @precondition(lambda self: any(kind == "unbound" for kind, _, _ in self.channels.values()))
    @rule(data=st.data())
    def bind_what_waits(self, data):
        """The same with a port that is there: random numbers seldom meet."""
        waiting = sorted((end, detail) for end, (kind, _, detail) in self.channels.items()
                         if kind == "unbound" and detail in DOMIDS and detail not in self.dead)
        if waiting:
            (domid, port), caller = data.draw(st.sampled_from(waiting))
            self.bind_interdomain(caller, domid, port)

    def connect(self, end, peer):
        self.channels[end] = ["interdomain", 0, peer]
        self.channels[peer][0], self.channels[peer][2] = "interdomain", end
        self.raise_event(end)

    @rule(caller=callers, virq=virqs, vcpu_id=vcpu_ids)
    def bind_virq(self, caller, virq, vcpu_id):
        if caller in self.dead:
            return
        error, port = None, self.lowest_free(caller)
        if virq == NR_VIRQS or (virq not in PER_VCPU_VIRQS and vcpu_id):
            error = "EINVAL"
        elif vcpu_id >= VCPUS:
            error = "ENOENT"
        elif self.virq_port(caller, virq, vcpu_id) is not None:
            error = "EEXIST"
        elif port is None:
            error = "ENOSPC"
        got = self.ask(error, self.events.bind_virq, caller, virq, vcpu_id)
        if not error:
            assert got == port
            self.channels[caller, port] = ["virq", vcpu_id, virq]

    def virq_port(self, domid, virq, vcpu_id):
        return next((port for (owner, port), (kind, vcpu, detail) in self.channels.items()
                     if owner == domid and kind == "virq" and detail == virq
                     and (virq not in PER_VCPU_VIRQS or vcpu == vcpu_id)), None)

    @rule(caller=callers, vcpu_id=vcpu_ids)
    def bind_ipi(self, caller, vcpu_id):
        if caller in self.dead:
            return
        port = self.lowest_free(caller)
        error = "ENOENT" if vcpu_id >= VCPUS else "ENOSPC" if port is None else None
        got = self.ask(error, self.events.bind_ipi, caller, vcpu_id)
        if not error:
            assert got == port
            self.channels[caller, port] = ["ipi", vcpu_id, None]

    @rule(caller=callers, port=ports, vcpu_id=vcpu_ids)
    def bind_vcpu(self, caller, port, vcpu_id):
        if caller in self.dead:
            return
        kind, _, detail = self.channels.get((caller, port), ("free", 0, None))
        error = None
        if vcpu_id >= VCPUS:
            error = "ENOENT"
        elif (caller, port) in self.xens or not (
                kind in ("unbound", "interdomain") or (kind == "virq" and detail not in PER_VCPU_VIRQS)):
            error = "EINVAL"
        self.ask(error, self.events.bind_vcpu, caller, port, vcpu_id)
        if not error:
            self.channels[caller, port][1] = vcpu_id

    @rule(caller=callers, port=ports)
    def send(self, caller, port):
        if caller in self.dead:
            return
        end = caller, port
        kind, _, peer = self.channels.get(end, ("free", 0, None))
        refused = end in self.xens or kind in ("free", "virq")
        consumed = len(self.consumed)
        self.ask("EINVAL" if refused else None, self.events.send, caller, port)
        if not refused and kind == "interdomain":
            self.raise_event(peer)
            assert self.consumed[consumed:] == ([end] if peer in self.xens else [])
        elif not refused and kind == "ipi":
            self.raise_event(end)

    @precondition(lambda self: any(kind in ("interdomain", "ipi") for kind, _, _ in self.channels.values()))
    @rule(data=st.data())
    def send_through_what_is_there(self, data):
        ends = sorted(end for end, (kind, _, _) in self.channels.items() if kind in ("interdomain", "ipi"))
        self.send(*data.draw(st.sampled_from(ends)))

    @precondition(lambda self: any(domid for domid, _ in self.channels))
    @rule(data=st.data(), vcpu_id=st.integers(0, VCPUS - 1))
    def move_what_is_there(self, data, vcpu_id):
        domid, port = data.draw(st.sampled_from(sorted(end for end in self.channels if end[0])))
        self.bind_vcpu(domid, port, vcpu_id)

    @rule(caller=callers, port=ports)
    def close(self, caller, port):
        if caller in self.dead:
            return
        end = caller, port
        refused = end in self.xens or end not in self.channels
        self.ask("EINVAL" if refused else None, self.events.close, caller, port)
        if not refused:
            self.drop(end)

    @rule(caller=callers, dom=targets)
    def reset(self, caller, dom):
        if caller in self.dead:
            return
        domid, error = self.resolve(caller, dom)
        if not error and domid != caller:
            error = "EINVAL" if caller == PRIVILEGED else "EPERM"
        self.ask(error, self.events.reset, caller, dom)
        if not error:
            for end in [end for end in self.channels if end[0] == domid and end not in self.xens]:
                self.drop(end)

    @rule(caller=callers, dom=targets, port=ports)
    def status(self, caller, dom, port):
        if caller in self.dead:
            return
        domid, error = self.resolve(caller, dom)
        if not error and not self.exists(port):
            error = "EINVAL"
        elif not error and caller not in (domid, PRIVILEGED):
            error = "EPERM"
        told = self.ask(error, self.events.status, caller, dom, port)
        if error:
            return
        kind, vcpu_id, detail = self.channels.get((domid, port), ("closed", 0, None))
        assert told.status == EvtchnStatus[kind]
        assert told.vcpu == vcpu_id
        if kind == "unbound":
            assert told.dom == detail
        elif kind == "interdomain":
            assert (told.dom, told.port) == detail
        elif kind == "virq":
            assert told.virq == detail

    # What the hypervisor does.

    @rule(domid=callers, virq=st.sampled_from([Virq.TIMER, Virq.DEBUG]), vcpu_id=st.integers(0, VCPUS - 1))
    def vcpu_virq(self, domid, virq, vcpu_id):
        self.events.send_virq(self.host.row(domid, vcpu_id), virq)
        self.raise_event((domid, self.virq_port(domid, virq, vcpu_id)))

    @rule(domid=callers, virq=st.sampled_from([Virq.CONSOLE, Virq.DOM_EXC]))
    def global_virq(self, domid, virq):
        self.events.send_global_virq(domid, virq)
        self.raise_event((domid, self.virq_port(domid, virq, 0)))

    @rule(domid=callers, vcpu_id=st.integers(0, VCPUS - 1), remote=callers)
    def alloc_unbound_xen(self, domid, vcpu_id, remote):
        port = self.lowest_free(domid)
        if domid in self.dead or port is None:
            return
        assert self.events.alloc_unbound_xen(domid, vcpu_id, CONSUMER, remote) == port
        self.channels[domid, port] = ["unbound", vcpu_id, remote]
        self.xens.add((domid, port))

    @rule(domid=callers)
    def back_end(self, domid):
        port = self.lowest_free(domid)
        if domid in self.dead or port is None:
            return
        assert self.events.alloc_unbound(0, domid, 0) == port
        self.channels[domid, port] = ["unbound", 0, 0]
        backend_port = self.events.connect_backend(domid, port, CONSUMER)
        assert (0, backend_port) not in self.channels
        self.xens.add((0, backend_port))
        self.connect((0, backend_port), (domid, port))

    @rule(domid=callers, port=st.integers(1, LIMIT))
    def notify_guest(self, domid, port):
        self.events.notify_guest(domid, port)
        kind, _, peer = self.channels.get((domid, port), ("free", 0, None))
        if kind == "interdomain" and peer in self.xens:
            self.raise_event((domid, port))

    @rule(domid=callers, seldom=st.integers(0, 3))
    def die_or_return(self, domid, seldom):
        if seldom:
            return
        if domid in self.dead:
            self.dead.remove(domid)
            self.host.start(domid, self.host.domains.width[domid])
            self.limit()
            return
        self.host.end(domid)
        self.dead.add(domid)
        self.masked = {end for end in self.masked if end[0] != domid}
        for end in [end for end in self.channels if end[0] == domid]:
            self.drop(end)
        for end in [end for end, (kind, _, who) in self.channels.items() if end[0] == 0 and kind == "unbound"]:
            if self.channels[end][2] == domid:
                self.drop(end)

    # What guests do to themselves.

    @rule(domid=callers, port=st.integers(1, LIMIT))
    def mask(self, domid, port):
        if domid not in self.dead:
            self.host.mask(domid, port)
            self.masked.add((domid, port))

    @rule(domid=callers, port=ports)
    def unmask(self, domid, port):
        if domid in self.dead:
            return
        self.ask(None if self.exists(port) else "EINVAL", self.events.unmask, domid, port)
        if (domid, port) in self.channels and (domid, port) not in self.xens:
            self.masked.discard((domid, port))

    @precondition(lambda self: self.masked & self.raised)
    @rule(data=st.data())
    def unmask_what_is_held_back(self, data):
        self.unmask(*data.draw(st.sampled_from(sorted(self.masked & self.raised))))

    @precondition(lambda self: any(kind == "ipi" for kind, _, _ in self.channels.values()))
    @rule(data=st.data())
    def hold_an_ipi_back(self, data):
        end = data.draw(st.sampled_from(sorted(end for end, (kind, _, _) in self.channels.items() if kind == "ipi")))
        self.mask(*end)
        self.send(*end)

    @rule(domid=callers, vcpu_id=st.integers(0, VCPUS - 1))
    def upcall(self, domid, vcpu_id):
        if domid not in self.dead:
            for port in self.host.upcall_handler(domid, vcpu_id):
                self.raised.remove((domid, port))

    @rule(domid=callers, vcpu_id=st.integers(0, VCPUS - 1), offset=st.sampled_from([0, 4, 1000]))
    def register_vcpu_info(self, domid, vcpu_id, offset):
        if domid not in self.dead:
            self.host.move_info(domid, vcpu_id, offset)

    @rule(domid=callers, vcpu_id=st.integers(0, VCPUS - 1), port=st.integers(1, LIMIT) | st.just(-1))
    def poll(self, domid, vcpu_id, port):
        """As SCHEDOP_poll: only waits for what is not pending."""
        pending = any(end[0] == domid and port in (end[1], -1) for end in self.raised)
        if domid not in self.dead and not pending:
            self.host.vcpus.poll_port[self.host.row(domid, vcpu_id)] = port

    @precondition(lambda self: any(kind == "ipi" for kind, _, _ in self.channels.values()))
    @rule(data=st.data(), vcpu_id=st.integers(0, VCPUS - 1))
    def poll_for_an_ipi(self, data, vcpu_id):
        end = data.draw(st.sampled_from(sorted(end for end, (kind, _, _) in self.channels.items() if kind == "ipi")))
        self.poll(end[0], vcpu_id, end[1])

    # What must be true after each of these.

    @invariant()
    def the_tables_hold_the_models_channels(self):
        states = self.host.channels.state.tobytes()
        for domid in (0, *DOMIDS):
            mine = states[domid * PORTS:(domid + 1) * PORTS]
            used = {port for port in range(1, PORTS_PER_BUCKET) if mine[port] != ChannelState.FREE}
            assert not any(mine[PORTS_PER_BUCKET:])
            assert used == {port for owner, port in self.channels if owner == domid}

    @invariant()
    def interdomain_links_are_symmetric(self):
        table = self.host.channels
        for (domid, port), (kind, _, detail) in self.channels.items():
            if kind == "interdomain":
                row, peer = domid * PORTS + port, detail[0] * PORTS + detail[1]
                assert table.state[row] == table.state[peer] == ChannelState.INTERDOMAIN
                assert (table.remote_dom[row], table.remote_port[row]) == detail
                assert (table.remote_dom[peer], table.remote_port[peer]) == (domid, port)

    @invariant()
    def every_bound_virq_has_its_port_and_no_other_has(self):
        bound = {}
        for (domid, port), (kind, vcpu_id, virq) in self.channels.items():
            if kind == "virq":
                vcpu_id = vcpu_id if virq in PER_VCPU_VIRQS else 0
                bound[self.host.row(domid, vcpu_id) * NR_VIRQS + virq] = port
        assert {row: port for row, port in enumerate(self.host.virqs.port) if port} == bound

    @invariant()
    def pending_bits_are_the_events_not_seen(self):
        for domid in set(DOMIDS) - self.dead:
            for port in range(1, LIMIT):
                assert self.host.pending(domid, port) == ((domid, port) in self.raised)
                assert self.host.masked(domid, port) == ((domid, port) in self.masked)

    @invariant()
    def no_event_is_lost(self):
        for domid, port in self.raised - self.masked:
            width = self.host.domains.width[domid]
            assert any(self.host.upcall(domid, vcpu_id) and self.host.selector(domid, vcpu_id) >> port // width & 1
                       for vcpu_id in range(VCPUS)), f"nobody will look at port {port} of domain {domid}"

    @invariant()
    def a_selected_word_comes_with_an_upcall(self):
        for domid in set(DOMIDS) - self.dead:
            for vcpu_id in range(VCPUS):
                assert not self.host.selector(domid, vcpu_id) or self.host.upcall(domid, vcpu_id)

    @invariant()
    def whoever_has_an_upcall_was_woken(self):
        for domid in set(DOMIDS) - self.dead:
            for vcpu_id in range(VCPUS):
                assert not self.host.upcall(domid, vcpu_id) or self.host.row(domid, vcpu_id) in self.host.woken

    @invariant()
    def nobody_polls_for_what_is_pending(self):
        for domid in set(DOMIDS) - self.dead:
            for vcpu_id in range(VCPUS):
                polled = self.host.vcpus.poll_port[self.host.row(domid, vcpu_id)]
                assert (domid, polled) not in self.raised
                assert polled != -1 or not any(end[0] == domid for end in self.raised)


TestEventChannelMachine = EventChannelMachine.TestCase
TestEventChannelMachine.settings = settings(max_examples=80, stateful_step_count=80, deadline=None)
