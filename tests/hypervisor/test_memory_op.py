"""memory_op: what each operation answers, and which complaint comes first."""

from struct import pack, unpack, unpack_from
from typing import Any

import pytest
from memory_host import GuestBytes, MemoryMachine

from abi.errno import Errno, XenError
from abi.memory import (
    E820_RAM,
    FOREIGN_MEMORY_MAP,
    MACHPHYS_MAPPING,
    MACHPHYS_MFN_LIST,
    MEM_ACQUIRE_RESOURCE,
    MEMORY_MAP,
    MEMORY_RESERVATION,
    POD_TARGET,
    RESERVED_DEVICE_MEMORY_MAP,
    VNUMA_TOPOLOGY_INFO,
    MemoryOp,
)
from abi.types import Domid
from abi.xen import DOMID_SELF, DOMID_XEN
from hypervisor.memory_op import memory_op

ARG, BUFFER, WILD = 0x100, 0x2000, GuestBytes.SIZE
TOP_READ_ONLY = GuestBytes.SIZE - GuestBytes.READ_ONLY
PVH, OTHER, PV, PRIVILEGED, NOBODY = 1, 2, 3, 4, 6
QUERIES = (MemoryOp.current_reservation, MemoryOp.maximum_reservation, MemoryOp.maximum_gpfn)


@pytest.fixture(params=[64, 32])
def machine(request: pytest.FixtureRequest) -> MemoryMachine:
    return MemoryMachine(width=request.param)


def put(machine: MemoryMachine, layout: Any, *fields: Any, domid: int = PVH, at: int = ARG) -> None:
    caller = machine.callers[domid]
    caller.memory.write(at, layout.at(caller.width).pack(*fields))


def got(machine: MemoryMachine, layout: Any, domid: int = PVH, at: int = ARG) -> Any:
    caller = machine.callers[domid]
    shape = layout.at(caller.width)
    return shape.named(caller.memory.read(at, shape.size))


def error(machine: MemoryMachine, cmd: int, arg: int = ARG, domid: int = PVH) -> Errno:
    with pytest.raises(XenError) as caught:
        machine(cmd, arg, domid)
    return caught.value.errno


class TestQueries:
    def ask(self, machine: MemoryMachine, op: int, about: int, caller: int = PVH) -> int:
        machine.callers[caller].memory.write(ARG, pack("<H", about))
        return machine(op, ARG, caller)

    @pytest.mark.parametrize("name", [DOMID_SELF, PVH])
    def test_a_domain_asks_about_itself_by_either_name(self, machine: MemoryMachine, name: int) -> None:
        assert self.ask(machine, MemoryOp.current_reservation, name) == 73
        assert self.ask(machine, MemoryOp.maximum_reservation, name) == 64 + 256
        assert self.ask(machine, MemoryOp.maximum_gpfn, name) == 0xFEFFF

    def test_about_others_only_the_privileged_may_ask(self, machine: MemoryMachine) -> None:
        for op in QUERIES:
            machine.callers[PVH].memory.write(ARG, pack("<H", OTHER))
            assert error(machine, op) == Errno.EPERM
        assert self.ask(machine, MemoryOp.current_reservation, OTHER, caller=PRIVILEGED) == 73

    @pytest.mark.parametrize("name", [NOBODY, 9999, DOMID_XEN, 0xFFFF])
    def test_about_nobody(self, machine: MemoryMachine, name: int) -> None:
        machine.callers[PVH].memory.write(ARG, pack("<H", name))
        assert {error(machine, op) for op in QUERIES} == {Errno.ESRCH}

    def test_a_wild_argument(self, machine: MemoryMachine) -> None:
        assert {error(machine, op, WILD) for op in QUERIES} == {Errno.EFAULT}

    def test_none_is_ever_continued(self, machine: MemoryMachine) -> None:
        for op in (*QUERIES, MemoryOp.maximum_ram_page):
            assert error(machine, op | 1 << 6, WILD) == Errno.EINVAL

    def test_the_size_of_the_machine(self, machine: MemoryMachine) -> None:
        assert machine(MemoryOp.maximum_ram_page, WILD) == 4096


