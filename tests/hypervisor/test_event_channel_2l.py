"""The 2-level ABI: what stands where in shared_info and vcpu_info, and in which order it gets there."""

import pytest
from event_channel_host import EventHost

from abi.xen import DOMID_SELF, Virq

WIDTH = {1: 64, 2: 32}


@pytest.fixture
def host():
    return EventHost()


def ipi(host, domid, port, vcpu_id=0):
    """An IPI at a chosen port, by way of the ports before it."""
    ports = []
    while not ports or ports[-1] != port:
        ports.append(host.events.bind_ipi(domid, vcpu_id))
    for other in ports[:-1]:
        host.events.close(domid, other)
    return port


@pytest.mark.parametrize("domid", WIDTH)
@pytest.mark.parametrize("port", [1, 7, 8, 31, 32, 63, 64, 65, 500, 1023])
def test_the_bits_are_where_the_guests_longs_have_them(host, domid, port):
    width = WIDTH[domid]
    host.events.send(domid, ipi(host, domid, port, 1))
    long = width // 8
    pending_words = host.arena.read((domid << 12) + 2048, long * width)
    words = [int.from_bytes(pending_words[at:at + long], "little") for at in range(0, len(pending_words), long)]
    assert words == [1 << port % width if word == port // width else 0 for word in range(width)]
    assert host.selector(domid, 1) == 1 << port // width
    assert host.upcall(domid, 1) == 1
    assert (host.upcall(domid, 0), host.selector(domid, 0)) == (0, 0)


def test_the_last_port_of_a_64_bit_guest(host):
    host.events.send(1, ipi(host, 1, 4095))
    assert host.arena.u8[(1 << 12) + 2048 + 511] == 0x80
    assert host.selector(1) == 1 << 63


def test_a_masked_event_is_pending_and_nothing_else(host):
    port = host.events.bind_ipi(1, 0)
    host.mask(1, port)
    host.events.send(1, port)
    assert host.pending(1, port)
    assert (host.selector(1), host.upcall(1), host.woken) == (0, 0, [])
    assert host.became_pending == [(1, port)]


def test_a_pending_event_comes_once(host):
    port = host.events.bind_ipi(1, 0)
    host.events.send(1, port)
    host.events.send(1, port)
    assert host.woken == [host.row(1, 0)]
    assert host.became_pending == [(1, port)]


def test_a_word_that_is_selected_already_gives_no_second_upcall(host):
    first, second = host.events.bind_ipi(1, 0), host.events.bind_ipi(1, 0)
    host.events.send(1, first)
    host.arena.u8[host.vcpus.info[host.row(1, 0)]] = 0
    host.events.send(1, second)
    assert host.pending(1, second)
    assert host.upcall(1) == 0


def test_an_upcall_that_is_pending_already_wakes_nobody(host):
    first = host.events.bind_ipi(1, 0)
    second = ipi(host, 1, 64)
    host.events.send(1, first)
    host.events.send(1, second)
    assert host.selector(1) == 0b11
    assert host.woken == [host.row(1, 0)]


def test_neighbouring_bits_are_left_alone(host):
    port = host.events.bind_ipi(1, 0)
    host.arena.write((1 << 12) + 2048, b"\xf5")
    host.events.send(1, port)
    host.events.close(1, port)
    assert host.arena.read((1 << 12) + 2048, 2) == b"\xf5\0"


class TestMovedVcpuInfo:
    @pytest.mark.parametrize(("domid", "everything"), [(1, (1 << 64) - 1), (2, (1 << 32) - 1)])
    def test_everything_is_marked_pending(self, host, domid, everything):
        host.move_info(domid, 1, offset=128)
        assert host.selector(domid, 1) == everything
        assert host.upcall(domid, 1) == 1
        assert host.woken == [host.row(domid, 1)]

    @pytest.mark.parametrize("offset", [0, 4, 13, 4032])
    def test_events_go_to_the_new_one_wherever_it_is(self, host, offset):
        host.move_info(1, 0, offset)
        host.upcall_handler(1, 0)
        port = host.events.bind_ipi(1, 0)
        host.events.send(1, port)
        assert host.upcall_handler(1, 0) == [port]
        assert not any(host.arena.page(1)[:64])

    def test_what_came_before_there_was_one_is_found(self, host):
        row = host.row(1, 2)
        host.vcpus.info[row] = 0
        port = host.events.bind_ipi(1, 2)
        host.events.send(1, port)
        assert host.pending(1, port)
        assert host.woken == []
        host.move_info(1, 2)
        assert host.woken == [row]
        assert host.upcall_handler(1, 2) == [port]

    def test_what_was_pending_before_the_move_is_found_after_it(self, host):
        port = host.events.bind_ipi(1, 0)
        host.events.send(1, port)
        host.move_info(1, 0)
        assert host.upcall_handler(1, 0) == [port]


def test_a_domain_without_shared_info_receives_nothing(host):
    theirs = host.events.alloc_unbound(1, DOMID_SELF, 0)
    host.events.bind_interdomain(0, 1, theirs)
    host.events.send(1, theirs)
    assert host.became_pending == []
    assert not any(host.arena.page(0))


def test_ports_that_a_domain_lost_by_becoming_32_bit_are_not_pending(host):
    port = ipi(host, 1, 2000)
    host.events.send(1, port)
    host.domains.width[1] = 32
    assert not host.events.is_pending(1, port)


def test_each_vcpu_has_its_own_selector(host):
    ports = [host.events.bind_virq(1, Virq.TIMER, vcpu_id) for vcpu_id in range(3)]
    for vcpu_id in (2, 0):
        host.events.send_virq(host.row(1, vcpu_id), Virq.TIMER)
    assert [host.selector(1, vcpu_id) for vcpu_id in range(3)] == [1, 0, 1]
    assert host.upcall_handler(1, 0) == [ports[0], ports[2]]
