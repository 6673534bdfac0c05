"""GNTTABOP_transfer: a page of domain 0, which is PV here, goes to domain 1 or 2, or back."""

import pytest
from grant_host import GrantHost, refused

from abi.grant_table import (
    GrantStatus,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_transfer_committed,
    GTF_transfer_completed,
)
from abi.types import Domid, Gfn, GrantRef
from abi.xen import DOMID_SELF

DONE = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed
BOTH = pytest.mark.parametrize("version", [1, 2])


@pytest.fixture
def host() -> GrantHost:
    """Domain 1 wants a page from domain 0 at its page 0x50, by reference 9."""
    host = GrantHost()
    host.grant(1, 9, to=0, gfn=0x50, flags=GTF_accept_transfer)
    host.page(0, 2)[:4] = b"gift"
    return host


def transfer(host: GrantHost, page: int = 2, taker: int = 1, ref: int = 9, giver: int = 0) -> None:
    host.grants.transfers.transfer(Domid(giver), Gfn(page), Domid(taker), GrantRef(ref))


def pages(host: GrantHost, domid: int) -> list[int]:
    return list(host.memory.p2m[Domid(domid)])


@BOTH
def test_a_page_changes_hands(host: GrantHost, version: int) -> None:
    host.set_version(1, version)
    host.grant(1, 9, to=0, gfn=0x50, flags=GTF_accept_transfer)
    free = len(host.memory.free)
    transfer(host)
    assert host.flags(1, 9) == DONE
    assert host.frame_named(1, 9) == 0x50
    assert host.page(1, 0x50)[:4].tobytes() == b"gift"
    assert host.memory.owner(host.mfn(1, 0x50)) == 1
    assert pages(host, 0) == [0, 1, 3]
    assert len(host.memory.free) == free


@BOTH
def test_who_names_frames_is_told_which_one_it_got(host: GrantHost, version: int) -> None:
    host.set_version(0, version)
    host.grant(0, 9, to=1, gfn=7, flags=GTF_accept_transfer)
    host.page(1, 1)[:4] = b"back"
    transfer(host, page=1, taker=0, giver=1)
    assert host.flags(0, 9) == DONE
    assert host.frame_named(0, 9) == host.mfn(0, 7)
    assert host.page(0, 7)[:4].tobytes() == b"back"


def test_a_page_that_is_not_the_givers_alone_stays(host: GrantHost) -> None:
    host.grant(0, 8, to=2, gfn=2)
    handle = host.map(2, 0, 8)
    for page in (2, 77):
        with refused(GrantStatus.bad_page):
            transfer(host, page)
    assert pages(host, 0) == [0, 1, 2, 3]
    assert host.flags(1, 9) == GTF_accept_transfer
    host.unmap(2, handle)
    transfer(host)


@pytest.mark.parametrize("domid", [99, DOMID_SELF])
def test_a_page_for_nobody_is_lost(host: GrantHost, domid: int) -> None:
    with refused(GrantStatus.bad_domain):
        transfer(host, taker=domid)
    assert pages(host, 0) == [0, 1, 3]


def test_a_page_for_the_dead_is_lost(host: GrantHost) -> None:
    host.die(Domid(1))
    with refused(GrantStatus.bad_domain):
        transfer(host)
    assert pages(host, 0) == [0, 1, 3]


@BOTH
@pytest.mark.parametrize(("flags", "to"), [
    (0, 0), (GTF_permit_access, 0), (GTF_accept_transfer, 2), (DONE, 0),
    (GTF_accept_transfer | GTF_transfer_committed, 0)])
def test_what_is_not_accepted_is_lost(host: GrantHost, version: int, flags: int, to: int) -> None:
    host.set_version(1, version)
    host.grant(1, 9, to=to, gfn=0x50, flags=flags)
    free = len(host.memory.free)
    with refused(GrantStatus.general_error):
        transfer(host)
    assert host.flags(1, 9) == flags
    assert pages(host, 0) == [0, 1, 3]
    assert len(host.memory.free) == free + 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_reference_beyond_the_table(host: GrantHost, version: int) -> None:
    host.set_version(1, version)
    with refused(GrantStatus.general_error):
        transfer(host, ref=512 // version)


def test_who_has_all_that_it_may_have_takes_nothing(host: GrantHost) -> None:
    host.memory.most[Domid(1)] = 4
    with refused(GrantStatus.general_error):
        transfer(host)
    assert host.flags(1, 9) == GTF_accept_transfer


def test_who_finds_no_frame_takes_nothing(host: GrantHost) -> None:
    host.memory.free.clear()
    with refused(GrantStatus.address_too_big):
        transfer(host)
    assert host.flags(1, 9) == GTF_accept_transfer
    assert pages(host, 0) == [0, 1, 3]


def test_an_entry_takes_one_page(host: GrantHost) -> None:
    transfer(host)
    with refused(GrantStatus.general_error):
        transfer(host, page=3)


def test_both_are_asked_for_before_anything_is_done(host: GrantHost) -> None:
    asked: list[tuple[int, int]] = []
    host.grants.set_require(lambda domid, other: asked.append((domid, other)))
    with refused(GrantStatus.bad_page):
        transfer(host, page=77)
    assert asked == [(0, 1)]