class TestMemoryMap:
    def entries(self, machine: MemoryMachine, count: int, domid: int = PVH) -> list[tuple[int, ...]]:
        data = machine.callers[domid].memory.read(BUFFER, 20 * count)
        return [unpack_from("<QQI", data, 20 * index) for index in range(count)]

    def test_all_of_it(self, machine: MemoryMachine) -> None:
        put(machine, MEMORY_MAP, 128, BUFFER)
        assert machine(MemoryOp.memory_map, ARG) == 0
        assert got(machine, MEMORY_MAP) == (3, BUFFER)
        assert self.entries(machine, 3) == machine.memory.memory_map(Domid(PVH))

    def test_no_more_than_there_is_room_for(self, machine: MemoryMachine) -> None:
        put(machine, MEMORY_MAP, 1, BUFFER)
        assert machine(MemoryOp.memory_map, ARG) == 0
        assert got(machine, MEMORY_MAP).nr_entries == 1
        assert self.entries(machine, 2) == [(0, 64 << 12, E820_RAM), (0, 0, 0)]

    def test_nothing_where_there_is_no_room(self, machine: MemoryMachine) -> None:
        put(machine, MEMORY_MAP, 0, WILD)
        assert machine(MemoryOp.memory_map, ARG) == 0
        assert got(machine, MEMORY_MAP).nr_entries == 0

    def test_a_wild_argument_or_buffer(self, machine: MemoryMachine) -> None:
        assert error(machine, MemoryOp.memory_map, WILD) == Errno.EFAULT
        put(machine, MEMORY_MAP, 2, WILD)
        assert error(machine, MemoryOp.memory_map) == Errno.EFAULT
        assert got(machine, MEMORY_MAP) == (2, WILD)

    def test_a_domain_without_one(self, machine: MemoryMachine) -> None:
        assert error(machine, MemoryOp.memory_map, domid=PV, arg=WILD) == Errno.EFAULT
        assert error(machine, MemoryOp.memory_map, domid=PV) == Errno.ENOSYS

    def test_with_a_start_extent_it_is_no_operation(self, machine: MemoryMachine) -> None:
        assert error(machine, MemoryOp.memory_map | 1 << 6) == Errno.ENOSYS

    def test_a_domain_may_set_its_own(self, machine: MemoryMachine) -> None:
        machine.callers[PVH].memory.write(BUFFER, pack("<QQI", 0, 0x1000, 1))
        put(machine, FOREIGN_MEMORY_MAP, DOMID_SELF, 1, BUFFER)
        assert machine(MemoryOp.set_memory_map, ARG) == 0
        assert machine.memory.memory_map(Domid(PVH)) == [(0, 0x1000, 1)]

    def test_an_empty_one_is_as_good_as_none(self, machine: MemoryMachine) -> None:
        put(machine, FOREIGN_MEMORY_MAP, DOMID_SELF, 0, WILD)
        assert machine(MemoryOp.set_memory_map, ARG) == 0
        assert error(machine, MemoryOp.memory_map) == Errno.ENOSYS

    @pytest.mark.parametrize(("dom", "count", "buffer", "errno"), [
        (OTHER, 1025, WILD, Errno.EINVAL), (NOBODY, 1024, WILD, Errno.ESRCH), (OTHER, 1024, WILD, Errno.EPERM),
        (PVH, 1024, WILD, Errno.EFAULT), (PVH, 1024, BUFFER, Errno.ENOMEM)])
    def test_setting_complains_in_xens_order(self, machine: MemoryMachine, dom: int, count: int, buffer: int,
                                             errno: Errno) -> None:
        put(machine, FOREIGN_MEMORY_MAP, dom, count, buffer)
        assert error(machine, MemoryOp.set_memory_map) == errno
        assert error(machine, MemoryOp.set_memory_map, WILD) == Errno.EFAULT

    def test_the_machines_own_is_not_for_guests(self, machine: MemoryMachine) -> None:
        assert error(machine, MemoryOp.machine_memory_map) == Errno.ENOSYS
        assert error(machine, MemoryOp.machine_memory_map, domid=PV) == Errno.EPERM
        assert machine.log_lines == []


