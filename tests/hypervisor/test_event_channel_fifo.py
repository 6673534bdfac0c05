"""The FIFO ABI, with a consumer that takes events out of the queues as a guest does."""

from struct import pack, unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abi.errno import Errno
from abi.event_channel import (
    EVTCHN_FIFO_LINK_BITS,
    EVTCHN_FIFO_LINK_MASK,
    EVTCHN_FIFO_LINKED,
    EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_PENDING,
    EvtchnOp,
)
from abi.types import Domid, Port
from abi.xen import DOMID_SELF, Hypercall
from hypervisor.pv_tables import PageType
from tests.hypervisor.pv_host import ARGUMENTS, FREE, PvHost

CONTROL, ARRAY = FREE, FREE + 10
PENDING, MASKED, LINKED = 1 << EVTCHN_FIFO_PENDING, 1 << EVTCHN_FIFO_MASKED, 1 << EVTCHN_FIFO_LINKED
HEADS = 8


class Guest:
    """Domain 1 with the FIFO ABI; `got` are the ports whose handlers ran."""

    def __init__(self, width=64, vcpus=2, pages=1):
        self.host = PvHost(width, vcpus=vcpus)
        self.got = []
        for vcpu in range(vcpus):
            assert self.init(vcpu) == 0
        for page in range(pages):
            assert self.expand(page) == 0

    def op(self, command, data):
        result = self.host.call(Hypercall.event_channel_op, command, self.host.put(data.ljust(32, b"\0")))
        return result, self.host.hv.arena.read(self.host.mfn(ARGUMENTS) << 12, 32)

    def init(self, vcpu=0, page=CONTROL, offset=None):
        offset = 128 * vcpu if offset is None else offset
        result, answer = self.op(EvtchnOp.init_control, pack("<QII", self.host.mfn(page), offset, vcpu))
        assert result or answer[16] == EVTCHN_FIFO_LINK_BITS
        return result

    def expand(self, page):
        return self.op(EvtchnOp.expand_array, pack("<Q", self.host.mfn(ARRAY + page)))[0]

    def ipi(self, vcpu=0):
        result, answer = self.op(EvtchnOp.bind_ipi, pack("<I", vcpu))
        assert result == 0
        return unpack("<II", answer[:8])[1]

    def send(self, port):
        return self.op(EvtchnOp.send, pack("<I", port))[0]

    def unmask(self, port):
        return self.op(EvtchnOp.unmask, pack("<I", port))[0]

    def priority(self, port, value):
        return self.op(EvtchnOp.set_priority, pack("<II", port, value))[0]

    # -- its memory

    def at(self, port):
        return (self.host.mfn(ARRAY + port // 1024) << 12) + port % 1024 * 4 >> 2

    def word(self, port):
        return self.host.hv.arena.u32[self.at(port)]

    def mask(self, port):
        self.host.hv.arena.u32[self.at(port)] |= MASKED

    def block(self, vcpu):
        return (self.host.mfn(CONTROL) << 12) + 128 * vcpu

    def upcall(self, vcpu=0):
        info = self.host.hv.vcpus.info[self.host.callers[1].vcpu + vcpu]
        found, self.host.hv.arena.u8[info] = self.host.hv.arena.u8[info], 0
        return bool(found)

    def handle(self, vcpu=0):
        """What an upcall does: empty the queues, the most urgent first."""
        u32, block = self.host.hv.arena.u32, self.block(vcpu)
        while u32[block >> 2]:
            ready = u32[block >> 2]
            queue = (ready & -ready).bit_length() - 1
            head = block + HEADS + 4 * queue >> 2
            port = u32[head]
            word = u32[self.at(port)]
            u32[self.at(port)] = word & ~(LINKED | EVTCHN_FIFO_LINK_MASK)
            u32[head] = word & EVTCHN_FIFO_LINK_MASK
            if not u32[head]:
                u32[block >> 2] &= ~(1 << queue)
            if word & PENDING and not word & MASKED:
                u32[self.at(port)] &= ~PENDING
                self.got.append(port)
        return self.got


@pytest.fixture(params=[64, 32])
def guest(request):
    return Guest(request.param)


def test_events_come_in_the_order_in_which_they_were_sent(guest):
    ports = [guest.ipi() for _ in range(4)]
    for port in (ports[2], ports[0], ports[3], ports[0]):
        assert guest.send(port) == 0
    assert guest.upcall()
    assert guest.handle() == [ports[2], ports[0], ports[3]]


def test_the_more_urgent_go_first(guest):
    low, usual, high = guest.ipi(), guest.ipi(), guest.ipi()
    assert (guest.priority(low, 15), guest.priority(high, 0), guest.priority(low, 16)) == (0, 0, -Errno.EINVAL)
    for port in (low, usual, high):
        guest.send(port)
    assert guest.handle() == [high, usual, low]


def test_a_second_upcall_comes_only_when_the_queue_was_emptied(guest):
    one, two = guest.ipi(), guest.ipi()
    guest.send(one)
    assert guest.upcall()
    guest.send(two)
    assert not guest.upcall()
    assert guest.handle() == [one, two]
    guest.send(one)
    assert guest.upcall()
    assert guest.handle() == [one, two, one]


def test_a_masked_event_waits_for_its_unmasking(guest):
    port, other = guest.ipi(), guest.ipi()
    guest.mask(port)
    guest.send(port)
    guest.send(other)
    assert guest.handle() == [other]
    assert guest.word(port) & PENDING
    assert guest.unmask(port) == 0
    assert guest.handle() == [other, port]


def test_each_vcpu_has_queues_of_its_own(guest):
    here, there = guest.ipi(0), guest.ipi(1)
    guest.send(here)
    guest.send(there)
    assert guest.handle(1) == [there]
    assert guest.handle(0) == [there, here]


def test_a_port_that_moves_between_queues_is_in_one_at_a_time(guest):
    port, other = guest.ipi(), guest.ipi()
    guest.send(other)
    guest.send(port)
    guest.priority(port, 3)
    guest.send(port)
    assert guest.handle() == [other, port]
    guest.send(port)
    guest.send(other)
    assert guest.handle() == [other, port, port, other]


def test_a_closed_port_that_is_still_in_a_queue_is_not_given_to_anybody(guest):
    port = guest.ipi()
    guest.send(port)
    assert guest.op(EvtchnOp.close, pack("<I", port))[0] == 0
    assert guest.ipi() != port
    assert guest.handle() == []
    assert guest.ipi() == port


def test_events_from_before_wait_for_their_words():
    host = PvHost()
    guest = Guest.__new__(Guest)
    guest.host, guest.got = host, []
    port = guest.ipi()
    assert guest.expand(0) == -Errno.EOPNOTSUPP
    guest.send(port)
    assert guest.init(0) == 0
    later = guest.ipi()
    guest.send(later)
    assert guest.handle() == []
    assert guest.expand(0) == 0
    assert guest.handle() == [port, later]


def test_wrong_places_are_refused(guest):
    assert guest.init(0, page=CONTROL + 1) == -Errno.EINVAL, "it has one"
    assert guest.init(2, page=CONTROL + 1) == -Errno.ENOENT
    fresh = Guest(guest.host.width, vcpus=2, pages=0)
    host = fresh.host = PvHost(guest.host.width)
    assert fresh.init(0, offset=4) == -Errno.EINVAL
    assert fresh.init(0, offset=4096 - 64) == -Errno.EINVAL
    assert fresh.op(EvtchnOp.init_control, pack("<QII", host.mfn(FREE, 2), 0, 0))[0] == -Errno.EINVAL
    assert fresh.op(EvtchnOp.init_control, pack("<QII", host.top[1], 0, 0))[0] == -Errno.EINVAL
    assert fresh.init(0) == 0


def test_its_pages_are_held_and_given_back_by_a_reset(guest):
    host = guest.host
    assert host.type(ARRAY) == host.type(CONTROL) == PageType.WRITABLE
    before = host.count(ARRAY), host.count(CONTROL)
    assert guest.op(EvtchnOp.reset, pack("<H", DOMID_SELF))[0] == 0
    assert (host.count(ARRAY), host.count(CONTROL)) == (before[0] - 1, before[1] - 2)
    assert guest.expand(0) == -Errno.EOPNOTSUPP
    host.check()
    assert guest.init(0) == 0
    host.hv.destroy(Domid(1))


def test_there_are_no_more_pages_than_ports(guest):
    for _ in range(127):
        assert guest.expand(0) == 0
    assert guest.expand(0) == -Errno.ENOSPC


def test_a_poller_is_told(guest):
    port = guest.ipi()
    events = guest.host.hv.events
    assert not events.is_pending(Domid(1), Port(port))
    guest.send(port)
    assert events.is_pending(Domid(1), Port(port))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["send", "mask", "unmask", "priority", "handle"]),
                          st.integers(0, 4), st.integers(0, 15)), max_size=60))
