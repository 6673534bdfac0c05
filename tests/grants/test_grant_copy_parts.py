"""GNTTABOP_copy in version 2: parts of pages, and grants that are passed on."""

import pytest
from grant_host import GrantHost, refused

from abi.grant_table import (
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GrantStatus,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transitive,
    GTF_writing,
)
from abi.types import Domid, GrantHandle
from abi.xen import DOMID_SELF

FROM, TO, OWN = GNTCOPY_source_gref, GNTCOPY_dest_gref, DOMID_SELF
RO = GNTMAP_host_map | GNTMAP_readonly
PART = GTF_permit_access | GTF_sub_page
TEXT = bytes(range(1, 65))


@pytest.fixture
def host() -> GrantHost:
    """Domain 1 grants bytes 16 to 47 of its page 0 to domain 2 (ref 9), which passes that on to domain 3 (ref 10)."""
    host = GrantHost()
    for domid in (1, 2):
        host.set_version(domid, 2)
    host.grant(1, 9, to=2, flags=PART, part=(16, 32))
    host.grant(2, 10, to=3, gfn=9, flags=GTF_transitive, part=(1, 0))
    host.page(1, 0)[:len(TEXT)] = TEXT
    return host


def copy_from(host: GrantHost, granter: int, ref: int, offset: int, length: int, caller: int) -> None:
    host.grants.copies.copy(Domid(caller), ref, Domid(granter), offset, 3, OWN, 0, length, FROM)


def copy_to(host: GrantHost, granter: int, ref: int, offset: int, length: int, caller: int) -> None:
    host.grants.copies.copy(Domid(caller), 3, OWN, 0, ref, Domid(granter), offset, length, TO)


WAYS = pytest.mark.parametrize(("granter", "ref", "caller"), [(1, 9, 2), (2, 10, 3)], ids=["granted", "passed on"])


@WAYS
def test_offsets_count_from_the_start_of_the_page(host: GrantHost, granter: int, ref: int, caller: int) -> None:
    copy_from(host, granter, ref, 16, 32, caller)
    assert host.page(caller, 3)[:33].tobytes() == TEXT[16:48] + b"\0"
    host.page(caller, 3)[:2] = b"ab"
    copy_to(host, granter, ref, 46, 2, caller)
    assert host.page(1, 0)[45:49].tobytes() == bytes((46, 97, 98, 49))


@WAYS
@pytest.mark.parametrize(("offset", "length"), [(15, 1), (15, 10), (16, 33), (47, 2), (48, 1), (4095, 1)])
def test_beyond_the_part_nothing_is_copied(
        host: GrantHost, granter: int, ref: int, caller: int, offset: int, length: int) -> None:
    for copy in (copy_from, copy_to):
        with refused(GrantStatus.general_error):
            copy(host, granter, ref, offset, length, caller)
    assert not any(host.page(caller, 3))
    assert host.page(1, 0)[:len(TEXT)] == TEXT


def test_beyond_the_page_is_said_first(host: GrantHost) -> None:
    with refused(GrantStatus.bad_copy_arg):
        copy_from(host, 1, 9, 4000, 97, 2)


def test_xen_keeps_15_bits_of_the_first_byte(host: GrantHost) -> None:
    host.grant(1, 9, to=2, flags=PART, part=(0x8010, 32))
    copy_from(host, 1, 9, 16, 32, 2)
    host.grant(1, 9, to=2, flags=PART, part=(4096, 32))
    with refused(GrantStatus.general_error):
        copy_from(host, 1, 9, 0, 1, 2)


def test_a_whole_page_of_version_2(host: GrantHost) -> None:
    host.grant(1, 9, to=2)
    copy_from(host, 1, 9, 0, 4096, 2)
    copy_from(host, 2, 10, 0, 4096, 3)
    assert host.page(3, 3) == host.page(1, 0)


def test_a_grant_of_version_1_can_be_passed_on(host: GrantHost) -> None:
    host.grant(4, 9, to=2)
    host.grant(2, 10, to=3, gfn=9, flags=GTF_transitive, part=(4, 0))
    copy_to(host, 2, 10, 7, 9, 3)
    assert host.flags(4, 9) == GTF_permit_access


def test_a_grant_can_come_back_to_who_gave_it(host: GrantHost) -> None:
    host.grant(2, 10, to=1, gfn=9, flags=GTF_transitive, part=(1, 0))
    copy_from(host, 2, 10, 16, 4, 1)
    assert host.page(1, 3)[:4] == TEXT[16:20]


