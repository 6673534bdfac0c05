"""The balloon of PV guests."""

from struct import pack, unpack

import pytest

from abi.errno import Errno
from abi.memory import MEMORY_EXCHANGE, MEMORY_RESERVATION, MemoryOp
from abi.types import Domid
from abi.xen import DOMID_SELF, Hypercall, MmuextOp
from hypervisor.frames import INVALID_M2P
from tests.hypervisor.pv_host import ARGUMENTS, BASE, FREE, RW, P, PvHost

LIST = ARGUMENTS + 1
ONE = Domid(1)


@pytest.fixture(params=[64, 32])
def host(request):
    return PvHost(request.param)


def code(host, count):
    return f"<{count}{'Q' if host.width == 64 else 'I'}"


def reserve(host, op, numbers, order=0, dom=DOMID_SELF):
    address = host.put(pack(code(host, len(numbers)), *numbers), at=LIST)
    arg = host.put(MEMORY_RESERVATION.at(host.width).pack(address, len(numbers), order, 0, dom))
    return host.call(Hypercall.memory_op, op, arg)


def listed(host, count, page=LIST):
    size = count * host.width // 8
    return list(unpack(code(host, count), host.hv.arena.read(host.mfn(page) << 12, size)))


def test_memory_is_given_back_when_nothing_maps_it(host):
    frame = host.mfn(FREE)
    host.va(FREE, 0)
    total = host.hv.domains.tot_pages[1]
    assert reserve(host, MemoryOp.decrease_reservation, [frame]) == 1
    assert host.hv.domains.tot_pages[1] == total - 1
    assert host.pv.nested.find(ONE, frame) is None
    assert host.hv.frames.table.gfn[frame] == INVALID_M2P
    assert host.va(FREE, frame << 12 | P) == -Errno.EBUSY
    host.check()


def test_a_page_that_is_still_mapped_goes_with_its_last_mapping(host):
    frame, total = host.mfn(FREE), host.hv.domains.tot_pages[1]
    assert reserve(host, MemoryOp.decrease_reservation, [frame]) == 1
    assert host.hv.domains.tot_pages[1] == total
    assert host.pv.nested.find(ONE, frame) is not None
    host.va(FREE, 0)
    assert host.hv.domains.tot_pages[1] == total - 1
    assert host.pv.nested.find(ONE, frame) is None
    host.check()


def test_a_page_table_that_is_given_back_stays_one_until_it_is_unused(host):
    host.protect(FREE)
    host.ext((MmuextOp.PIN_L1_TABLE, host.mfn(FREE)))
    assert reserve(host, MemoryOp.decrease_reservation, [host.mfn(FREE)]) == 1
    host.va(FREE, 0)
    host.check()
    total = host.hv.domains.tot_pages[1]
    host.ext((MmuextOp.UNPIN_TABLE, host.mfn(FREE)))
    assert host.hv.domains.tot_pages[1] == total - 1
    host.check()


def test_others_frames_are_not_taken(host):
    assert reserve(host, MemoryOp.decrease_reservation, [host.mfn(FREE, 2)]) == 0
    assert reserve(host, MemoryOp.decrease_reservation, [1, host.mfn(FREE)]) == 0


def test_new_memory_is_named_and_can_be_used(host):
    host.va(FREE, 0)
    host.va(FREE + 1, 0)
    reserve(host, MemoryOp.decrease_reservation, [host.mfn(FREE), host.mfn(FREE + 1)])
    assert reserve(host, MemoryOp.populate_physmap, [900]) == 1
    frame, = listed(host, 1)
    assert host.hv.frames.table.gfn[frame] == 900
    assert host.va(FREE, frame << 12 | P | RW) == 0
    assert reserve(host, MemoryOp.increase_reservation, [0]) == 1
    frame, = listed(host, 1)
    assert host.va(FREE + 1, frame << 12 | P | RW) == 0
    host.check()


def exchange(host, given, taken, order_in=0, order_out=0):
    pack_list = MEMORY_RESERVATION.at(host.width).pack
    first = host.put(pack(code(host, len(given)), *given), at=LIST)
    second = host.put(pack(code(host, len(taken)), *taken), at=LIST + 1)
    shape, size = MEMORY_EXCHANGE.at(host.width), MEMORY_RESERVATION.at(host.width).size
    data = bytearray(shape.size)
    data[:size] = pack_list(first, len(given), order_in, 0, DOMID_SELF)
    data[shape.offset["out"]:shape.offset["out"] + size] = pack_list(second, len(taken), order_out, 0, DOMID_SELF)
    return host.call(Hypercall.memory_op, MemoryOp.exchange, host.put(bytes(data)))


def test_single_frames_are_exchanged_for_some_in_a_row(host):
    pages = [FREE, FREE + 3]
    for page in pages:
        host.va(page, 0)
    frames, total = [host.mfn(page) for page in pages], host.hv.domains.tot_pages[1]
    assert exchange(host, frames, [700], order_out=1) == 0
    new, = listed(host, 1, LIST + 1)
    assert new % 2 == 0
    assert [host.hv.frames.table.gfn[new + n] for n in (0, 1)] == [700, 701]
    assert host.hv.domains.tot_pages[1] == total
    assert host.va(FREE, new << 12 | P | RW) == 0
    assert host.va(FREE + 3, (new + 1) << 12 | P | RW) == 0
    host.check()


def test_an_exchange_that_cannot_be(host):
    assert exchange(host, [host.mfn(FREE)], [700], order_out=10) == -Errno.EPERM
    assert exchange(host, [host.mfn(FREE)], [700], order_out=1) == -Errno.EINVAL
    assert exchange(host, [host.mfn(FREE)], [700]) == -Errno.EINVAL  # it is mapped
    assert exchange(host, [host.mfn(FREE, 2)], [700]) == -Errno.EINVAL
    assert host.entry(FREE)
    assert BASE
    host.check()
