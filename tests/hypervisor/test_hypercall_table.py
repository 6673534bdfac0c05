from abi.xen import Hypercall
from hypervisor.decode import call_in_words, hypercall_name, result_in_words
from hypervisor.hypercalls import LAST_XEN_NUMBER, ROWS

HVM = {
    "platform_op", "memory_op", "multicall", "set_timer_op", "xen_version", "console_io", "grant_table_op", "vm_assist",
    "vcpu_op", "mmuext_op", "xsm_op", "sched_op", "event_channel_op", "physdev_op", "hvm_op", "sysctl", "domctl",
    "argo_op", "xenpmu_op", "dm_op", "hypfs_op", "paging_domctl_cont",
}


def test_every_number_of_xens_has_a_row_in_its_place():
    assert [row.number for row in ROWS] == list(range(LAST_XEN_NUMBER + 1))


def test_rows_are_called_as_in_the_header():
    renamed = {Hypercall.arch_0: "mca", Hypercall.arch_1: "paging_domctl_cont"}
    for number in Hypercall:
        assert ROWS[number].name == renamed.get(number, number.name)


def test_hvm_guests_may_call_what_xen_4_17_lets_them():
    assert {row.name for row in ROWS if row.hvm is not None} == HVM


def test_pv_guests_may_call_everything_that_exists():
    absent = [row.name for row in ROWS if row.pv is None]
    assert [name for name in absent if not name.startswith(("unassigned", "arch"))] == ["tmem_op"]


def test_arguments_fit_into_registers():
    for row in ROWS:
        assert 0 <= row.args <= 5
        assert row.args32 is None or row.args < row.args32 <= 5


def test_calls_are_told_in_words():
    assert call_in_words(32, (4, 0x1000)) == "event_channel_op(EVTCHNOP_send, 0x1000)"
    assert call_in_words(29, (0, 0)) == "sched_op(SCHEDOP_yield, 0)"
    assert call_in_words(12, (7 | 5 << 6, 0x1000)) == "memory_op(XENMEM_add_to_physmap, 0x1000)"
    assert call_in_words(32, (99, 1)) == "event_channel_op(unknown operation 99, 1)"
    assert call_in_words(56, (1, 2)) == "hypercall_56(1, 2)"
    assert call_in_words(56, (), {56: "greet"}.__getitem__) == "greet()"
    assert hypercall_name(17) == "xen_version"


def test_results_are_told_in_words():
    assert result_in_words(0, 64) == "0"
    assert result_in_words(0x40011, 64) == "0x40011"
    assert result_in_words((1 << 64) - 38, 64) == "-ENOSYS"
    assert result_in_words((1 << 32) - 14, 32) == "-EFAULT"
    assert result_in_words((1 << 32) - 14, 64) == "0xfffffff2"
    assert result_in_words((1 << 64) - 4000, 64) == "-4000"