@WAYS
def test_a_copy_leaves_no_trace(host: GrantHost, granter: int, ref: int, caller: int) -> None:
    copy_from(host, granter, ref, 16, 1, caller)
    copy_to(host, granter, ref, 16, 1, caller)
    assert [host.status_word(*one) for one in ((1, 9), (2, 10))] == [0, 0]
    assert host.refs(host.mfn(1, 0)) == 1


@pytest.mark.parametrize(("flags", "to"), [
    (0, 2), (GTF_accept_transfer, 2), (PART, 4), (PART | GTF_readonly, 2)])
def test_what_is_passed_on_must_be_granted(host: GrantHost, flags: int, to: int) -> None:
    host.grant(1, 9, to=to, flags=flags, part=(16, 32))
    for granter, ref, caller in ((1, 9, 2), (2, 10, 3)):
        with refused(GrantStatus.general_error):
            copy_to(host, granter, ref, 16, 1, caller)
        assert host.status_word(1, 9) == host.status_word(2, 10) == 0


@pytest.mark.parametrize(("flags", "to", "domid"), [
    (GTF_transitive, 4, 1), (GTF_transitive | GTF_readonly, 3, 1), (GTF_transitive, 3, 2), (GTF_transitive, 3, 99),
    (GTF_transitive, 3, DOMID_SELF)], ids=["to another", "to read", "to itself", "of nobody", "of SELF"])
def test_what_is_not_passed_on(host: GrantHost, flags: int, to: int, domid: int) -> None:
    host.grant(2, 9, to=2)
    host.grant(2, 10, to=to, gfn=9, flags=flags, part=(domid, 0))
    with refused(GrantStatus.general_error):
        copy_to(host, 2, 10, 16, 1, 3)
    assert host.status_word(2, 10) == 0


def test_to_read_is_passed_on_to_read(host: GrantHost) -> None:
    host.grant(2, 10, to=3, gfn=9, flags=GTF_transitive | GTF_readonly, part=(1, 0))
    copy_from(host, 2, 10, 16, 1, 3)


def test_a_reference_beyond_the_other_domains_table(host: GrantHost) -> None:
    host.grant(2, 10, to=3, gfn=256, flags=GTF_transitive, part=(1, 0))
    with refused(GrantStatus.bad_gntref):
        copy_from(host, 2, 10, 16, 1, 3)


def test_a_grant_is_passed_on_once(host: GrantHost) -> None:
    host.set_version(3, 2)
    host.grant(3, 11, to=4, gfn=10, flags=GTF_transitive, part=(2, 0))
    with refused(GrantStatus.general_error):
        copy_from(host, 3, 11, 16, 1, 4)
    assert [host.status_word(*one) for one in ((1, 9), (2, 10), (3, 11))] == [0, 0, 0]


def test_a_dead_domains_grant_is_passed_on_no_more(host: GrantHost) -> None:
    host.die(Domid(1))
    with refused(GrantStatus.general_error):
        copy_from(host, 2, 10, 16, 1, 3)


def test_a_grant_that_is_passed_on_may_be_mapped_meanwhile_by_who_has_it(host: GrantHost) -> None:
    host.grant(1, 9, to=2)
    host.map(2, 1, 9, flags=RO)
    copy_to(host, 2, 10, 100, 1, 3)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading
    host.map(2, 1, 9, at=0x101)
    copy_to(host, 2, 10, 100, 1, 3)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading | GTF_writing


def test_an_entry_that_becomes_transitive_while_it_is_mapped_is_to_be_tried_again(host: GrantHost) -> None:
    host.grant(2, 10, to=3)
    handle = GrantHandle(host.map(3, 2, 10, flags=RO))
    host.grant(2, 10, to=3, gfn=9, flags=GTF_transitive, part=(1, 0))
    for copy in (copy_from, copy_to):
        with refused(GrantStatus.eagain):
            copy(host, 2, 10, 16, 1, 3)
        assert host.status_word(2, 10) == GTF_reading
    host.unmap(3, handle)
    copy_from(host, 2, 10, 16, 1, 3)


def test_all_whom_a_copy_concerns_are_asked_for_before_anything_is_done(host: GrantHost) -> None:
    asked: list[tuple[int, int]] = []
    host.grants.set_require(lambda domid, other: asked.append((domid, other)))
    copy_from(host, 2, 10, 16, 1, 3)
    assert asked == [(3, 2), (3, 1)]


def test_the_frame_that_is_fetched_is_whose_it_is(host: GrantHost) -> None:
    fetched: list[tuple[int, int]] = []
    host.grants.set_fetch(lambda domid, mfn: fetched.append((domid, mfn)))
    copy_from(host, 2, 10, 16, 1, 3)
    assert fetched == [(1, host.mfn(1, 0))]
