import pytest
from hypercall_host import READ_ONLY, SIZE, Caller, SmallHost
from hypothesis import given
from hypothesis import strategies as st

from abi.errno import Errno
from abi.hvm import HVM_EVTCHN_UPCALL_VECTOR, HVM_GET_MEM_TYPE, HVM_PARAM, HVM_XENTRACE, HvmOp, HvmParam, MemType
from abi.xen import DOMID_SELF
from hypervisor.crash import GuestCrash

HVM_OP, ARGUMENT, UNWRITABLE, UNREADABLE = 34, 0x1000, SIZE - READ_ONLY, SIZE
VECTOR = 2 << 56
HOLES = [3, 7, 8]
DEPRECATED = [HvmParam.PAE_ENABLED, HvmParam.DM_DOMAIN, HvmParam.MEMORY_EVENT_CR0, HvmParam.MEMORY_EVENT_MSR]
TOOLSTACK = [HvmParam.STORE_PFN, HvmParam.CONSOLE_PFN, HvmParam.IOREQ_PFN, HvmParam.VIRIDIAN, HvmParam.TIMER_MODE,
             HvmParam.IDENT_PT, HvmParam.PAGING_RING_PFN, HvmParam.ALTP2M, HvmParam.MCA_CAP]


def put(caller, layout, *values):
    caller.memory.write(ARGUMENT, layout.at(caller.width).pack(*values))


def set_param(host, index, value, domid=DOMID_SELF, caller=None):
    caller = caller or Caller(1, 1)
    put(caller, HVM_PARAM, domid, 0, index, value)
    return host.call(HVM_OP, HvmOp.set_param, ARGUMENT, caller=caller)


def get_param(host, index, domid=DOMID_SELF, caller=None):
    """The value, or the error."""
    caller = caller or Caller(1, 1)
    put(caller, HVM_PARAM, domid, 0, index, 0x5555)
    result = host.call(HVM_OP, HvmOp.get_param, ARGUMENT, caller=caller)
    shape = HVM_PARAM.at(caller.width)
    return result or shape.named(caller.memory.read(ARGUMENT, shape.size)).value


# Parameters.


@pytest.mark.parametrize("index", [HvmParam.STORE_EVTCHN, HvmParam.CONSOLE_EVTCHN, HvmParam.VM_GENERATION_ID_ADDR])
def test_a_guest_keeps_what_it_sets(index):
    host = SmallHost()
    assert set_param(host, index, 0x1234_5678_9ABC) == 0
    assert get_param(host, index) == 0x1234_5678_9ABC
    assert get_param(host, index, domid=1) == 0x1234_5678_9ABC


def test_parameters_of_domains_are_apart():
    host = SmallHost()
    set_param(host, HvmParam.STORE_EVTCHN, 7)
    assert get_param(host, HvmParam.STORE_EVTCHN, caller=Caller(3, 4)) == 0


@pytest.mark.parametrize("index", [HvmParam.STORE_PFN, HvmParam.CONSOLE_PFN])
def test_a_guest_finds_its_rings_but_cannot_move_them(index):
    host = SmallHost()
    host.params.set(1, index, 0xFEFFC)
    assert get_param(host, index) == 0xFEFFC
    assert set_param(host, index, 1) == -Errno.EPERM


@pytest.mark.parametrize("index", TOOLSTACK)
def test_what_is_the_toolstacks_is_eperm_to_the_guest(index):
    assert set_param(SmallHost(), index, 1) == -Errno.EPERM


@pytest.mark.parametrize("index", [HvmParam.IOREQ_PFN, HvmParam.VIRIDIAN, HvmParam.TIMER_MODE, HvmParam.IDENT_PT])
def test_some_of_it_cannot_be_read_either(index):
    assert get_param(SmallHost(), index) == -Errno.EPERM


