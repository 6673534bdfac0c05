"""The table itself: its size, its frames, its version, its birth and end."""

import pytest
from grant_host import MAX_FRAMES, PVH, GrantHost, raises, refused

from abi.errno import Errno
from abi.grant_table import GrantStatus, GTF_permit_access
from abi.memory import XENMAPIDX_grant_table_status
from abi.types import Domid, Gfn, GrantRef, Mfn
from grants.interfaces import P2mType

ONE, TWO = Domid(1), Domid(2)


@pytest.fixture
def host() -> GrantHost:
    return GrantHost()


def test_a_table_begins_with_one_empty_frame(host: GrantHost) -> None:
    assert host.grants.query_size(ONE) == (1, MAX_FRAMES)
    frame = host.grants.shared_frame(ONE, 0)
    assert host.memory.owner(frame) == ONE
    assert not any(host.arena.page(frame))


def test_setting_up_more_frames_grows_the_table(host: GrantHost) -> None:
    host.grants.setup_table(ONE, 3)
    assert host.grants.query_size(ONE) == (3, MAX_FRAMES)


def test_setting_up_fewer_frames_names_those_and_keeps_all(host: GrantHost) -> None:
    host.grants.setup_table(ONE, 3)
    assert len(host.grants.setup_table(ONE, 2)) == 2
    assert host.grants.setup_table(ONE, 0) == []
    assert host.grants.query_size(ONE) == (3, MAX_FRAMES)


def test_a_pv_guest_is_told_machine_frames(host: GrantHost) -> None:
    assert host.grants.setup_table(Domid(0), 1) == [host.grants.shared_frame(Domid(0), 0)]


def test_an_hvm_guest_is_told_where_it_sees_a_frame_or_that_it_does_not(host: GrantHost) -> None:
    host.memory.p2m[ONE][Gfn(0x50)] = host.grants.shared_frame(ONE, 1), P2mType.RAM_RW
    assert host.grants.setup_table(ONE, 2) == [(1 << 64) - 1, 0x50]


def test_a_table_has_a_limit(host: GrantHost) -> None:
    with refused(GrantStatus.general_error):
        host.grants.setup_table(ONE, MAX_FRAMES + 1)
    raises(Errno.EINVAL, host.grants.shared_frame, ONE, MAX_FRAMES)
    assert host.grants.query_size(ONE) == (1, MAX_FRAMES)


def test_asking_for_a_frame_grows_the_table_up_to_it(host: GrantHost) -> None:
    host.grants.shared_frame(ONE, 2)
    assert host.grants.query_size(ONE) == (3, MAX_FRAMES)


def test_version_1_has_no_status_frames(host: GrantHost) -> None:
    raises(Errno.EINVAL, host.grants.shared_frame, ONE, XENMAPIDX_grant_table_status)


def test_a_host_without_memory_leaves_the_table_as_it_was(host: GrantHost) -> None:
    host.memory.free[:] = host.memory.free[-1:]
    with refused(GrantStatus.general_error):
        host.grants.setup_table(ONE, 3)
    raises(Errno.ENOMEM, host.grants.shared_frame, ONE, 2)
    assert host.grants.query_size(ONE) == (1, MAX_FRAMES)
    assert len(host.memory.free) == 1


def test_a_dead_domains_table_is_freed(host: GrantHost) -> None:
    host.grants.setup_table(ONE, 3)
    free = len(host.memory.free)
    host.die(ONE)
    assert len(host.memory.free) == free + 3 + 4
    assert not host.grants.exists(ONE)
    host.grants.destroy(ONE)


def test_a_domain_has_one_table(host: GrantHost) -> None:
    raises(Errno.EEXIST, host.grants.create, ONE, PVH)


def test_a_number_is_not_given_again_while_its_former_owners_pages_are_mapped(host: GrantHost) -> None:
    host.grant(1, 9, to=2)
    handle = host.map(2, 1, 9)
    host.die(ONE)
    raises(Errno.EBUSY, host.grants.create, ONE, PVH, MAX_FRAMES, 2)
    host.unmap(2, handle)
    host.boot(ONE)
    assert host.grants.query_size(ONE) == (1, MAX_FRAMES)


def test_a_new_domain_begins_anew(host: GrantHost) -> None:
    host.grant(2, 9, to=1)
    host.map(1, 2, 9)
    host.die(ONE)
    host.boot(ONE)
    assert host.grants.mapped(ONE) == (0, 0)
    assert host.map(1, 2, 9) == 0


@pytest.mark.parametrize("limits", [(0, 1), (MAX_FRAMES + 1, 1), (1, 3)])
def test_a_domain_is_not_promised_more_than_the_host_has(host: GrantHost, limits: tuple[int, int]) -> None:
    host.die(ONE)
    raises(Errno.EINVAL, host.grants.create, ONE, PVH, *limits)
    assert not host.grants.exists(ONE)


def test_a_domain_that_finds_no_memory_is_not_born(host: GrantHost) -> None:
    host.die(ONE)
    host.memory.free.clear()
    raises(Errno.ENOMEM, host.grants.create, ONE, PVH, 1, 1)
    assert not host.grants.exists(ONE)


def test_a_builder_grants_on_the_domains_behalf(host: GrantHost) -> None:
    host.grants.seed(ONE, GrantRef(0), TWO, Gfn(3))
    host.map(2, 1, 0)
    assert host.mfn(2, 0x100) == host.mfn(1, 3)


def test_two_entries_change_places(host: GrantHost) -> None:
    host.grant(1, 9, to=2, gfn=1)
    host.grants.swap_grant_ref(ONE, GrantRef(9), GrantRef(500))
    assert (host.flags(1, 9), host.flags(1, 500)) == (0, GTF_permit_access)
    host.map(2, 1, 500)
    assert host.mfn(2, 0x100) == host.mfn(1, 1)


def test_an_entry_in_use_stays_in_its_place(host: GrantHost) -> None:
    host.grant(1, 9, to=2)
    handle = host.map(2, 1, 9)
    host.grants.swap_grant_ref(ONE, GrantRef(9), GrantRef(9))
    for pair in ((9, 10), (10, 9)):
        with refused(GrantStatus.eagain):
            host.grants.swap_grant_ref(ONE, *map(GrantRef, pair))
    host.unmap(2, handle)
    host.grants.swap_grant_ref(ONE, GrantRef(9), GrantRef(10))


def test_only_entries_of_the_table_change_places(host: GrantHost) -> None:
    for pair in ((512, 0), (0, 512), (512, 512)):
        with refused(GrantStatus.bad_gntref):
            host.grants.swap_grant_ref(ONE, *map(GrantRef, pair))


def test_the_frames_of_a_dead_domains_table_outlive_it_where_they_are_referenced(host: GrantHost) -> None:
    frame = host.grants.shared_frame(ONE, 0)
    assert host.memory.get_page(frame, ONE)
    host.die(ONE)
    assert host.refs(Mfn(frame)) == 1
