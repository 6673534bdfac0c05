"""Where Xen enters a PV guest: callbacks in both forms, their flags and selectors, trap tables; modes of updates."""

from struct import pack

import pytest

from abi.callback import CALLBACKF_mask_events, CallbackType
from abi.errno import Errno
from abi.xen import Hypercall, MmuUpdate
from hypervisor.pv_tables import TRAPS, VcpuFlag
from tests.hypervisor.pv_host import FREE, RW, A, D, P, PvHost

CANONICAL, WILD = 0x7FFFFFFFF000, 1 << 47


@pytest.fixture(params=[64, 32])
def host(request):
    return PvHost(request.param)


def register(host, kind, address, flags=0, cs=0x61, command=0):
    data = pack("<HHxxxxQ", kind, flags, address) if host.width == 64 else pack("<HHII", kind, flags, cs, address)
    return host.call(Hypercall.callback_op, command, host.put(data))


def test_each_type_has_its_place(host):
    table, row = host.hv.pv_vcpus, host.callers[1].vcpu
    assert register(host, CallbackType.event, 0x1000) == 0
    assert register(host, CallbackType.failsafe, 0x2000) == 0
    assert register(host, CallbackType.sysenter, 0x3000) == 0
    assert register(host, CallbackType.syscall32, 0x4000) == 0
    assert (table.event_ip[row], table.failsafe_ip[row], table.sysenter_ip[row], table.syscall32_ip[row]) == (
        0x1000, 0x2000, 0x3000, 0x4000)


def test_each_width_has_a_type_that_the_other_has_not(host):
    wide = host.width == 64
    assert register(host, CallbackType.syscall, 0x1000) == (0 if wide else -Errno.EINVAL)
    assert register(host, CallbackType.sysenter_deprecated, 0x1000) == (-Errno.EINVAL if wide else 0)
    assert register(host, 99, 0x1000) == -Errno.EINVAL


@pytest.mark.parametrize(("kind", "flag"), [
    (CallbackType.failsafe, VcpuFlag.FAILSAFE_DISABLES_EVENTS),
    (CallbackType.syscall32, VcpuFlag.SYSCALL32_DISABLES_EVENTS),
    (CallbackType.sysenter, VcpuFlag.SYSENTER_DISABLES_EVENTS)])
def test_a_flag_says_whether_the_entry_masks_events(host, kind, flag):
    flags, row = host.hv.pv_vcpus.flags, host.callers[1].vcpu
    assert register(host, kind, 0x1000, CALLBACKF_mask_events) == 0
    assert flags[row] & flag
    assert register(host, kind, 0x1000) == 0
    assert not flags[row] & flag


def test_nothing_but_the_nmi_handler_is_withdrawn(host):
    for kind in (CallbackType.event, CallbackType.failsafe, CallbackType.sysenter, 99):
        assert register(host, kind, 0, command=1) == -Errno.EINVAL
    assert register(host, CallbackType.nmi, 0, command=1) == 0
    assert register(host, CallbackType.event, 0, command=2) == -Errno.ENOSYS


def test_a_selector_is_kept_out_of_xens_rings():
    host = PvHost(32)
    row, cs = host.callers[1].vcpu, host.hv.pv_vcpus.event_cs
    for asked, given in ((0x60, 0x61), (0x61, 0x61), (0x62, 0x63), (0x63, 0x63), (0xE008, 0xE019), (0xE010, 0xE019),
                         (0xE02B, 0xE02B)):
        register(host, CallbackType.event, 0x1000, cs=asked)
        assert cs[row] == given, hex(asked)


def test_the_old_form_sets_them_all(host):
    table, row = host.hv.pv_vcpus, host.callers[1].vcpu
    if host.width == 64:
        assert host.call(Hypercall.set_callbacks, 0x1000, 0x2000, 0x3000) == 0
        assert table.syscall_ip[row] == 0x3000
        assert host.call(Hypercall.set_callbacks, WILD, 0x2000, 0x3000) == -Errno.EINVAL
    else:
        assert host.call(Hypercall.set_callbacks, 0x61, 0x1000, 0x69, 0x2000) == 0
        assert (table.event_cs[row], table.failsafe_cs[row]) == (0x61, 0x69)
    assert (table.event_ip[row], table.failsafe_ip[row]) == (0x1000, 0x2000)


def trap_info(host, *entries):
    shape = "<BBHxxxxQ" if host.width == 64 else "<BBHI"
    return b"".join(pack(shape, *entry) for entry in (*entries, (0, 0, 0, 0)))


def test_a_trap_table_is_taken_up_to_its_end(host):
    traps, first = host.hv.traps, host.callers[1].vcpu * TRAPS
    table = trap_info(host, (14, 4, 0xE019, 0x1000), (3, 3, 0xE019, 0x2000))
    assert host.call(Hypercall.set_trap_table, host.put(table)) == 0
    assert (traps.address[first + 14], traps.flags[first + 14]) == (0x1000, 4)
    assert (traps.address[first + 3], traps.flags[first + 3]) == (0x2000, 3)
    assert host.call(Hypercall.set_trap_table, host.put(trap_info(host, (14, 0, 0xE019, 0x3000)))) == 0
    assert traps.address[first + 3] == 0x2000, "what a table does not name stays"
    assert host.call(Hypercall.set_trap_table, 0) == 0
    assert traps.address[first + 14] == traps.address[first + 3] == 0


def test_entries_before_a_bad_one_are_taken():
    host = PvHost(64)
    first = host.callers[1].vcpu * TRAPS
    data = trap_info(host, (14, 0, 0, CANONICAL), (13, 0, 0, WILD), (6, 0, 0, CANONICAL))
    assert host.call(Hypercall.set_trap_table, host.put(data)) == -Errno.EINVAL
    assert host.hv.traps.address[first + 14] == CANONICAL
    assert host.hv.traps.address[first + 6] == 0


def test_an_update_may_leave_accessed_and_dirty_as_they_are(host):
    slot = host.slot_address(FREE)
    host.u64[slot >> 3] |= A | D
    assert host.mmu((slot | MmuUpdate.PT_UPDATE_PRESERVE_AD, host.mfn(FREE + 1) << 12 | P | RW)) == 0
    assert host.entry(FREE) & (A | D) == A | D
    assert host.entry(FREE) >> 12 & (1 << 40) - 1 == host.mfn(FREE + 1)
    assert host.mmu((slot, host.mfn(FREE + 1) << 12 | P | RW)) == 0
    assert host.entry(FREE) & (A | D) == 0
    host.check()


@pytest.mark.parametrize("command", [3, 4, 7])
def test_updates_that_are_not_translated_are_not_there(host, command):
    assert host.mmu((host.slot_address(FREE) | command, 0)) == -Errno.ENOSYS
    host.check()
