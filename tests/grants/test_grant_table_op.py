"""The hypercall: arguments of both widths, batches, faults, and who may ask about whom."""

from types import SimpleNamespace

import pytest
from grant_host import MAX_FRAMES, GrantHost

from abi.errno import Errno, XenError
from abi.grant_table import (
    GNTTAB_COPY,
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GNTCOPY_source_gref,
    GNTMAP_host_map,
    GnttabOp,
    GrantStatus,
    GTF_accept_transfer,
)
from abi.layout import Layout
from abi.types import PAGE_SIZE, Domid
from abi.xen import DOMID_SELF
from hypervisor.continuation import Continuation
from hypervisor.grant_table_op import grant_table_op
from hypervisor.tables import DomainTable, GuestKind
from hypervisor.unimplemented import Unimplemented

ARGUMENTS = 0x1000
MEMORY = 64 * PAGE_SIZE


class GuestMemory:
    """Linear memory from 0x1000 on; pages may be made read-only."""

    def __init__(self) -> None:
        self.bytes = bytearray(MEMORY)
        self.read_only: set[int] = set()

    def read(self, address: int, size: int) -> bytes:
        if address < PAGE_SIZE or address + size > MEMORY:
            raise XenError(Errno.EFAULT)
        return bytes(self.bytes[address:address + size])

    def write(self, address: int, data: bytes) -> None:
        for at, byte in enumerate(data, address):
            if not PAGE_SIZE <= at < MEMORY or at // PAGE_SIZE in self.read_only:
                raise XenError(Errno.EFAULT)
            self.bytes[at] = byte


class Guest:
    """A guest that makes hypercalls; domain 0 is privileged."""

    def __init__(self, domid: int, width: int) -> None:
        self.host = GrantHost()
        self.log: list[str] = []
        domains = DomainTable.private(5)
        for number in range(5):
            domains.kind[number] = GuestKind.PVH if number else GuestKind.HOST
        domains.privileged[0] = 1
        self.hv = SimpleNamespace(domains=domains, grants=self.host.grants,
                                  unimplemented=Unimplemented(lambda _, text: self.log.append(text)))
        self.memory = GuestMemory()
        self.call = SimpleNamespace(domid=Domid(domid), vcpu=0, width=width, memory=self.memory)

    def hypercall(self, op: int, uop: int = ARGUMENTS, count: int = 1) -> int:
        """What the hypercall returns."""
        try:
            return grant_table_op(self.hv, self.call, op, uop, count)
        except XenError as error:
            return -error.errno

    def put(self, layout: Layout, *fields: object, at: int = ARGUMENTS) -> None:
        shape = layout.at(self.call.width)
        self.memory.bytes[at:at + shape.size] = shape.pack(*fields)

    def get(self, layout: Layout, at: int = ARGUMENTS):  # type: ignore[no-untyped-def]
        shape = layout.at(self.call.width)
        return shape.named(bytes(self.memory.bytes[at:at + shape.size]))

    def mapping(self, ref: int, page: int = 0x100, dom: int = 1, at: int = ARGUMENTS) -> None:
        self.put(GNTTAB_MAP_GRANT_REF, page << 12, GNTMAP_host_map, ref, dom, 77, 0xABCD, 0xEF, at=at)


@pytest.fixture(params=[64, 32])
def guest(request: pytest.FixtureRequest) -> Guest:
    """Domain 2, to which domain 1 grants its page 0 by reference 9."""
    guest = Guest(2, request.param)
    guest.host.grant(1, 9, to=2)
    return guest


def test_a_page_is_mapped_and_unmapped(guest: Guest) -> None:
    guest.mapping(9)
    assert guest.hypercall(GnttabOp.map_grant_ref) == 0
    result = guest.get(GNTTAB_MAP_GRANT_REF)
    assert (result.status, result.handle, result.dev_bus_addr) == (0, 0, guest.host.mfn(1, 0) << 12)
    guest.put(GNTTAB_UNMAP_GRANT_REF, 0x100000, 0, result.handle, 77)
    assert guest.hypercall(GnttabOp.unmap_grant_ref) == 0
    assert guest.get(GNTTAB_UNMAP_GRANT_REF).status == 0
    assert guest.host.grants.mapped(Domid(2)) == (0, 1)


def test_a_refusal_is_in_the_status_and_changes_nothing_else(guest: Guest) -> None:
    guest.mapping(8)
    assert guest.hypercall(GnttabOp.map_grant_ref) == 0
    assert tuple(guest.get(GNTTAB_MAP_GRANT_REF)) == (
        0x100000, GNTMAP_host_map, 8, 1, GrantStatus.general_error, 0xABCD, 0xEF)