class TestM2p:
    def test_pv_guests_find_it_at_its_address(self, machine: MemoryMachine) -> None:
        assert machine(MemoryOp.machphys_mapping, ARG, PV) == 0
        start, end, last = got(machine, MACHPHYS_MAPPING, PV)
        if machine.callers[PV].width == 64:
            assert (start, end, last) == (0xFFFF800000000000, 0xFFFF804000000000, (1 << 35) - 1)
        else:
            assert (start, end, last) == (0xF5800000, 0xF6800000, (1 << 22) - 1)
        assert error(machine, MemoryOp.machphys_mapping, WILD, PV) == Errno.EFAULT

    def test_other_guests_have_none(self, machine: MemoryMachine) -> None:
        assert error(machine, MemoryOp.machphys_mapping) == Errno.ENOSYS

    def test_its_frames_are_a_gap(self, machine: MemoryMachine) -> None:
        put(machine, MACHPHYS_MFN_LIST, 8, BUFFER, 77)
        machine.callers[PVH].memory.write(BUFFER, b"\xff" * 16)
        assert machine(MemoryOp.machphys_mfn_list, ARG) == 0
        assert got(machine, MACHPHYS_MFN_LIST) == (8, BUFFER, 1)
        word = machine.callers[PVH].width // 8
        assert machine.callers[PVH].memory.read(BUFFER, 16) == bytes(word) + b"\xff" * (16 - word)

    def test_its_frames_somewhere_wild(self, machine: MemoryMachine) -> None:
        put(machine, MACHPHYS_MFN_LIST, 8, WILD, 0)
        assert error(machine, MemoryOp.machphys_mfn_list) == Errno.EFAULT
        put(machine, MACHPHYS_MFN_LIST, 0, WILD, 0)
        assert machine(MemoryOp.machphys_mfn_list, ARG) == 0


