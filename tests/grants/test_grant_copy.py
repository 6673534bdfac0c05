"""GNTTABOP_copy: what is copied, and who may have what copied."""

import pytest
from grant_host import GrantHost, refused

from abi.grant_table import (
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GrantStatus,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transitive,
    GTF_writing,
)
from abi.types import Domid, Gfn
from abi.xen import DOMID_SELF
from grants.interfaces import P2mType

FROM, TO, OWN = GNTCOPY_source_gref, GNTCOPY_dest_gref, DOMID_SELF
RO = GNTMAP_host_map | GNTMAP_readonly
TEXT = b"copied by the hypervisor"


@pytest.fixture
def host() -> GrantHost:
    """Domain 1 grants page 0 to domain 2 by reference 9, and page 1 for reading by reference 10."""
    host = GrantHost()
    host.grant(1, 9, to=2)
    host.grant(1, 10, to=2, gfn=1, flags=GTF_permit_access | GTF_readonly)
    for gfn in (0, 1):
        host.page(1, gfn)[:len(TEXT)] = TEXT
    return host


def copy(host: GrantHost, source: tuple[int, int, int], dest: tuple[int, int, int], flags: int,
         length: int = len(TEXT), caller: int = 2) -> None:
    """Source and destination are (reference or page, domid, offset)."""
    host.grants.copies.copy(Domid(caller), *source, *dest, length, flags)  # type: ignore[arg-type]


def test_from_a_grant_into_ones_own_page(host: GrantHost) -> None:
    copy(host, (10, 1, 7), (3, OWN, 100), FROM, length=10)
    assert host.page(2, 3)[99:111].tobytes() == b"\0" + TEXT[7:17] + b"\0"


def test_from_ones_own_page_into_a_grant(host: GrantHost) -> None:
    host.page(2, 0)[:5] = b"12345"
    copy(host, (0, OWN, 0), (9, 1, 4091), TO, length=5)
    assert host.page(1, 0)[4091:].tobytes() == b"12345"


def test_between_two_domains_by_a_third(host: GrantHost) -> None:
    host.grant(3, 0, to=2, gfn=2)
    copy(host, (10, 1, 0), (0, 3, 0), FROM | TO, length=4096)
    assert host.page(3, 2) == host.page(1, 1)


def test_between_ones_own_pages(host: GrantHost) -> None:
    host.page(2, 0)[0] = 1
    copy(host, (0, OWN, 0), (1, OWN, 0), 0, length=4096)
    assert host.page(2, 1)[0] == 1


def test_ones_own_grants_go_by_self(host: GrantHost) -> None:
    host.grant(2, 0, to=2, gfn=1)
    copy(host, (10, 1, 0), (0, OWN, 0), FROM | TO)
    assert host.page(2, 1)[:len(TEXT)] == TEXT


def test_within_one_page_that_overlaps_itself(host: GrantHost) -> None:
    copy(host, (9, 1, 0), (9, 1, 3), FROM | TO)
    assert host.page(1, 0)[3:3 + len(TEXT)] == TEXT


def test_a_copy_leaves_no_trace_in_the_entry(host: GrantHost) -> None:
    copy(host, (9, 1, 0), (0, OWN, 0), FROM)
    copy(host, (0, OWN, 0), (9, 1, 0), TO)
    assert host.flags(1, 9) == GTF_permit_access
    assert host.refs(host.mfn(1, 0)) == 1


def test_a_copy_into_a_page_mapped_for_reading_leaves_it_so(host: GrantHost) -> None:
    host.map(2, 1, 9, flags=RO)
    copy(host, (0, OWN, 0), (9, 1, 0), TO)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading


def test_a_copy_into_a_page_mapped_for_writing_leaves_it_so(host: GrantHost) -> None:
    host.map(2, 1, 9)
    copy(host, (0, OWN, 0), (9, 1, 0), TO)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading | GTF_writing


def test_nothing_is_copied_without_asking_anybody(host: GrantHost) -> None:
    copy(host, (9, 99, 5000), (0, 1, 0), 0, length=0)


@pytest.mark.parametrize(("source", "dest", "flags"), [
    ((0, 1, 0), (0, OWN, 0), 0), ((0, OWN, 0), (0, 1, 0), 0), ((0, 2, 0), (0, OWN, 0), 0), ((0, 99, 0), (0, OWN, 0), 0),
])
def test_pages_by_number_are_ones_own(host: GrantHost, source: tuple[int, int, int], dest: tuple[int, int, int],
                                      flags: int) -> None:
    with refused(GrantStatus.permission_denied):
        copy(host, source, dest, flags)


def test_what_is_no_domain_cannot_have_granted(host: GrantHost) -> None:
    for domid in (5, 0x7FF4):
        with refused(GrantStatus.bad_domain):
            copy(host, (9, domid, 0), (0, OWN, 0), FROM)
        with refused(GrantStatus.bad_domain):
            copy(host, (0, OWN, 0), (9, domid, 0), TO)