@pytest.mark.parametrize("index", [*HOLES, *DEPRECATED, 39, 0xFFFF_FFFF])
def test_holes_and_deprecated_numbers_are_einval_to_all(index):
    for caller in (Caller(1, 1), Caller(0, 0)):
        assert set_param(SmallHost(), index, 1, 1, caller) == -Errno.EINVAL
        assert get_param(SmallHost(), index, 1, caller) == -Errno.EINVAL


def test_other_domains_parameters_are_eperm():
    host = SmallHost()
    for call in (set_param(host, HvmParam.CALLBACK_IRQ, VECTOR | 0x20, 3), get_param(host, HvmParam.CALLBACK_IRQ, 3)):
        assert call == -Errno.EPERM


@pytest.mark.parametrize("domid", [4, 5, 200, 0x7FF1, 0xFFFF])
def test_a_domain_that_is_not_there_is_esrch(domid):
    assert get_param(SmallHost(), HvmParam.CALLBACK_IRQ, domid) == -Errno.ESRCH


def test_the_index_is_looked_at_before_the_domain():
    assert get_param(SmallHost(), 39, 200) == -Errno.EINVAL


def test_pv_domains_have_no_parameters():
    host = SmallHost()
    assert get_param(host, HvmParam.CALLBACK_IRQ, caller=Caller(2, 3)) == -Errno.EINVAL
    assert set_param(host, HvmParam.CALLBACK_IRQ, 1, 2, Caller(0, 0)) == -Errno.EINVAL


def test_the_privileged_set_and_read_everybodys():
    host, caller = SmallHost(), Caller(0, 0)
    assert set_param(host, HvmParam.STORE_PFN, 5, 1, caller) == 0
    assert get_param(host, HvmParam.STORE_PFN, 1, caller) == get_param(host, HvmParam.STORE_PFN) == 5


def test_some_parameters_are_set_once():
    host, caller = SmallHost(), Caller(0, 0)
    assert set_param(host, HvmParam.VIRIDIAN, 1, 1, caller) == 0
    assert set_param(host, HvmParam.VIRIDIAN, 1, 1, caller) == 0
    assert set_param(host, HvmParam.VIRIDIAN, 3, 1, caller) == -Errno.EEXIST


@pytest.mark.parametrize(("index", "value"), [
    (HvmParam.TIMER_MODE, 4), (HvmParam.TRIPLE_FAULT_REASON, 6), (HvmParam.ALTP2M, 4), (HvmParam.BUFIOREQ_EVTCHN, 1),
    (HvmParam.X87_FIP_WIDTH, 5), (HvmParam.ACPI_S_STATE, 0)])
def test_values_are_checked(index, value):
    assert set_param(SmallHost(), index, value, 1, Caller(0, 0)) == -Errno.EINVAL


def test_the_sleep_state_of_a_running_guest_is_0():
    host = SmallHost()
    assert set_param(host, HvmParam.ACPI_S_STATE, 0) == 0
    assert set_param(host, HvmParam.ACPI_S_STATE, 1) == -Errno.EINVAL
    assert set_param(host, HvmParam.ACPI_S_STATE, 3) == -Errno.ENOSYS
    assert get_param(host, HvmParam.ACPI_S_STATE) == 0


def test_a_tss_without_a_size_has_128_bytes():
    host = SmallHost()
    assert set_param(host, HvmParam.VM86_TSS, 0x5000) == 0
    assert get_param(host, HvmParam.VM86_TSS) == 0x5000
    assert get_param(host, HvmParam.VM86_TSS_SIZED) == 128 << 32 | 0x5000


def test_a_tss_is_no_longer_than_one_can_be():
    host = SmallHost()
    assert set_param(host, HvmParam.VM86_TSS_SIZED, 0xFFFFFFFF << 32 | 0x5000) == 0
    assert get_param(host, HvmParam.VM86_TSS_SIZED) == 8329 << 32 | 0x5000


