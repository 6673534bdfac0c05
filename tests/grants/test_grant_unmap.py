"""unmap_grant_ref, unmap_and_replace, handles, and mappings of domains that die."""

import pytest
from grant_host import GrantHost, refused

from abi.grant_table import (
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GrantStatus,
    GTF_permit_access,
    GTF_reading,
)
from abi.types import Domid, Gfn, GrantHandle, GrantRef

RO = GNTMAP_host_map | GNTMAP_readonly
TWO = Domid(2)


@pytest.fixture
def host() -> GrantHost:
    """Domain 1 grants its page 0 to domain 2 by reference 9, and to domain 0 by reference 10."""
    host = GrantHost()
    host.grant(1, 9, to=2)
    host.grant(1, 10, to=0)
    return host


def test_unmapping_leaves_nothing(host: GrantHost) -> None:
    host.unmap(2, host.map(2, 1, 9))
    assert 0x100 not in host.memory.p2m[TWO]
    assert host.refs(host.mfn(1, 0)) == 1
    assert host.flags(1, 9) == GTF_permit_access
    assert host.grants.mapped(TWO) == (0, 1)


def test_the_granter_sees_the_last_writer_leave_before_the_last_reader(host: GrantHost) -> None:
    writer, reader = host.map(2, 1, 9, at=0x100), host.map(2, 1, 9, at=0x101, flags=RO)
    host.unmap(2, writer, at=0x100)
    assert host.flags(1, 9) == GTF_permit_access | GTF_reading
    host.unmap(2, reader, at=0x101)
    assert host.flags(1, 9) == GTF_permit_access


@pytest.mark.parametrize("handle", [1, 255, 256, 0xFFFFFFFF])
def test_a_handle_that_is_not_in_use_is_bad(host: GrantHost, handle: int) -> None:
    host.map(2, 1, 9)
    with refused(GrantStatus.bad_handle):
        host.unmap(2, handle)


def test_a_handle_is_good_once(host: GrantHost) -> None:
    handle = host.map(2, 1, 9)
    host.unmap(2, handle)
    with refused(GrantStatus.bad_handle):
        host.unmap(2, handle)


def test_a_handle_is_its_owners(host: GrantHost) -> None:
    handle = host.map(2, 1, 9)
    with refused(GrantStatus.bad_handle):
        host.unmap(3, handle)


def test_unmapping_at_a_wrong_address_changes_nothing(host: GrantHost) -> None:
    host.grant(1, 11, to=2, gfn=1)
    handle, _ = host.map(2, 1, 9, at=0x100), host.map(2, 1, 11, at=0x101)
    for wrong in (0x101, 0x102, 0):
        if wrong:
            with refused(GrantStatus.general_error):
                host.unmap(2, handle, at=wrong)
    host.unmap(2, handle, at=0x100)


def test_unmapping_nothing_succeeds_and_does_nothing(host: GrantHost) -> None:
    handle = host.map(2, 1, 9)
    host.unmap(2, handle, at=0)
    assert host.grants.mapped(TWO) == (1, 1)


def test_a_bus_address_without_a_device_mapping_is_ignored(host: GrantHost) -> None:
    host.unmap(2, host.map(2, 1, 9), bus=0x1234)
    assert host.grants.mapped(TWO) == (0, 1)


def test_a_wrong_bus_address_is_refused(host: GrantHost) -> None:
    handle, bus = host.grants.mappings.map_grant_ref(Domid(0), 0, GNTMAP_device_map, GrantRef(10), Domid(1))
    with refused(GrantStatus.bad_dev_addr):
        host.unmap(0, handle, at=0, bus=bus + 4096)
    host.unmap(0, handle, at=0, bus=bus)
    assert host.refs(host.mfn(1, 0)) == 1


def test_hvm_guests_have_nothing_to_replace_a_mapping_with(host: GrantHost) -> None:
    handle = host.map(2, 1, 9)
    with refused(GrantStatus.general_error):
        host.unmap(2, handle, new=0x5000)
    assert host.grants.mapped(TWO) == (1, 1)


def test_handles_count_up_and_a_freed_one_comes_last(host: GrantHost) -> None:
    assert [host.map(2, 1, 9, at=0x100 + page) for page in range(3)] == [0, 1, 2]
    host.unmap(2, 1, at=0x101)
    assert host.map(2, 1, 9, at=0x101) == 3


def test_a_refused_mapping_uses_its_handle_up_as_in_xen(host: GrantHost) -> None:
    with refused(GrantStatus.general_error):
        host.map(2, 1, 10)
    assert host.map(2, 1, 9) == 1


def test_handles_run_out_with_one_to_spare() -> None:
    host = GrantHost(domains=3)
    for ref in range(4):
        host.grant(1, ref, to=2)
    handles = {host.map(2, 1, number // 128, at=0x100 + number) for number in range(511)}
    assert len(handles) == 511
    with refused(GrantStatus.no_space):
        host.map(2, 1, 3, at=0x500)
    host.unmap(2, 17, at=0x111)
    left, = set(range(512)) - handles
    assert host.map(2, 1, 3, at=0x500) == left
    with refused(GrantStatus.no_space):
        host.map(2, 1, 3, at=0x501)


def test_handles_are_used_again_in_the_order_in_which_they_were_freed(host: GrantHost) -> None:
    for turn in range(1000):
        handle = host.map(2, 1, 9)
        assert handle == turn % 256
        host.unmap(2, handle)


def test_a_dead_domain_has_nothing_mapped(host: GrantHost) -> None:
    frame = host.mfn(1, 0)
    host.map(2, 1, 9, at=0x100)
    host.map(2, 1, 9, at=0x101, flags=RO)
    host.die(TWO)
    assert host.refs(frame) == 1
    assert host.flags(1, 9) == GTF_permit_access
    assert host.grants.mapped(TWO)[0] == 0


def test_a_dead_domain_has_no_device_mapping_either(host: GrantHost) -> None:
    host.grants.mappings.map_grant_ref(Domid(0), 0, GNTMAP_device_map, GrantRef(10), Domid(1))
    host.grants.destroy(Domid(0))
    assert host.refs(host.mfn(1, 0)) == 1
    assert host.flags(1, 10) == GTF_permit_access


def test_what_a_dead_domain_granted_stays_mapped(host: GrantHost) -> None:
    frame = host.mfn(1, 0)
    handle = host.map(2, 1, 9)
    host.page(1, 0)[0] = 5
    host.die(Domid(1))
    assert host.refs(frame) == 1
    assert host.page(2, 0x100)[0] == 5
    host.unmap(2, handle)
    assert host.refs(frame) == 0


def test_what_a_dead_domain_granted_is_not_mapped_any_more(host: GrantHost) -> None:
    host.map(2, 1, 9)
    host.die(Domid(1))
    with refused(GrantStatus.bad_domain):
        host.map(2, 1, 9, at=0x101)


def test_a_page_that_the_guest_lost_does_not_keep_it_from_dying(host: GrantHost) -> None:
    host.map(2, 1, 9)
    del host.memory.p2m[TWO][Gfn(0x100)]
    host.grants.destroy(TWO)
    assert host.refs(host.mfn(1, 0)) == 1


def test_another_process_goes_on_where_one_stopped(host: GrantHost) -> None:
    handle = host.map(2, 1, 9)
    host.attach().mappings.unmap_grant_ref(TWO, 0x100000, 0, GrantHandle(handle))
    assert host.grants.mapped(TWO) == (0, 1)
    assert host.map(2, 1, 9) == 1