def test_a_batch_goes_on_after_a_refusal(guest: Guest) -> None:
    size = GNTTAB_MAP_GRANT_REF.at(guest.call.width).size
    for index, (ref, dom) in enumerate([(9, 1), (600, 1), (9, 99), (9, 1)]):
        guest.mapping(ref, 0x100 + index, dom, ARGUMENTS + index * size)
    assert guest.hypercall(GnttabOp.map_grant_ref, count=4) == 0
    assert [guest.get(GNTTAB_MAP_GRANT_REF, ARGUMENTS + index * size).status for index in range(4)] == [
        0, GrantStatus.bad_gntref, GrantStatus.bad_domain, 0]
    handle = guest.get(GNTTAB_MAP_GRANT_REF, ARGUMENTS + 3 * size).handle
    second = ARGUMENTS + GNTTAB_UNMAP_GRANT_REF.at(guest.call.width).size
    for at in (ARGUMENTS, second):
        guest.put(GNTTAB_UNMAP_GRANT_REF, 0x103000, 0, handle, 77, at=at)
    assert guest.hypercall(GnttabOp.unmap_grant_ref, count=2) == 0
    assert [guest.get(GNTTAB_UNMAP_GRANT_REF, at).status for at in (ARGUMENTS, second)] == [0, GrantStatus.bad_handle]


def test_a_batch_of_none_does_nothing_whatever_its_address(guest: Guest) -> None:
    assert guest.hypercall(GnttabOp.map_grant_ref, uop=0, count=0) == 0


def test_a_batch_that_runs_out_of_memory_faults_after_what_it_could_do(guest: Guest) -> None:
    size = GNTTAB_MAP_GRANT_REF.at(guest.call.width).size
    start = MEMORY - 2 * size
    for index in range(2):
        guest.mapping(9, 0x100 + index, at=start + index * size)
    assert guest.hypercall(GnttabOp.map_grant_ref, start, 3) == -Errno.EFAULT
    assert [guest.get(GNTTAB_MAP_GRANT_REF, start + index * size).status for index in range(2)] == [0, 0]
    assert guest.host.grants.mapped(Domid(2)) == (2, 2)


