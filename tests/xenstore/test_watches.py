"""Watches: who hears of what, and when."""

import pytest
from store_host import StoreHost

from abi.xenstore import XsMessage

OK = b"OK\0"


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def host(request):
    return StoreHost(processes=request.param)


@pytest.fixture
def guest(host):
    return host.guests[1]


@pytest.fixture
def other(host):
    return host.guests[2]


def test_a_watch_fires_at_once_after_its_answer(guest):
    assert guest.watch("data/x", "token") == OK
    assert guest.heard() == [("data/x", "token")]


def test_it_fires_for_its_node_and_all_below(guest):
    guest.watch("data")
    guest.heard()
    for path in ("data", "data/a", "data/a/b"):
        guest.write(path, b"1")
    guest.write("error", b"not this")
    guest.rm("data/a")
    assert guest.heard() == [("data", "t"), ("data/a", "t"), ("data/a/b", "t"), ("data/a", "t")]


def test_who_gives_a_whole_path_hears_whole_paths(guest):
    guest.watch("/local/domain/1/data")
    guest.heard()
    guest.write("data/x", b"1")
    assert guest.heard() == [("/local/domain/1/data/x", "t")]


def test_what_went_with_a_node_above_is_told_by_its_own_name(guest):
    guest.write("data/a/b/c", b"1")
    guest.watch("data/a/b")
    guest.watch("data/a/none")
    guest.heard()
    guest.rm("data/a")
    assert guest.heard() == [("data/a/b", "t")]


def test_reading_fires_nothing_and_permissions_do(guest):
    guest.write("data/x", b"1")
    guest.watch("data/x")
    guest.heard()
    guest.read("data/x")
    guest.mkdir("data/x")
    guest.directory("data/x")
    assert guest.heard() == []
    guest.ask(XsMessage.SET_PERMS, "data/x", "r1")
    assert guest.heard() == [("data/x", "t")]


def test_other_guests_hear_of_what_they_may_read_alone(guest, other):
    guest.write("data/x", b"1")
    other.watch("/local/domain/1/data/x")
    other.heard()
    guest.write("data/x", b"2")
    assert other.heard() == []
    guest.ask(XsMessage.SET_PERMS, "data/x", "n1", "r2")
    guest.write("data/x", b"3")
    assert other.pending
    assert other.heard() == [("/local/domain/1/data/x", "t")] * 2
    guest.ask(XsMessage.SET_PERMS, "data/x", "n1")
    guest.rm("data/x")
    assert other.heard() == []


def test_two_tokens_are_two_watches_and_one_twice_is_refused(guest):
    assert guest.watch("data", "a") == OK
    assert guest.watch("data", "b") == OK
    assert guest.watch("data", "a") == "EEXIST"
    assert guest.watch("/local/domain/1/data", "a") == "EEXIST"
    guest.heard()
    guest.write("data/x", b"1")
    assert guest.heard() == [("data/x", "a"), ("data/x", "b")]


def test_a_watch_ends(guest):
    guest.watch("data")
    assert guest.ask(XsMessage.UNWATCH, "data", "other") == "ENOENT"
    assert guest.ask(XsMessage.UNWATCH, "data", "t") == OK
    assert guest.ask(XsMessage.UNWATCH, "data", "t") == "ENOENT"
    guest.watch("data", "again")
    assert guest.ask(XsMessage.RESET_WATCHES, "") == OK
    guest.heard()
    guest.write("data", b"1")
    assert guest.heard() == []


def test_special_names_can_be_watched_and_nothing_else(guest):
    assert guest.watch("@releaseDomain") == OK
    assert guest.heard() == [("@releaseDomain", "t")]
    assert guest.write("@releaseDomain", b"") == "EINVAL"


def test_a_guest_has_so_many_watches_and_no_more(guest):
    assert {guest.watch("data", str(number)) for number in range(128)} == {OK}
    assert guest.watch("data", "128") == "E2BIG"


def test_who_never_reads_loses_events_and_hurts_nobody(guest, other):
    guest.write("data/x", b"1")
    guest.ask(XsMessage.SET_PERMS, "data/x", "r1")
    other.watch("/local/domain/1/data/x", "t" * 3000)
    other.heard()
    for _ in range(100):
        assert guest.write("data/x", b"1") == OK
    assert 10 < len(other.heard()) < 100
    assert other.read("name") == b"guest-2"
