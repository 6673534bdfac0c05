"""Transactions: all or nothing, and nothing where somebody else was faster."""

import pytest
from store_host import StoreHost

from abi.xenstore import XsMessage

OK = b"OK\0"


@pytest.fixture
def host():
    return StoreHost()


@pytest.fixture
def guest(host):
    return host.guests[1]


def test_changes_are_seen_within_and_not_without_before_the_end(guest):
    guest.watch("data")
    guest.heard()
    number = guest.begin()
    assert guest.write("data/x", b"1", number) == OK
    assert guest.read("data/x", number) == b"1"
    assert guest.directory("data", number) == ["x"]
    assert guest.read("data/x") == "ENOENT"
    assert guest.heard() == []
    assert guest.end(number) == OK
    assert guest.read("data/x") == b"1"
    assert guest.heard() == [("data/x", "t")]


def test_it_can_be_given_up(guest):
    number = guest.begin()
    guest.write("data/x", b"1", number)
    assert guest.end(number, "F") == OK
    assert guest.read("data/x") == "ENOENT"
    assert guest.end(number) == "ENOENT"


def test_a_change_to_what_was_looked_at_is_a_conflict(guest):
    guest.write("data/x", b"1")
    number = guest.begin()
    guest.read("data/x", number)
    guest.write("data/y", b"1", number)
    guest.write("data/x", b"2")
    assert guest.end(number) == "EAGAIN"
    assert guest.read("data/y") == "ENOENT"


def test_a_change_elsewhere_is_none(guest):
    number = guest.begin()
    guest.write("data/x", b"1", number)
    guest.write("error", b"x")
    assert guest.end(number) == OK
    assert guest.read("data/x") == b"1"


def test_that_something_is_not_there_is_looked_at_too(guest):
    number = guest.begin()
    assert guest.read("data/x", number) == "ENOENT"
    guest.write("data/x", b"1")
    assert guest.end(number) == "EAGAIN"


def test_what_was_removed_and_made_again_is_not_what_it_was(guest):
    guest.write("data/x", b"1")
    number = guest.begin()
    guest.read("data/x", number)
    guest.rm("data/x")
    guest.write("data/x", b"1")
    assert guest.end(number) == "EAGAIN"


def test_a_transaction_removes_what_it_made(guest):
    number = guest.begin()
    guest.write("data/x/y", b"1", number)
    guest.rm("data/x", number)
    assert guest.end(number) == OK
    assert guest.directory("data") == []


def test_the_rules_of_numbers(guest):
    number = guest.begin()
    assert guest.ask(XsMessage.TRANSACTION_START, "", transaction=number) == "EBUSY"
    assert guest.ask(XsMessage.TRANSACTION_START, "", transaction=99) == "ENOENT"
    assert guest.read("name", 99) == "ENOENT"
    assert guest.end(number, "X") == "EINVAL"
    assert guest.end(0) == "ENOENT"
    assert guest.end(number) == OK


def test_there_are_so_many_and_no_more(guest):
    numbers = [guest.begin() for _ in range(10)]
    assert guest.ask(XsMessage.TRANSACTION_START, "") == "ENOSPC"
    assert guest.end(numbers[4]) == OK
    assert guest.begin() not in numbers


def test_quotas_hold_within(guest):
    number = guest.begin()
    results = [guest.mkdir(f"data/{at}", number) for at in range(1010)]
    assert results[-1] == "ENOSPC"
    assert guest.end(number) == OK
    assert 950 < len(guest.directory("data")) == results.count(OK) < 1000


def test_several_together_do_not_get_around_them(guest):
    places = {guest.begin(): "data", guest.begin(): "feature"}
    for number, place in places.items():
        for at in range(600):
            assert guest.mkdir(f"{place}/{at}", number) == OK
    assert [guest.end(number) for number in places] == [OK, "ENOSPC"]


def test_who_hoards_memory_is_not_listened_to_any_more(host, guest):
    for _ in range(10):
        number = guest.begin()
        for at in range(200):
            sent = guest.send(XsMessage.WRITE, f"data/{at}\0".encode() + b"x" * 2000, number)
            if not sent or guest.answer() is None:
                assert host.guests[2].read("name") == b"guest-2"
                return
    raise AssertionError("nothing happened")