def test_a_result_that_cannot_be_stored_is_a_fault_after_the_deed(guest: Guest) -> None:
    guest.mapping(9)
    guest.memory.read_only.add(ARGUMENTS // PAGE_SIZE)
    for count in (1, 2):
        assert guest.hypercall(GnttabOp.map_grant_ref, count=count) == -Errno.EFAULT
    assert guest.host.flags(1, 9) != 1


@pytest.mark.parametrize("op", [GnttabOp.map_grant_ref, GnttabOp.setup_table, GnttabOp.query_size, GnttabOp.get_version,
                                GnttabOp.set_version, GnttabOp.copy, GnttabOp.swap_grant_ref])
def test_wild_arguments_are_faults(guest: Guest, op: GnttabOp) -> None:
    for address in (0, MEMORY - 1, 1 << 60):
        assert guest.hypercall(op, address) == -Errno.EFAULT


def test_a_long_batch_lets_others_run(guest: Guest) -> None:
    size = GNTTAB_SWAP_GRANT_REF.at(guest.call.width).size
    count = 6 * PAGE_SIZE // size
    for at in range(ARGUMENTS, ARGUMENTS + count * size, size):
        guest.put(GNTTAB_SWAP_GRANT_REF, 1, 1, 77, at=at)
    with pytest.raises(Continuation) as rest:
        guest.hypercall(GnttabOp.swap_grant_ref, count=count)
    assert rest.value.arguments[0] == GnttabOp.swap_grant_ref
    assert guest.hypercall(*rest.value.arguments) == 0
    assert {guest.get(GNTTAB_SWAP_GRANT_REF, at).status
            for at in range(ARGUMENTS, ARGUMENTS + count * size, size)} == {0}


def test_a_copy_takes_references_and_pages(guest: Guest) -> None:
    guest.host.page(1, 0)[:5] = b"hello"
    unsigned_long = guest.call.width // 8
    guest.put(GNTTAB_COPY, (9).to_bytes(unsigned_long, "little"), 1, 0, (2).to_bytes(unsigned_long, "little"),
              DOMID_SELF, 100, 5, GNTCOPY_source_gref, 77)
    assert guest.hypercall(GnttabOp.copy) == 0
    assert guest.get(GNTTAB_COPY).status == 0
    assert guest.host.page(2, 2)[100:105].tobytes() == b"hello"


def test_entries_change_places(guest: Guest) -> None:
    guest.host.grant(2, 3, to=1)
    guest.put(GNTTAB_SWAP_GRANT_REF, 3, 4, 77)
    assert guest.hypercall(GnttabOp.swap_grant_ref) == 0
    assert (guest.get(GNTTAB_SWAP_GRANT_REF).status, guest.host.flags(2, 4)) == (0, 1)


def test_the_table_is_set_up(guest: Guest) -> None:
    guest.put(GNTTAB_SETUP_TABLE, DOMID_SELF, 2, 77, 0x2000)
    assert guest.hypercall(GnttabOp.setup_table) == 0
    assert guest.get(GNTTAB_SETUP_TABLE).status == 0
    assert guest.memory.bytes[0x2000:0x2018].rstrip(b"\0") == b"\xff" * (guest.call.width // 4)
    assert guest.host.grants.query_size(Domid(2)) == (2, MAX_FRAMES)


def test_a_frame_list_that_cannot_be_stored_is_a_bad_address(guest: Guest) -> None:
    guest.put(GNTTAB_SETUP_TABLE, DOMID_SELF, 2, 77, 0)
    assert guest.hypercall(GnttabOp.setup_table) == 0
    assert guest.get(GNTTAB_SETUP_TABLE).status == GrantStatus.bad_virt_addr


def test_a_table_does_not_grow_beyond_its_limit(guest: Guest) -> None:
    guest.put(GNTTAB_SETUP_TABLE, DOMID_SELF, MAX_FRAMES + 1, 77, 0x2000)
    assert guest.hypercall(GnttabOp.setup_table) == 0
    assert guest.get(GNTTAB_SETUP_TABLE).status == GrantStatus.general_error


def test_the_size_of_the_table(guest: Guest) -> None:
    guest.put(GNTTAB_QUERY_SIZE, DOMID_SELF, 0, 0, 77)
    assert guest.hypercall(GnttabOp.query_size) == 0
    assert tuple(guest.get(GNTTAB_QUERY_SIZE)) == (DOMID_SELF, 1, MAX_FRAMES, 0)


@pytest.mark.parametrize(("dom", "status"), [
    (2, GrantStatus.okay), (1, GrantStatus.permission_denied), (99, GrantStatus.bad_domain),
])
def test_who_may_ask_about_whom(guest: Guest, dom: int, status: GrantStatus) -> None:
    guest.put(GNTTAB_QUERY_SIZE, dom, 0, 0, 77)
    guest.hypercall(GnttabOp.query_size)
    assert guest.get(GNTTAB_QUERY_SIZE).status == status
    guest.put(GNTTAB_SETUP_TABLE, dom, 1, 77, 0x2000)
    guest.hypercall(GnttabOp.setup_table)
    assert guest.get(GNTTAB_SETUP_TABLE).status == status


def test_domain_0_may_ask_about_all() -> None:
    guest = Guest(0, 64)
    guest.put(GNTTAB_QUERY_SIZE, 1, 0, 0, 77)
    guest.hypercall(GnttabOp.query_size)
    assert guest.get(GNTTAB_QUERY_SIZE).status == GrantStatus.okay


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("op", [GnttabOp.setup_table, GnttabOp.query_size, GnttabOp.get_status_frames])
def test_a_table_is_asked_about_one_at_a_time(op: GnttabOp, count: int) -> None:
    assert Guest(0, 64).hypercall(op, count=count) == -Errno.EINVAL


@pytest.mark.parametrize("count", [1 << 31, 0xFFFFFFFF])
def test_counts_are_signed(guest: Guest, count: int) -> None:
    assert guest.hypercall(GnttabOp.map_grant_ref, count=count) == -Errno.EINVAL


def test_registers_are_wider_than_arguments(guest: Guest) -> None:
    guest.mapping(9)
    assert guest.hypercall(1 << 32 | GnttabOp.map_grant_ref, count=1 << 32 | 1) == 0
    assert guest.get(GNTTAB_MAP_GRANT_REF).status == 0


@pytest.mark.parametrize(("version", "result", "now"), [
    (1, 0, 1), (2, 0, 2), (3, -Errno.EINVAL, 1), (0, -Errno.EINVAL, 1)])
def test_whatever_version_is_asked_for_the_answer_is_the_one_that_there_is(
        guest: Guest, version: int, result: int, now: int) -> None:
    guest.put(GNTTAB_SET_VERSION, version)
    assert guest.hypercall(GnttabOp.set_version) == result
    assert guest.get(GNTTAB_SET_VERSION).version == now
    guest.put(GNTTAB_GET_VERSION, DOMID_SELF, 0, 77)
    assert guest.hypercall(GnttabOp.get_version) == 0
    assert guest.get(GNTTAB_GET_VERSION).version == now


def test_a_domain_that_may_not_have_version_2_is_told_that_there_is_no_such_call(guest: Guest) -> None:
    guest.host.domains.max_version[2] = 1
    guest.put(GNTTAB_SET_VERSION, 2)
    assert guest.hypercall(GnttabOp.set_version) == -Errno.ENOSYS
    assert guest.get(GNTTAB_SET_VERSION).version == 1


def test_status_frames_are_named_by_words_of_64_bits() -> None:
    for width in (64, 32):
        guest = Guest(0, width)
        guest.host.set_version(0, 2)
        guest.put(GNTTAB_GET_STATUS_FRAMES, 1, DOMID_SELF, 77, 0x2000)
        assert guest.hypercall(GnttabOp.get_status_frames) == 0
        assert guest.get(GNTTAB_GET_STATUS_FRAMES).status == GrantStatus.okay
        frame = guest.host.status.mfn[0]
        assert guest.memory.bytes[0x2000:0x2010] == frame.to_bytes(8, "little") + bytes(8)


@pytest.mark.parametrize(("dom", "count", "at", "status"), [
    (DOMID_SELF, 2, 0x2000, GrantStatus.general_error), (DOMID_SELF, 1, 0, GrantStatus.bad_virt_addr),
    (99, 1, 0x2000, GrantStatus.bad_domain), (1, 1, 0x2000, GrantStatus.general_error)])
def test_status_frames_that_are_not_to_be_had(dom: int, count: int, at: int, status: GrantStatus) -> None:
    guest = Guest(0, 64)
    guest.host.set_version(0, 2)
    guest.put(GNTTAB_GET_STATUS_FRAMES, count, dom, 77, at)
    assert guest.hypercall(GnttabOp.get_status_frames) == 0
    assert guest.get(GNTTAB_GET_STATUS_FRAMES).status == status


def test_status_frames_are_the_domains_own_affair() -> None:
    guest = Guest(0, 64)
    guest.hv.domains.privileged[0] = 0
    guest.put(GNTTAB_GET_STATUS_FRAMES, 0, 1, 77, 0x2000)
    assert guest.hypercall(GnttabOp.get_status_frames) == 0
    assert guest.get(GNTTAB_GET_STATUS_FRAMES).status == GrantStatus.permission_denied


def test_pages_are_given_away_one_after_the_other() -> None:
    for width in (64, 32):
        guest = Guest(0, width)
        host = guest.host
        host.grant(1, 9, to=0, gfn=70, flags=GTF_accept_transfer)
        host.page(0, 2)[:4] = b"gift"
        size = GNTTAB_TRANSFER.at(width).size
        guest.put(GNTTAB_TRANSFER, 2, 1, 9, 77)
        guest.put(GNTTAB_TRANSFER, 3, 1, 9, 77, at=ARGUMENTS + size)
        assert guest.hypercall(GnttabOp.transfer, count=2) == 0
        assert [guest.get(GNTTAB_TRANSFER, ARGUMENTS + index * size).status for index in range(2)] == [
            GrantStatus.okay, GrantStatus.general_error]
        assert host.page(1, 70)[:4].tobytes() == b"gift"


@pytest.mark.parametrize(("dom", "result"), [(DOMID_SELF, 0), (2, 0), (1, -Errno.EPERM), (99, -Errno.ESRCH)])
def test_the_version_of_a_domain(guest: Guest, dom: int, result: int) -> None:
    guest.put(GNTTAB_GET_VERSION, dom, 0, 77)
    assert guest.hypercall(GnttabOp.get_version) == result
    assert guest.get(GNTTAB_GET_VERSION).version == (77 if result else 1)


@pytest.mark.parametrize("op", [GnttabOp.unmap_and_replace, GnttabOp.transfer, GnttabOp.dump_table,
                                GnttabOp.get_status_frames, GnttabOp.cache_flush, 13, 0x1000])
def test_what_xen_does_not_offer_hvm_guests_is_said_once(guest: Guest, op: int) -> None:
    for _ in range(2):
        assert guest.hypercall(op) == -Errno.ENOSYS
    assert len(guest.log) == 1


def test_domain_0_may_replace_but_has_nothing_mapped() -> None:
    guest = Guest(0, 64)
    guest.put(GNTTAB_UNMAP_AND_REPLACE, 0x5000, 0x6000, 0, 77)
    assert guest.hypercall(GnttabOp.unmap_and_replace) == 0
    assert guest.get(GNTTAB_UNMAP_AND_REPLACE).status == GrantStatus.bad_handle


@pytest.mark.parametrize(("op", "result"), [(GnttabOp.dump_table, Errno.ENOSYS), (13, Errno.ENOSYS),
                                            (0x1000, Errno.EINVAL)])
def test_what_is_not_there_for_domain_0(op: int, result: Errno) -> None:
    assert Guest(0, 64).hypercall(op) == -result
