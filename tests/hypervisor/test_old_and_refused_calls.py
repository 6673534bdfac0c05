"""Hypercalls of old kernels, and those that no domU may make, with the error that Xen finds first."""

from struct import pack, unpack

import pytest

from abi.errno import Errno
from abi.event_channel import EVTCHN_OP, EvtchnOp, EvtchnStatus
from abi.physdev import PHYSDEV_IRQ_STATUS_QUERY, PHYSDEV_OP, PhysdevOp, XENIRQSTAT_needs_eoi
from abi.types import VcpuRow
from abi.vcpu import VcpuOp
from abi.xen import DOMID_SELF, Hypercall, MmuextOp
from hypervisor.pv_callbacks import TRAPS
from hypervisor.pv_nmi import IN_HANDLER, PENDING, handled, send_nmi, take_nmi
from hypervisor.pv_physdev import NR_GSIS, NR_PIRQS
from hypervisor.pv_tables import PageType
from tests.hypervisor.pv_host import ARGUMENTS, BASE, FREE, PvHost

WILD = BASE + 100_000 * 4096


@pytest.fixture(params=[64, 32])
def host(request):
    return PvHost(request.param)


# -- event_channel_op_compat


def old_event_op(host, command, data=b""):
    address = host.put((pack("<I", command) + data).ljust(EVTCHN_OP.at(64).size, b"\0"))
    result = host.call(Hypercall.event_channel_op_compat, address)
    return result, host.hv.arena.read((host.mfn(ARGUMENTS) << 12) + 4, 24)


def test_ports_are_made_and_asked_about_as_old_kernels_do(host):
    result, answer = old_event_op(host, EvtchnOp.alloc_unbound, pack("<HH", DOMID_SELF, 2))
    port, = unpack("<4xI", answer[:8])
    assert result == 0
    result, answer = old_event_op(host, EvtchnOp.status, pack("<HxxI", DOMID_SELF, port))
    assert (result, unpack("<8xI", answer[:12])[0]) == (0, EvtchnStatus.unbound)
    result, answer = old_event_op(host, EvtchnOp.bind_ipi, pack("<I", 0))
    ipi, = unpack("<4xI", answer[:8])
    assert (result, old_event_op(host, EvtchnOp.send, pack("<I", ipi))[0]) == (0, 0)
    assert old_event_op(host, EvtchnOp.close, pack("<I", ipi))[0] == 0
    assert old_event_op(host, EvtchnOp.close, pack("<I", ipi))[0] == -Errno.EINVAL


@pytest.mark.parametrize("command", [EvtchnOp.reset, EvtchnOp.init_control, 14, 99])
def test_what_the_old_structure_has_no_room_for_is_einval(host, command):
    assert old_event_op(host, command)[0] == -Errno.EINVAL


def test_a_wild_pointer_is_efault_before_anything_else(host):
    for number in (Hypercall.event_channel_op_compat, Hypercall.physdev_op_compat, Hypercall.platform_op,
                   Hypercall.sysctl, Hypercall.domctl, Hypercall.arch_1):
        assert host.call(number, WILD) == -Errno.EFAULT
    assert host.call(Hypercall.nmi_op, 0, WILD) == -Errno.EFAULT
    assert host.call(Hypercall.dm_op, 3, 1, WILD) == -Errno.EFAULT


# -- physdev_op, both forms


def old_physdev(host, command, data=b""):
    shape = PHYSDEV_OP.at(host.width)
    address = host.put(pack("<I", command).ljust(shape.offset["u"], b"\0") + data.ljust(shape.size, b"\0"))
    return host.call(Hypercall.physdev_op_compat, address)


def physdev(host, command, data=b""):
    return host.call(Hypercall.physdev_op, command, host.put(data.ljust(64, b"\0")))


def test_io_privilege_is_set_by_either_form(host):
    row = host.callers[1].vcpu
    assert old_physdev(host, PhysdevOp.set_iopl, pack("<I", 2)) == 0
    assert host.hv.pv_vcpus.iopl[row] == 2
    assert physdev(host, PhysdevOp.set_iopl, pack("<I", 1)) == 0
    assert host.hv.pv_vcpus.iopl[row] == 1
    assert old_physdev(host, PhysdevOp.set_iopl, pack("<I", 4)) == -Errno.EINVAL
    assert old_physdev(host, PhysdevOp.eoi) == -Errno.EINVAL


