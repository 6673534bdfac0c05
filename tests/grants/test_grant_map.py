"""map_grant_ref: who may map what, and what the granter sees of it."""

import pytest
from grant_host import GrantHost, refused

from abi.grant_table import (
    GNTMAP_application_map,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
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
from abi.types import Domid, Gfn
from abi.xen import DOMID_SELF
from grants.interfaces import P2mType

HOST, RO = GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly
READ_ONLY_GRANT = GTF_permit_access | GTF_readonly


@pytest.fixture
def host() -> GrantHost:
    """Domain 1 grants its page 0 to domain 2 by reference 9."""
    host = GrantHost()
    host.grant(1, 9, to=2)
    return host


def test_a_mapped_page_is_the_granters_page(host: GrantHost) -> None:
    host.map(2, 1, 9, at=0x100)
    host.page(1, 0)[7] = 42
    assert host.page(2, 0x100)[7] == 42
    assert host.memory.lookup(Domid(2), Gfn(0x100)) == (host.mfn(1, 0), P2mType.GRANT_MAP_RW)


def test_a_read_only_mapping_is_one(host: GrantHost) -> None:
    host.map(2, 1, 9, at=0x100, flags=RO)
    assert host.memory.lookup(Domid(2), Gfn(0x100))[1] == P2mType.GRANT_MAP_RO


def test_the_bus_address_is_the_machine_address(host: GrantHost) -> None:
    _, bus = host.grants.mappings.map_grant_ref(Domid(2), 0x100000, HOST, 9, Domid(1))  # type: ignore[arg-type]
    assert bus == host.mfn(1, 0) << 12


def test_the_granter_sees_that_its_page_is_written_and_read(host: GrantHost) -> None:
    host.map(2, 1, 9)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading | GTF_writing


def test_the_granter_sees_that_its_page_is_only_read(host: GrantHost) -> None:
    host.map(2, 1, 9, flags=RO)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading


def test_a_writable_mapping_beside_a_read_only_one_shows(host: GrantHost) -> None:
    host.map(2, 1, 9, at=0x100, flags=RO)
    host.map(2, 1, 9, at=0x101)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading | GTF_writing


def test_every_mapping_holds_a_reference_to_the_frame(host: GrantHost) -> None:
    frame = host.mfn(1, 0)
    host.map(2, 1, 9, at=0x100)
    host.map(2, 1, 9, at=0x101)
    assert host.refs(frame) == 3


def test_a_domain_may_map_its_own_grant_by_its_number(host: GrantHost) -> None:
    host.grant(1, 10, to=1)
    host.map(1, 1, 10)


@pytest.mark.parametrize("flags", [0, GNTMAP_readonly, GNTMAP_contains_pte])
def test_a_mapping_for_nobody_is_a_bad_reference(host: GrantHost, flags: int) -> None:
    with refused(GrantStatus.bad_gntref):
        host.map(2, 1, 9, flags=flags)


@pytest.mark.parametrize("flag", [GNTMAP_device_map, GNTMAP_application_map, GNTMAP_contains_pte, 1 << 16])
def test_hvm_guests_have_host_mappings_alone(host: GrantHost, flag: int) -> None:
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9, flags=HOST | flag)
    assert host.flags(1, 9) == GTF_permit_access


@pytest.mark.parametrize("granter", [5, 99, DOMID_SELF, 0xFFFF])
def test_what_is_no_domain_cannot_have_granted(host: GrantHost, granter: int) -> None:
    with refused(GrantStatus.bad_domain):
        host.map(2, granter, 9)


@pytest.mark.parametrize("ref", [512, 0x7FFFFFFF, 0xFFFFFFFF])
def test_references_end_with_the_table(host: GrantHost, ref: int) -> None:
    with refused(GrantStatus.bad_gntref):
        host.map(2, 1, ref)


def test_the_table_grows_and_references_with_it(host: GrantHost) -> None:
    host.grants.setup_table(Domid(1), 2)
    host.grant(1, 1023, to=2)
    host.map(2, 1, 1023)


@pytest.mark.parametrize("flags", [
    0, GTF_accept_transfer, GTF_transitive, GTF_readonly, GTF_permit_access | GTF_sub_page,
])
def test_an_entry_that_does_not_permit_access_is_refused(host: GrantHost, flags: int) -> None:
    host.grant(1, 9, to=2, flags=flags)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9)
    assert host.flags(1, 9) == flags


def test_an_entry_for_another_domain_is_refused(host: GrantHost) -> None:
    with refused(GrantStatus.general_error):
        host.map(3, 1, 9)


def test_a_read_only_grant_is_not_mapped_writable(host: GrantHost) -> None:
    host.grant(1, 9, to=2, flags=READ_ONLY_GRANT)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9)
    host.map(2, 1, 9, flags=RO)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9, at=0x101)
    assert host.flags(1, 9) == READ_ONLY_GRANT | GTF_reading