@pytest.mark.parametrize(("index", "value"), [(HvmParam.VM86_TSS, 1 << 32), (HvmParam.VM86_TSS_SIZED, 103 << 32)])
def test_a_guest_with_a_senseless_tss_is_crashed(index, value):
    with pytest.raises(GuestCrash, match="TSS"):
        set_param(SmallHost(), index, value)
    assert set_param(SmallHost(), index, value, 1, Caller(0, 0)) == -Errno.EINVAL


# The callback.


@pytest.mark.parametrize(("via", "kind", "number"), [
    (VECTOR | 0xF3, 2, 0xF3), (VECTOR | 0x1F3, 2, 0xF3), (9, 0, 9), (0, 0, 0), (1 << 56 | 3 << 11, 1, 0),
    (3 << 56 | 0x20, 0, 0), (0xFF << 56, 0, 0)])
def test_the_callback_is_stored_by_type(via, kind, number):
    host = SmallHost()
    assert set_param(host, HvmParam.CALLBACK_IRQ, VECTOR | 0x55) == 0
    assert set_param(host, HvmParam.CALLBACK_IRQ, via) == 0
    assert (host.domains.callback_via_type[1], host.domains.callback_vector[1]) == (kind, number)
    assert get_param(host, HvmParam.CALLBACK_IRQ) == via


def test_setting_the_callback_latches_the_callers_width():
    host = SmallHost()
    set_param(host, HvmParam.CALLBACK_IRQ, VECTOR | 0x20)
    assert host.widths == []
    set_param(host, HvmParam.CALLBACK_IRQ, VECTOR | 0x20, caller=Caller(1, 1, 32))
    assert host.widths == [(1, 32)]
    set_param(host, HvmParam.CALLBACK_IRQ, VECTOR | 0x20, 1, Caller(0, 0))
    assert host.widths == [(1, 32)]


# Other operations.


def upcall_vector(host, vcpu_id, vector, caller=None):
    caller = caller or Caller(1, 1)
    put(caller, HVM_EVTCHN_UPCALL_VECTOR, vcpu_id, vector)
    return host.call(HVM_OP, HvmOp.set_evtchn_upcall_vector, ARGUMENT, caller=caller)


def test_a_vcpu_has_an_upcall_vector_of_its_own():
    host = SmallHost()
    assert upcall_vector(host, 1, 0x40) == 0
    assert list(host.params.upcall_vector) == [0, 0, 0x40, 0, 0, 0, 0, 0]
    host.params.clear(1, range(1, 3))
    assert not any(host.params.upcall_vector)


def test_an_upcall_vector_is_checked():
    host = SmallHost()
    assert upcall_vector(host, 0, 0xF) == -Errno.EINVAL
    assert upcall_vector(host, 2, 0x40) == -Errno.ENOENT
    assert upcall_vector(host, 0, 0x40, Caller(2, 3)) == -Errno.EINVAL


def test_a_flush_reaches_the_engine():
    host = SmallHost()
    assert host.call(HVM_OP, HvmOp.flush_tlbs, ARGUMENT) == -Errno.EINVAL
    assert host.domains.flush[1] == 0
    assert host.call(HVM_OP, HvmOp.flush_tlbs, 0) == 0
    assert host.domains.flush[1] == 1
    assert host.call(HVM_OP, HvmOp.flush_tlbs, 0, caller=Caller(2, 3)) == -Errno.EINVAL


@pytest.mark.parametrize(("pfn", "expected"), [
    (0, MemType.mmio_dm), (1, MemType.ram_rw), (2, MemType.ram_ro), (3, MemType.ram_rw), (4, MemType.mmio_dm),
    ((1 << 64) - 1, MemType.mmio_dm)])