def test_no_event_is_lost_and_none_comes_twice(steps):
    guest = Guest()
    ports = [guest.ipi(number % 2) for number in range(5)]
    waiting, masked = set(), set()
    for step, number, value in steps:
        port = ports[number]
        if step == "send":
            guest.send(port)
            waiting.add(port)
        elif step == "mask":
            guest.mask(port)
            masked.add(port)
        elif step == "unmask":
            guest.unmask(port)
            masked.discard(port)
        elif step == "priority":
            guest.priority(port, value)
        elif step == "handle":
            guest.got = []
            guest.handle(0)
            guest.handle(1)
            assert sorted(guest.got) == sorted(waiting - masked)
            waiting &= masked
    for port in ports:
        guest.unmask(port)
    guest.got = []
    guest.handle(0)
    guest.handle(1)
    assert sorted(guest.got) == sorted(waiting)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_guest_that_spoils_its_words_hurts_itself_alone(data):
    guest = Guest()
    ports = [guest.ipi(number % 2) for number in range(4)]
    for _ in range(20):
        port = data.draw(st.sampled_from(ports))
        guest.host.hv.arena.u32[guest.at(port)] = data.draw(st.integers(0, (1 << 32) - 1))
        guest.host.hv.arena.u32[guest.block(0) + data.draw(st.integers(0, 17)) * 4 >> 2] = data.draw(
            st.integers(0, (1 << 32) - 1))
        assert guest.send(data.draw(st.sampled_from(ports))) == 0
        guest.unmask(port)
    guest.host.check([(guest.host.mfn(CONTROL), True)] * 2 + [(guest.host.mfn(ARRAY), True)])