def test_an_entry_that_names_no_page_of_the_granter_is_a_bad_page(host: GrantHost) -> None:
    host.grant(1, 9, to=2, gfn=77)
    with refused(GrantStatus.bad_page):
        host.map(2, 1, 9)
    assert host.flags(1, 9) == GTF_permit_access


@pytest.mark.parametrize("kind", [P2mType.MMIO_DM, P2mType.MMIO_DIRECT, P2mType.MAP_FOREIGN, P2mType.INVALID])
def test_only_memory_can_be_granted(host: GrantHost, kind: P2mType) -> None:
    host.memory.p2m[Domid(1)][Gfn(0)] = host.mfn(1, 0), kind
    with refused(GrantStatus.bad_page):
        host.map(2, 1, 9, flags=RO)


def test_read_only_memory_can_be_granted_for_reading(host: GrantHost) -> None:
    host.memory.p2m[Domid(1)][Gfn(0)] = host.mfn(1, 0), P2mType.RAM_RO
    with refused(GrantStatus.bad_page):
        host.map(2, 1, 9)
    host.map(2, 1, 9, flags=RO)


def test_a_frame_that_is_not_the_granters_is_a_bad_page(host: GrantHost) -> None:
    host.memory.p2m[Domid(1)][Gfn(0)] = host.mfn(3, 0), P2mType.RAM_RW
    with refused(GrantStatus.bad_page):
        host.map(2, 1, 9)
    assert host.refs(host.mfn(3, 0)) == 1


def test_a_mapped_grant_cannot_be_granted_on(host: GrantHost) -> None:
    host.map(2, 1, 9, at=0x100)
    host.grant(2, 9, to=3, gfn=0x100)
    with refused(GrantStatus.general_error):
        host.map(3, 2, 9)
    assert host.refs(host.mfn(1, 0)) == 2


@pytest.mark.parametrize("at", [0x100, 1 << 40])
def test_a_page_that_cannot_hold_a_grant_undoes_all(host: GrantHost, at: int) -> None:
    host.map(2, 1, 9, at=0x100, flags=RO)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9, at=at)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading
    assert host.refs(host.mfn(1, 0)) == 2
    assert host.grants.mapped(Domid(2)) == (1, 1)


def test_128_mappings_of_a_kind_are_the_most(host: GrantHost) -> None:
    for page in range(128):
        host.map(2, 1, 9, at=0x100 + page)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9, at=0x200)
    host.map(2, 1, 9, at=0x200, flags=RO)


def test_a_reference_that_one_domain_has_mapped_serves_no_other(host: GrantHost) -> None:
    host.map(2, 1, 9)
    host.grant(1, 9, to=3)
    with refused(GrantStatus.general_error):
        host.map(3, 1, 9)


def test_an_entry_revoked_while_mapped_stays_active(host: GrantHost) -> None:
    handle = host.map(2, 1, 9, at=0x100)
    host.revoke(1, 9)
    host.grant(1, 9, to=2, gfn=1, flags=0)
    assert host.mfn(2, 0x100) == host.mfn(1, 0)
    host.map(2, 1, 9, at=0x101)
    assert host.mfn(2, 0x101) == host.mfn(1, 0)
    host.unmap(2, handle, at=0x100)
    host.unmap(2, handle + 1, at=0x101)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9)


def test_a_frame_given_back_while_mapped_lives_until_it_is_unmapped(host: GrantHost) -> None:
    frame = host.mfn(1, 0)
    handle = host.map(2, 1, 9)
    del host.memory.p2m[Domid(1)][Gfn(0)]
    host.memory.put_page(frame)
    assert host.refs(frame) == 1
    host.unmap(2, handle)
    assert host.refs(frame) == 0


def test_a_domain_without_page_tables_of_its_own_maps_for_its_devices(host: GrantHost) -> None:
    host.grant(1, 9, to=0)
    handle, bus = host.grants.mappings.map_grant_ref(
        Domid(0), 0, GNTMAP_device_map, 9, Domid(1))  # type: ignore[arg-type]
    assert bus == host.mfn(1, 0) << 12
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading | GTF_writing
    host.unmap(0, handle, at=0, bus=bus)
    assert host.flags(1, 9) == GTF_permit_access
    assert host.refs(bus >> 12) == 1  # type: ignore[arg-type]


def test_a_pv_guest_gets_no_host_mapping_yet(host: GrantHost) -> None:
    host.grant(1, 9, to=0)
    for flags in (HOST, HOST | GNTMAP_device_map):
        with refused(GrantStatus.general_error):
            host.map(0, 1, 9, flags=flags)
    assert host.flags(1, 9) == GTF_permit_access
    assert host.refs(host.mfn(1, 0)) == 1


def test_mappings_are_counted(host: GrantHost) -> None:
    host.unmap(2, host.map(2, 1, 9))
    host.map(2, 1, 9)
    assert host.grants.mapped(Domid(2)) == (1, 2)