def test_the_dead_grant_nothing(host: GrantHost) -> None:
    host.die(Domid(1))
    with refused(GrantStatus.bad_domain):
        copy(host, (9, 1, 0), (0, OWN, 0), FROM)


def test_references_end_with_the_table(host: GrantHost) -> None:
    with refused(GrantStatus.bad_gntref):
        copy(host, (512, 1, 0), (0, OWN, 0), FROM)


def test_a_grant_for_reading_is_not_written(host: GrantHost) -> None:
    with refused(GrantStatus.general_error):
        copy(host, (0, OWN, 0), (10, 1, 0), TO)
    host.map(2, 1, 10, flags=RO)
    with refused(GrantStatus.general_error):
        copy(host, (0, OWN, 0), (10, 1, 0), TO)
    assert host.page(1, 1)[:len(TEXT)] == TEXT


@pytest.mark.parametrize("flags", [0, GTF_transitive])
def test_an_entry_that_does_not_permit_access_is_refused(host: GrantHost, flags: int) -> None:
    host.grant(1, 9, to=2, flags=flags)
    with refused(GrantStatus.general_error):
        copy(host, (9, 1, 0), (0, OWN, 0), FROM)


def test_version_1_knows_no_parts_of_pages(host: GrantHost) -> None:
    host.grant(1, 9, to=2, flags=GTF_permit_access | GTF_sub_page)
    copy(host, (9, 1, 0), (0, OWN, 0), FROM)


def test_another_domains_grant_is_refused(host: GrantHost) -> None:
    with refused(GrantStatus.general_error):
        copy(host, (9, 1, 0), (0, OWN, 0), FROM, caller=3)


def test_a_mapped_grant_serves_its_mapper_alone(host: GrantHost) -> None:
    host.map(2, 1, 9)
    host.grant(1, 9, to=3)
    with refused(GrantStatus.general_error):
        copy(host, (9, 1, 0), (0, OWN, 0), FROM, caller=3)


def test_a_counter_that_is_full_takes_no_copy(host: GrantHost) -> None:
    for page in range(128):
        host.map(2, 1, 9, at=0x100 + page, flags=RO)
    with refused(GrantStatus.general_error):
        copy(host, (9, 1, 0), (0, OWN, 0), FROM)
    copy(host, (0, OWN, 0), (9, 1, 0), TO)


@pytest.mark.parametrize(("source_offset", "dest_offset", "length"), [
    (1, 0, 4096), (0, 1, 4096), (4096, 0, 1), (0, 0, 4097),
])
def test_a_copy_stays_within_two_pages(host: GrantHost, source_offset: int, dest_offset: int, length: int) -> None:
    with refused(GrantStatus.bad_copy_arg):
        copy(host, (9, 1, source_offset), (0, OWN, dest_offset), FROM, length=length)


def test_pages_that_are_not_there_are_bad(host: GrantHost) -> None:
    host.grant(1, 11, to=2, gfn=77)
    for source, flags in (((11, 1, 0), FROM), ((77, OWN, 0), 0)):
        with refused(GrantStatus.bad_page):
            copy(host, source, (0, OWN, 0), flags)
    with refused(GrantStatus.bad_page):
        copy(host, (9, 1, 0), (77, OWN, 0), FROM)
    assert host.flags(1, 11) == GTF_permit_access


def test_a_mapped_grant_is_a_page_to_copy_from_but_not_to_grant(host: GrantHost) -> None:
    host.map(2, 1, 10, at=0x100, flags=RO)
    copy(host, (0x100, OWN, 0), (0, OWN, 0), 0)
    assert host.page(2, 0)[:len(TEXT)] == TEXT
    host.grant(2, 0, to=3, gfn=0x100)
    with refused(GrantStatus.bad_page):
        copy(host, (0, 2, 0), (0, OWN, 0), FROM, caller=3)


def test_a_grant_mapped_for_reading_is_not_copied_into(host: GrantHost) -> None:
    host.map(2, 1, 10, at=0x100, flags=RO)
    with refused(GrantStatus.bad_page):
        copy(host, (0, OWN, 0), (0x100, OWN, 0), 0)


def test_a_page_by_number_must_be_the_callers(host: GrantHost) -> None:
    host.memory.p2m[Domid(2)][Gfn(0)] = host.mfn(3, 0), P2mType.RAM_RW
    with refused(GrantStatus.bad_page):
        copy(host, (9, 1, 0), (0, OWN, 0), FROM)


def test_a_revoked_page_that_is_still_mapped_is_still_copied(host: GrantHost) -> None:
    host.map(2, 1, 9)
    host.revoke(1, 9)
    copy(host, (9, 1, 0), (0, OWN, 0), FROM)
    assert host.page(2, 0)[:len(TEXT)] == TEXT