def test_a_guest_asks_what_a_page_is(pfn, expected):
    host, caller = SmallHost(), Caller(1, 1)
    put(caller, HVM_GET_MEM_TYPE, DOMID_SELF, 0, b"", pfn)
    assert host.call(HVM_OP, HvmOp.get_mem_type, ARGUMENT, caller=caller) == 0
    assert HVM_GET_MEM_TYPE.at(64).named(caller.memory.read(ARGUMENT, 16)).mem_type == expected


@pytest.mark.parametrize(("domid", "error"), [(3, Errno.EPERM), (5, Errno.ESRCH)])
def test_other_domains_pages_are_none_of_its_business(domid, error):
    caller = Caller(1, 1)
    put(caller, HVM_GET_MEM_TYPE, domid, 0, b"", 1)
    assert SmallHost().call(HVM_OP, HvmOp.get_mem_type, ARGUMENT, caller=caller) == -error


def test_the_time_is_the_vcpus_own():
    host, caller = SmallHost(), Caller(1, 2)
    host.vcpus.local_time[2] = 77
    assert host.call(HVM_OP, HvmOp.get_time, ARGUMENT, caller=caller) == 0
    assert caller.memory.read(ARGUMENT, 8) == (77).to_bytes(8, "little")


@pytest.mark.parametrize(("event", "size", "result"), [
    (1, 28, 0), (1, 29, -Errno.EINVAL), (0x1000, 4, -Errno.EINVAL)])
def test_a_trace_event_of_the_guests_is_checked(event, size, result):
    caller = Caller(1, 1)
    put(caller, HVM_XENTRACE, event, size, b"")
    assert SmallHost().call(HVM_OP, HvmOp.xentrace, ARGUMENT, caller=caller) == result


def test_what_no_amd_machine_with_nested_paging_does():
    host = SmallHost()
    assert host.call(HVM_OP, HvmOp.altp2m, ARGUMENT) == -Errno.EOPNOTSUPP
    assert host.call(HVM_OP, HvmOp.pagetable_dying, ARGUMENT) == -Errno.EINVAL
    assert host.call(HVM_OP, HvmOp.guest_request_vm_event, 0) == 0
    assert host.call(HVM_OP, HvmOp.guest_request_vm_event, ARGUMENT) == -Errno.EINVAL


@pytest.mark.parametrize("op", [2, 3, 4, 6, 12, 14, 22, 26, 1 << 40])
def test_unknown_operations_are_enosys_and_said(op):
    host = SmallHost()
    assert host.call(HVM_OP, op, ARGUMENT) == -Errno.ENOSYS
    assert f"hvm_op/{op}" in host.lines[0][1]


@pytest.mark.parametrize("op", [HvmOp.set_param, HvmOp.get_param, HvmOp.get_mem_type, HvmOp.pagetable_dying,
                                HvmOp.get_time, HvmOp.xentrace, HvmOp.set_evtchn_upcall_vector])
def test_a_wild_pointer_is_efault(op):
    assert SmallHost().call(HVM_OP, op, UNREADABLE) == -Errno.EFAULT


def test_an_answer_that_cannot_be_written_is_efault():
    host, caller = SmallHost(), Caller(1, 1)
    caller.memory.bytes[UNWRITABLE:UNWRITABLE + 16] = HVM_PARAM.at(64).pack(DOMID_SELF, 0, HvmParam.STORE_PFN, 0)
    assert host.call(HVM_OP, HvmOp.get_param, UNWRITABLE, caller=caller) == -Errno.EFAULT


@given(op=st.sampled_from(list(HvmOp)), argument=st.binary(min_size=64, max_size=64))
def test_no_argument_does_worse_than_an_error_or_a_crash_as_xens(op, argument):
    host, caller = SmallHost(), Caller(1, 1)
    caller.memory.write(ARGUMENT, argument)
    crash = None
    try:
        assert -200 < host.call(HVM_OP, op, ARGUMENT, caller=caller) <= 0
    except GuestCrash as error:
        crash = error
    assert crash is None or "VM86 TSS" in crash.reason