def test_interrupts_without_a_device_have_a_status_and_a_vector(host):
    assert physdev(host, PhysdevOp.irq_status_query, pack("<II", 3, 77)) == 0
    answer = host.hv.arena.read(host.mfn(ARGUMENTS) << 12, PHYSDEV_IRQ_STATUS_QUERY.at(64).size)
    assert unpack("<II", answer) == (3, XENIRQSTAT_needs_eoi)
    assert physdev(host, PhysdevOp.irq_status_query, pack("<I", NR_PIRQS)) == -Errno.EINVAL
    assert physdev(host, PhysdevOp.alloc_irq_vector, pack("<II", 5, 0)) == 0
    assert host.hv.arena.read((host.mfn(ARGUMENTS) << 12) + 4, 4) == pack("<I", 5)
    assert physdev(host, PhysdevOp.IRQ_UNMASK_NOTIFY) == 0
    assert physdev(host, PhysdevOp.eoi, pack("<I", 3)) == -Errno.EINVAL


@pytest.mark.parametrize(("command", "data", "error"), [
    (PhysdevOp.apic_read, b"", Errno.EPERM), (PhysdevOp.apic_write, b"", Errno.EPERM),
    (PhysdevOp.manage_pci_add, b"", Errno.EPERM), (PhysdevOp.pci_device_add, b"", Errno.EPERM),
    (PhysdevOp.prepare_msix, b"", Errno.EPERM), (PhysdevOp.dbgp_op, b"", Errno.EPERM),
    (PhysdevOp.setup_gsi, pack("<i", 5), Errno.EPERM), (PhysdevOp.setup_gsi, pack("<i", NR_GSIS), Errno.EINVAL),
    (PhysdevOp.map_pirq, pack("<H", DOMID_SELF), Errno.EPERM), (PhysdevOp.map_pirq, pack("<H", 99), Errno.ESRCH),
    (PhysdevOp.unmap_pirq, pack("<H", 2), Errno.EPERM), (PhysdevOp.free_irq_vector, b"", Errno.ENOSYS),
    (99, b"", Errno.ENOSYS)])
def test_what_is_the_hardware_domains_is_refused(host, command, data, error):
    assert physdev(host, command, data) == -error


@pytest.mark.parametrize("command", [PhysdevOp.pirq_eoi_gmfn_v1, PhysdevOp.pirq_eoi_gmfn_v2])
def test_a_page_for_ends_of_interrupts_is_held_until_the_domain_ends(host, command):
    word = "<Q" if host.width == 64 else "<I"
    assert physdev(host, command, pack(word, host.top[1])) == -Errno.EINVAL  # a page table
    assert physdev(host, command, pack(word, host.mfn(FREE, 2))) == -Errno.EINVAL
    assert physdev(host, command, pack(word, host.mfn(FREE))) == 0
    assert host.type(FREE) == PageType.WRITABLE
    assert physdev(host, command, pack(word, host.mfn(FREE + 1))) == -Errno.EBUSY
    host.check([(host.mfn(FREE), True)])
    host.hv.destroy(1)


# -- nmi_op, callbacks of NMIs, VCPUOP_send_nmi


def handler(host):
    at = host.callers[1].vcpu * TRAPS + 2
    return host.hv.traps.address[at], host.hv.traps.cs[at], host.hv.traps.flags[at]


def test_an_nmi_handler_is_registered_and_withdrawn(host):
    size, flat = host.width // 8, {64: 0xE033, 32: 0xE019}[host.width]
    callback = (0x1234).to_bytes(size, "little") + bytes(size)
    assert host.call(Hypercall.nmi_op, 0, host.put(callback)) == 0
    assert handler(host) == (0x1234, flat, 4)
    assert host.call(Hypercall.nmi_op, 1, 0) == 0
    assert handler(host) == (0, 0, 0)
    assert host.call(Hypercall.nmi_op, 2, 0) == -Errno.ENOSYS


def test_the_same_by_callback_op(host):
    flat = {64: 0xE033, 32: 0xE019}[host.width]
    register = pack("<HHxxxxQ", 4, 0, 0x5678) if host.width == 64 else pack("<HHII", 4, 0, 0x61, 0x5678)
    assert host.call(Hypercall.callback_op, 0, host.put(register)) == 0
    assert handler(host) == (0x5678, flat, 4)
    assert host.call(Hypercall.callback_op, 1, host.put(pack("<HH", 4, 0))) == 0
    assert handler(host) == (0, 0, 0)


