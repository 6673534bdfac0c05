"""The ring protocol, with guests that do not keep to it."""

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_host import RING, StoreHost

from abi.xenstore import XENSTORE_SERVER_FEATURE_ERROR, XenstoreError, XsMessage

OK = b"OK\0"
NAMES = ("req_cons", "req_prod", "rsp_cons", "rsp_prod")
indices = st.integers(0, (1 << 32) - 1)


@pytest.fixture
def host():
    return StoreHost()


@pytest.fixture
def guest(host):
    return host.guests[1]


def test_the_store_says_that_it_reports_errors(guest):
    guest.read("name")
    assert guest.index("server_features") == XENSTORE_SERVER_FEATURE_ERROR
    assert guest.index("error") == XenstoreError.NONE


def test_a_message_may_come_byte_by_byte(guest):
    for byte in pack("<4I", XsMessage.READ, 5, 0, 5) + b"name\0":
        guest.put(bytes([byte]))
        guest.notify()
    assert guest.answer() == (XsMessage.READ, 5, 0, b"guest-1")


def test_several_messages_may_come_at_once(guest):
    guest.put((pack("<4I", XsMessage.READ, 5, 0, 6) + b"domid\0") * 3)
    guest.notify()
    assert [guest.answer() for _ in range(3)] == [(XsMessage.READ, 5, 0, b"1")] * 3


def test_a_guest_that_waits_for_room_is_told_of_it(guest):
    assert guest.put(pack("<4I", XsMessage.WRITE, 5, 0, 1500) + b"data/x\0" + b"v" * 1493) == RING
    guest.notify()
    assert guest.pending
    assert guest.index("req_cons") == guest.index("req_prod")


@pytest.mark.parametrize("start", [1000, 0xFFFFFFF0, 0x7FFFFFFF])
def test_indices_run_freely(guest, start):
    for name in NAMES:
        guest.set_index(name, start)
    for size in (10, 700, 2000):
        assert guest.write("data/x", b"v" * size) == OK
        assert guest.read("data/x") == b"v" * size


def test_a_guest_that_does_not_read_is_not_served_until_it_does(guest):
    assert guest.write("data/x", b"v" * 2000) == OK
    request = pack("<4I", XsMessage.READ, 5, 0, 7) + b"data/x\0"
    sent = 0
    while guest.put(request) == len(request):
        guest.notify()
        sent += 1
        assert sent < 1000
    count = 0
    while guest.answer() is not None:
        count += 1
    assert count == sent


def test_a_message_that_is_too_long_ends_the_connection(host, guest):
    guest.put(pack("<4I", XsMessage.READ, 5, 0, 4097))
    guest.notify()
    assert guest.index("error") == XenstoreError.PROTO
    guest.put(pack("<4I", XsMessage.READ, 5, 0, 5) + b"name\0")
    guest.notify()
    assert guest.answer() is None
    assert host.guests[2].read("name") == b"guest-2"


@given(values=st.lists(indices, min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_no_indices_touch_memory_outside_the_page(values):
    host = StoreHost()
    guest = host.guests[1]
    guest.read("name")

    def around():
        return [bytes(guest.hv.arena.u8[guest.page + at:guest.page + at + 4096]) for at in (-4096, 4096)]

    before = around()
    for name, value in zip(NAMES, values, strict=True):
        guest.set_index(name, value)
    guest.notify()
    if (values[1] - values[0] & 0xFFFFFFFF) > RING:
        assert guest.index("error") == XenstoreError.RINGIDX
        guest.set_index("req_cons", 0)
        guest.set_index("req_prod", 0)
        guest.put(pack("<4I", XsMessage.READ, 5, 0, 5) + b"name\0")
        guest.notify()  # and is not listened to any more
        assert guest.index("rsp_prod") == values[3]
    assert around() == before
    assert host.guests[2].read("name") == b"guest-2"


@given(data=st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_answered_or_end_the_connection(data):
    host = StoreHost()
    guest = host.guests[1]
    for piece in data:
        guest.put(piece)
        guest.notify()
        guest.take()
    assert guest.index("error") in (XenstoreError.NONE, XenstoreError.PROTO)
    assert host.guests[2].read("name") == b"guest-2"


words = st.sampled_from(["data", "/", "data/x", "@x", "t", "n1", "r2", "0", "T", "F", ""])


@given(kind=st.integers(0, 24), transaction=st.sampled_from([0, 1, 2]),
       payload=st.one_of(st.binary(max_size=40), st.lists(words, max_size=4).map(
           lambda parts: b"".join(word.encode() + b"\0" for word in parts))))
@settings(max_examples=300, deadline=None)
def test_every_request_has_one_answer(kind, transaction, payload):
    guest = FUZZED.guests[1]
    guest.send(kind, payload, transaction)
    answer = guest.answer()
    assert answer is not None
    assert answer[0] in (kind, XsMessage.ERROR)
    assert answer[1:3] == (guest.request, transaction)
    assert not guest.answers


FUZZED = StoreHost()