class TestWhatDomainsDoNotHave:
    def test_exchange_is_for_pv_guests(self, machine: MemoryMachine) -> None:
        assert error(machine, MemoryOp.exchange | 1 << 6) == Errno.EINVAL
        assert error(machine, MemoryOp.exchange, WILD) == Errno.EOPNOTSUPP

    @pytest.mark.parametrize(("dom", "pad", "errno"), [
        (NOBODY, 1, Errno.EINVAL), (NOBODY, 0, Errno.ESRCH), (OTHER, 0, Errno.EPERM),
        (DOMID_SELF, 0, Errno.EOPNOTSUPP)])
    def test_virtual_numa(self, machine: MemoryMachine, dom: int, pad: int, errno: Errno) -> None:
        put(machine, VNUMA_TOPOLOGY_INFO, dom, pad, 0, 0, 0, bytes(8), bytes(8), bytes(8))
        assert error(machine, MemoryOp.get_vnumainfo) == errno
        assert error(machine, MemoryOp.get_vnumainfo, WILD) == Errno.EFAULT
        assert error(machine, MemoryOp.get_vnumainfo | 64, WILD) == Errno.EINVAL

    def test_reserved_device_memory(self, machine: MemoryMachine) -> None:
        shape = RESERVED_DEVICE_MEMORY_MAP.at(machine.callers[PVH].width)
        put(machine, RESERVED_DEVICE_MEMORY_MAP, 1, 5, WILD, bytes(shape.width["dev"]))
        assert machine(MemoryOp.reserved_device_memory_map, ARG) == 0
        assert got(machine, RESERVED_DEVICE_MEMORY_MAP).nr_entries == 0
        put(machine, RESERVED_DEVICE_MEMORY_MAP, 2, 5, WILD, bytes(shape.width["dev"]))
        assert error(machine, MemoryOp.reserved_device_memory_map) == Errno.EINVAL

    def test_memory_on_demand(self, machine: MemoryMachine) -> None:
        for caller, dom, errno in ((PVH, NOBODY, Errno.ESRCH), (PVH, PVH, Errno.EPERM), (PVH, OTHER, Errno.EPERM)):
            put(machine, POD_TARGET, 1, 0, 0, 0, dom, domid=caller)
            assert error(machine, MemoryOp.set_pod_target, domid=caller) == errno
        put(machine, POD_TARGET, 9, 0, 7, 7, OTHER, domid=PRIVILEGED)
        assert machine(MemoryOp.get_pod_target, ARG, PRIVILEGED) == 0
        assert got(machine, POD_TARGET, PRIVILEGED) == (9, 73, 0, 0, OTHER)

    def test_shared_pages(self, machine: MemoryMachine) -> None:
        assert machine(MemoryOp.get_sharing_freed_pages) == machine(MemoryOp.get_sharing_shared_pages) == 0

    @pytest.mark.parametrize(("extents", "order", "flags", "dom", "errno"), [
        (1, 0, 0, PVH, Errno.EINVAL), (0, 1, 0, PVH, Errno.EINVAL), (0, 0, 1, PVH, Errno.EINVAL),
        (0, 0, 0, DOMID_SELF, Errno.EINVAL), (0, 0, 0, NOBODY, Errno.EINVAL), (0, 0, 0, PVH, Errno.EPERM)])
    def test_claims(self, machine: MemoryMachine, extents: int, order: int, flags: int, dom: int,
                    errno: Errno) -> None:
        put(machine, MEMORY_RESERVATION, extents, 5, order, flags, dom)
        assert error(machine, MemoryOp.claim_pages) == errno
        assert error(machine, MemoryOp.claim_pages, WILD) == Errno.EFAULT

    @pytest.mark.parametrize(("caller", "dom", "frames", "pad", "frame", "errno"), [
        (PVH, OTHER, 1, 1, 0, Errno.EACCES), (PV, OTHER, 1, 1, 0, Errno.EINVAL),
        (PV, OTHER, 1, 0, 0xFFFFFFFF, Errno.EINVAL), (PV, NOBODY, 1, 0, 0, Errno.ESRCH),
        (PV, DOMID_SELF, 1, 0, 0, Errno.ESRCH), (PV, PV, 1, 0, 0, Errno.EPERM), (PV, OTHER, 1, 0, 0, Errno.EPERM)])
    def test_resources_of_others(self, machine: MemoryMachine, caller: int, dom: int, frames: int, pad: int,
                                 frame: int, errno: Errno) -> None:
        put(machine, MEM_ACQUIRE_RESOURCE, dom, 1, 0, frames, pad, frame, 0, domid=caller)
        assert error(machine, MemoryOp.acquire_resource, domid=caller) == errno


@pytest.mark.parametrize(("number", "name"), [
    (8, "memory_op/8"), (MemoryOp.access_op, "memory_op/access_op"), (MemoryOp.paging_op, "memory_op/paging_op"),
    (MemoryOp.sharing_op, "memory_op/sharing_op"), (63, "memory_op/63")])
def test_what_is_not_there_is_enosys_and_said_once(number: int, name: str) -> None:
    machine = MemoryMachine()
    assert error(machine, number, WILD) == error(machine, number | 5 << 6, WILD) == Errno.ENOSYS
    assert [line for line in machine.log_lines if name in line] == machine.log_lines
    assert len(machine.log_lines) == 1


def test_operations_hand_arguments_of_either_width_over() -> None:
    machine = MemoryMachine(width=32)
    machine.callers[1].memory.write(ARG, pack("<II", 9, BUFFER))
    assert memory_op(machine, machine.callers[1], MemoryOp.memory_map, ARG) == 0
    assert unpack("<II", machine.callers[1].memory.read(ARG, 8)) == (3, BUFFER)