def test_an_address_that_is_not_canonical_is_einval():
    host = PvHost(64)
    assert host.call(Hypercall.nmi_op, 0, host.put(pack("<QQ", 1 << 47, 0))) == -Errno.EINVAL


def test_nmis_come_one_at_a_time_and_wait_for_a_handler(host):
    table, traps, sched, row = host.hv.pv_vcpus, host.hv.traps, host.hv.sched, host.callers[1].vcpu
    send_nmi(table, sched, row)
    send_nmi(table, sched, row)
    assert not take_nmi(table, traps, row)
    traps.address[row * TRAPS + 2] = 0x1000
    assert take_nmi(table, traps, row)
    send_nmi(table, sched, row)
    assert not take_nmi(table, traps, row)
    assert table.nmi[row] == PENDING | IN_HANDLER
    handled(table, sched, row)
    assert take_nmi(table, traps, row)
    handled(table, sched, row)
    assert table.nmi[row] == 0


def test_one_vcpu_sends_another_an_nmi(host):
    host.hv.send_nmi = lambda row: send_nmi(host.hv.pv_vcpus, host.hv.sched, row)
    assert host.call(Hypercall.vcpu_op, VcpuOp.send_nmi, 1, 1) == -Errno.EINVAL
    assert host.call(Hypercall.vcpu_op, VcpuOp.send_nmi, 1, 0) == 0
    assert host.hv.pv_vcpus.nmi[VcpuRow(host.callers[1].vcpu + 1)] == PENDING
    assert host.call(Hypercall.vcpu_op, VcpuOp.send_nmi, 7, 0) == -Errno.ENOENT


# -- what only the toolstack may ask for


def test_the_interfaces_version_is_looked_at_before_the_caller(host):
    for number, version in ((Hypercall.platform_op, 0x03000001), (Hypercall.sysctl, 0x15), (Hypercall.domctl, 0x15)):
        assert host.call(number, host.put(pack("<IIH", 1, version + 1, 1).ljust(200, b"\0"))) == -Errno.EACCES
        assert host.call(number, host.put(pack("<IIH", 1, version, 1).ljust(200, b"\0"))) == -Errno.EPERM


def test_domctl_looks_for_the_domain_before_the_caller(host):
    for command, domid, error in ((5, 99, Errno.ESRCH), (5, DOMID_SELF, Errno.ESRCH), (5, 2, Errno.EPERM),
                                  (5, 1, Errno.EPERM), (1, 99, Errno.EPERM)):
        data = pack("<IIH", command, 0x15, domid).ljust(200, b"\0")
        assert host.call(Hypercall.domctl, host.put(data)) == -error


def test_a_continuation_that_xen_did_not_make_is_einval(host):
    for command, version, domid, error in ((5, 0x15, 2, Errno.EINVAL), (10, 0x14, 2, Errno.EINVAL),
                                           (10, 0x15, 99, Errno.ESRCH), (10, 0x15, 1, Errno.EPERM)):
        data = pack("<IIH", command, version, domid).ljust(200, b"\0")
        assert host.call(Hypercall.arch_1, host.put(data)) == -error


@pytest.mark.parametrize(("domid", "number", "error"), [
    (3, 3, Errno.E2BIG), (99, 0, Errno.ESRCH), (DOMID_SELF, 0, Errno.ESRCH), (1, 0, Errno.EPERM), (2, 1, Errno.EINVAL),
    (3, 2, Errno.EPERM)])
def test_dm_op_is_for_device_models(host, domid, number, error):
    assert host.call(Hypercall.dm_op, domid, number, host.put(bytes(64))) == -error


@pytest.mark.parametrize("number", [Hypercall.kexec_op, Hypercall.arch_0])
def test_the_machine_is_nobodys(host, number):
    assert host.call(number, 0, 0) == -Errno.EPERM


# -- PVH guests


@pytest.mark.parametrize(("foreign", "error"), [(DOMID_SELF, Errno.EINVAL), (3, Errno.ESRCH), (99, Errno.ESRCH),
                                                (1, Errno.EPERM)])
def test_a_pvh_guest_has_no_page_tables_for_mmuext_op(foreign, error):
    host = PvHost()
    data = pack("<I4xQQ", MmuextOp.TLB_FLUSH_LOCAL, 0, 0)
    host.callers[3].memory = host.callers[1].memory  # it has no page tables of its own in this host
    assert host.call(Hypercall.mmuext_op, host.put(data), 1, 0, foreign, domid=3) == -error
