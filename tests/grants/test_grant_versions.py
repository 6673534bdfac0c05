"""From version 1 to 2 and back: what is carried over, what is lost, and when it is refused."""

import pytest
from grant_host import MAX_FRAMES, PV, GrantHost, raises, refused

from abi.errno import Errno
from abi.grant_table import (
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
from abi.memory import XENMAPIDX_grant_table_status
from abi.types import Domid, Gfn, GrantRef, Mfn
from grants.interfaces import P2mType

ONE, TWO = Domid(1), Domid(2)
RO = GNTMAP_host_map | GNTMAP_readonly


@pytest.fixture
def host() -> GrantHost:
    return GrantHost()


def test_there_are_two_versions(host: GrantHost) -> None:
    for version in (0, 3, 1 << 31):
        raises(Errno.EINVAL, host.set_version, 1, version)
    host.domains.max_version[1] = 1
    raises(Errno.ENOSYS, host.set_version, 1, 2)
    assert host.domains.version[1] == 1


def test_an_entry_has_16_bytes_and_a_frame_256_of_them(host: GrantHost) -> None:
    host.set_version(1, 2)
    assert host.domains.nr_entries[1] == 256
    host.grant(1, 255, to=2, gfn=3)
    host.map(2, 1, 255)
    assert host.mfn(2, 0x100) == host.mfn(1, 3)
    with refused(GrantStatus.bad_gntref):
        host.map(2, 1, 256, at=0x101)
    host.set_version(1, 2)


def test_reserved_entries_are_carried_over_and_all_others_are_lost(host: GrantHost) -> None:
    for ref in range(10):
        host.grant(1, ref, to=2, gfn=ref % 4, flags=GTF_permit_access | (ref % 2) * GTF_readonly)
    host.set_version(1, 2)
    for ref in range(8):
        assert host.flags(1, ref) == GTF_permit_access | (ref % 2) * GTF_readonly
        host.map(2, 1, ref, at=0x100 + ref, flags=RO)
        assert host.mfn(2, 0x100 + ref) == host.mfn(1, ref % 4)
    for ref in (8, 9):
        assert host.flags(1, ref) == 0
        with refused(GrantStatus.general_error):
            host.map(2, 1, ref, at=0x200, flags=RO)


def test_and_back_again(host: GrantHost) -> None:
    host.set_version(1, 2)
    for ref in range(10):
        host.grant(1, ref, to=2, gfn=ref % 4)
    host.set_version(1, 1)
    assert host.domains.nr_entries[1] == 512
    assert [host.flags(1, ref) for ref in range(10)] == [GTF_permit_access] * 8 + [0] * 2
    host.map(2, 1, 7)
    assert host.mfn(2, 0x100) == host.mfn(1, 3)


def test_a_reserved_entry_may_be_mapped_meanwhile(host: GrantHost) -> None:
    host.grant(1, 0, to=2)
    handle = host.map(2, 1, 0)
    host.set_version(1, 2)
    assert host.flags(1, 0) == GTF_permit_access | GTF_reading | GTF_writing
    host.set_version(1, 1)
    assert host.flags(1, 0) == GTF_permit_access | GTF_reading | GTF_writing
    host.set_version(1, 2)
    host.unmap(2, handle)
    assert host.flags(1, 0) == GTF_permit_access


@pytest.mark.parametrize("before", [1, 2])
def test_any_other_entry_may_not(host: GrantHost, before: int) -> None:
    host.set_version(1, before)
    host.grants.setup_table(ONE, 2)
    last = host.domains.nr_entries[1] - 1
    for ref in (8, last):
        host.grant(1, ref, to=2)
        handle = host.map(2, 1, ref)
        raises(Errno.EBUSY, host.set_version, 1, 3 - before)
        assert host.domains.version[1] == before
        host.unmap(2, handle)
    host.set_version(1, 3 - before)


@pytest.mark.parametrize(("flags", "gfn"), [(GTF_transitive, 0), (GTF_permit_access, 1 << 32)])
def test_what_version_1_cannot_say_keeps_version_2(host: GrantHost, flags: int, gfn: int) -> None:
    host.set_version(1, 2)
    host.grant(1, 7, to=2, gfn=gfn, flags=flags)
    raises(Errno.ERANGE, host.set_version, 1, 1)
    assert host.flags(1, 7) == flags
    host.revoke(1, 7)
    host.set_version(1, 1)


def test_a_reserved_entry_that_permits_no_access_is_dropped(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 7, to=2, gfn=1 << 32, flags=GTF_accept_transfer)
    host.set_version(1, 1)
    assert (host.flags(1, 7), host.frame_named(1, 7)) == (0, 0)


def test_status_frames_come_with_version_2_and_go_with_it(host: GrantHost) -> None:
    free = len(host.memory.free)
    raises(Errno.EINVAL, host.grants.shared_frame, ONE, XENMAPIDX_grant_table_status)
    host.set_version(1, 2)
    frame = host.grants.shared_frame(ONE, XENMAPIDX_grant_table_status)
    assert host.memory.owner(frame) == ONE
    assert not any(host.arena.page(frame))
    assert len(host.memory.free) == free - 1
    assert host.grants.status_frames(ONE, 0) == []
    with refused(GrantStatus.general_error):
        host.grants.status_frames(ONE, 2)
    host.set_version(1, 1)
    assert len(host.memory.free) == free
    with refused(GrantStatus.general_error):
        host.grants.status_frames(ONE, 1)


def test_a_status_frame_serves_8_frames_of_entries(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grants.setup_table(ONE, MAX_FRAMES)
    assert len(host.grants.status_frames(ONE, 1)) == 1
    raises(Errno.EINVAL, host.grants.shared_frame, ONE, XENMAPIDX_grant_table_status | 1)
    assert host.domains.nr_entries[1] == MAX_FRAMES * 256
    host.grant(1, MAX_FRAMES * 256 - 1, to=2)
    host.map(2, 1, MAX_FRAMES * 256 - 1)
    assert host.status_word(1, MAX_FRAMES * 256 - 1) == GTF_reading | GTF_writing


def test_a_guest_is_told_where_it_sees_a_status_frame(host: GrantHost) -> None:
    host.set_version(1, 2)
    assert host.grants.status_frames(ONE, 1) == [(1 << 64) - 1]
    host.memory.p2m[ONE][Gfn(0x50)] = host.grants.shared_frame(ONE, XENMAPIDX_grant_table_status), P2mType.RAM_RW
    assert host.grants.status_frames(ONE, 1) == [0x50]
    host.set_version(0, 2)
    assert host.domains.kind[0] == PV
    assert host.grants.status_frames(Domid(0), 1) == [host.status.mfn[0]]


def test_a_status_frame_that_somebody_uses_keeps_version_2(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 0, to=2)
    stuck: list[int] = []
    host.grants.versions.crash = stuck.append
    frame = Mfn(host.status.mfn[1])
    host.memory.get_page(frame, ONE)
    raises(Errno.EBUSY, host.set_version, 1, 1)
    assert stuck == [1]
    assert (host.domains.version[1], host.flags(1, 0)) == (2, GTF_permit_access)
    host.memory.put_page(frame)
    host.set_version(1, 1)
    assert host.refs(frame) == 0


def test_without_memory_for_status_words_the_version_stays(host: GrantHost) -> None:
    host.grant(1, 9, to=2)
    host.memory.free.clear()
    raises(Errno.ENOMEM, host.set_version, 1, 2)
    assert (host.domains.version[1], host.flags(1, 9)) == (1, GTF_permit_access)


def test_a_table_of_version_2_that_cannot_grow_stays_as_it_was(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.memory.free[:] = host.memory.free[-1:]
    with refused(GrantStatus.general_error):
        host.grants.setup_table(ONE, 3)
    assert (host.grants.query_size(ONE), len(host.memory.free)) == ((1, MAX_FRAMES), 1)


def test_a_dead_domains_status_frames_are_freed(host: GrantHost) -> None:
    free = len(host.memory.free)
    host.set_version(1, 2)
    host.die(ONE)
    assert len(host.memory.free) == free + 1 + 4
    host.boot(ONE)
    assert host.domains.version[1] == 1


def test_the_granter_of_version_2_reads_the_use_of_a_page_in_the_status_word(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 9, to=2)
    reader = host.map(2, 1, 9, flags=RO)
    assert host.status_word(1, 9) == GTF_reading
    writer = host.map(2, 1, 9, at=0x101)
    assert host.status_word(1, 9) == GTF_reading | GTF_writing
    assert host.arena.u16[host.entry_address(1, 9) // 2] == GTF_permit_access
    host.unmap(2, writer, at=0x101)
    assert host.status_word(1, 9) == GTF_reading
    host.unmap(2, reader)
    assert host.status_word(1, 9) == 0


@pytest.mark.parametrize(("flags", "to", "readonly"), [
    (0, 2, True), (GTF_accept_transfer, 2, True), (GTF_transitive, 2, True), (GTF_permit_access, 3, True),
    (GTF_permit_access | GTF_sub_page, 2, True), (GTF_permit_access | GTF_readonly, 2, False)])
def test_what_cannot_be_mapped_in_version_2(host: GrantHost, flags: int, to: int, readonly: bool) -> None:
    host.set_version(1, 2)
    host.grant(1, 9, to=to, flags=flags, part=(0, 4096))
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9, flags=RO if readonly else GNTMAP_host_map)
    assert host.status_word(1, 9) == 0


def test_a_page_beyond_all_is_a_bad_page(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 9, to=2, gfn=1 << 40)
    with refused(GrantStatus.bad_page):
        host.map(2, 1, 9)
    assert host.status_word(1, 9) == 0


def test_a_page_mapped_for_reading_is_not_mapped_for_writing_once_it_is_read_only(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 9, to=2)
    host.map(2, 1, 9, flags=RO)
    host.grant(1, 9, to=2, flags=GTF_permit_access | GTF_readonly)
    with refused(GrantStatus.general_error):
        host.map(2, 1, 9, at=0x101)


def test_entries_change_places_with_their_status(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 9, to=2, gfn=1, flags=GTF_permit_access | GTF_sub_page, part=(8, 16))
    host.arena.u16[host.status.mfn[1] * 2048 + 9] = GTF_reading
    host.grants.swap_grant_ref(ONE, GrantRef(9), GrantRef(200))
    assert (host.flags(1, 9), host.frame_named(1, 9)) == (0, 0)
    assert (host.flags(1, 200), host.frame_named(1, 200)) == (GTF_permit_access | GTF_sub_page | GTF_reading, 1)
    assert host.arena.u32[host.entry_address(1, 200) // 4 + 1] == 8 | 16 << 16
    host.grant(1, 9, to=2)
    host.map(2, 1, 9)
    with refused(GrantStatus.eagain):
        host.grants.swap_grant_ref(ONE, GrantRef(9), GrantRef(10))
    with refused(GrantStatus.bad_gntref):
        host.grants.swap_grant_ref(ONE, GrantRef(256), GrantRef(10))


def test_a_builder_grants_in_either_version(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grants.seed(ONE, GrantRef(0), TWO, Gfn(3))
    host.map(2, 1, 0)
    assert host.mfn(2, 0x100) == host.mfn(1, 3)


def test_what_others_have_mapped_of_a_dead_domains_of_version_2_stays_theirs(host: GrantHost) -> None:
    host.set_version(1, 2)
    host.grant(1, 9, to=2)
    handle = host.map(2, 1, 9)
    host.die(ONE)
    host.unmap(2, handle)
    host.boot(ONE)
