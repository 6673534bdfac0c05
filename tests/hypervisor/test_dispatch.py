import pytest
from hypercall_host import Caller, RestartableCaller, SmallHost

from abi.errno import Errno, XenError
from hypervisor.continuation import Continuation
from hypervisor.crash import GuestCrash
from hypervisor.dispatch import Dispatcher
from hypervisor.hypercalls import ROWS, Row, missing
from hypervisor.trace import Kind, records

TEST = 56


def host_with(handler, args=2, **columns):
    columns = {"pv": handler, "hvm": handler} | columns
    return SmallHost([*ROWS, Row(TEST, "test_call", args, **columns)])


def traced(host, domid=1):
    return list(records(host.trace.buffers[domid]))


# Arguments and results.


@pytest.mark.parametrize("count", range(7))
def test_a_handler_gets_as_many_arguments_as_its_row_has(count):
    seen = []
    host = host_with(lambda hv, call, *arguments: seen.append(arguments) or 0, count)
    host.call(TEST, 1, 2, 3, 4, 5, 6)
    assert seen == [(1, 2, 3, 4, 5, 6)[:count]]


def test_32_bit_callers_have_32_bit_registers():
    seen = []
    host = host_with(lambda hv, call, *arguments: seen.append(arguments) or -1)
    assert host.dispatcher.dispatch(Caller(1, 1, 32), TEST, 0xFFFF_FFFF_0000_0001, 1 << 32) == 0xFFFF_FFFF
    assert seen == [(1, 0)]


def test_a_64_bit_argument_comes_in_two_from_32_bit_callers():
    seen = []
    host = host_with(lambda hv, call, *arguments: seen.append(arguments) or 0, 1, args32=2)
    host.call(TEST, 1, 2)
    host.call(TEST, 1, 2, caller=Caller(1, 1, 32))
    assert seen == [(1,), (1, 2)]


def test_an_errno_is_returned_negated():
    def refuse(hv, call, a, b):
        raise XenError(Errno.EBUSY)

    host = host_with(refuse)
    assert host.call(TEST) == -Errno.EBUSY
    assert host.dispatcher.dispatch(Caller(1, 1), TEST) == (1 << 64) - 16
    assert host.dispatcher.dispatch(Caller(1, 1, 32), TEST) == (1 << 32) - 16


def test_every_call_is_counted_for_its_vcpu():
    host = host_with(lambda hv, call, a, b: 0)
    host.call(TEST)
    host.call(TEST, caller=Caller(1, 2))
    host.call(0xFFFF)
    host.call(1 << 40)
    assert list(host.vcpus.hypercalls) == [0, 3, 1, 0, 0, 0, 0, 0]


# What is not there.


def test_the_pv_and_the_hvm_column_are_told_apart():
    host = host_with(None, pv=lambda hv, call, a, b: 1, hvm=lambda hv, call, a, b: 2)
    assert host.call(TEST, caller=Caller(1, 1)) == 2
    assert host.call(TEST, caller=Caller(2, 3)) == 1


def test_domain_0_uses_the_pv_column():
    host = host_with(None, pv=lambda hv, call, a, b: 1)
    assert host.call(TEST, caller=Caller(0, 0)) == 1


def test_a_call_that_xen_has_not_for_such_a_guest_is_enosys_and_said_once():
    host = SmallHost()
    assert host.call(23) == host.call(23) == -Errno.ENOSYS
    assert host.lines == [(1, "UNIMPLEMENTED: iret: Xen does not offer it to such a guest; the guest got -ENOSYS")]


def test_a_call_that_is_missing_is_said_by_name_once_a_domain():
    host = host_with(missing)
    for caller in (Caller(1, 1), Caller(1, 2), Caller(3, 4)):
        assert host.call(TEST, caller=caller) == -Errno.ENOSYS
    line = "UNIMPLEMENTED: test_call: not implemented; the guest got -ENOSYS"
    assert host.lines == [(1, line), (3, line)]
    assert host.unimplemented.seen(1) == ["test_call"]


@pytest.mark.parametrize("number", [11, 43, 47, 50, 55, 56, 63, 64, 127, 0xFFFF_FFFF, 1 << 63, (1 << 64) - 1])
def test_numbers_that_nobody_has_are_enosys(number):
    host = SmallHost()
    assert host.call(number, 1, 2, 3, 4, 5) == -Errno.ENOSYS
    assert len(host.lines) == 1
    assert traced(host)[0].result == (1 << 64) - Errno.ENOSYS


def test_an_hvm_guests_number_is_eax_alone():
    host = SmallHost()
    assert host.call(17 | 7 << 32) == 4 << 16 | 17
    assert host.call(17 | 7 << 32, caller=Caller(2, 3)) == -Errno.ENOSYS


def test_a_guest_that_tries_everything_does_not_fill_the_log():
    host = SmallHost()
    for number in range(5000):
        host.call(number + 64, number, number)
        host.call(17, number + 20)
    assert len(host.lines) < 100
    assert "the rest is not logged" in host.lines[-1][1]


# Faults.


def test_a_fault_in_a_handler_crashes_its_guest_with_the_call_in_words():
    def broken(hv, call, a, b):
        return a // b

    host = host_with(broken)
    with pytest.raises(GuestCrash) as crash:
        host.call(TEST, 7, 0, caller=Caller(1, 2))
    assert (crash.value.domid, crash.value.vcpu_id) == (1, 1)
    assert crash.value.call == "test_call(7, 0)"
    assert crash.value.reason.startswith("ZeroDivisionError: ")
    assert __file__ in str(crash.value)


def test_a_handler_that_would_end_the_host_ends_its_guest():
    def leave(hv, call, a, b):
        raise SystemExit(1)

    with pytest.raises(GuestCrash, match="SystemExit"):
        host_with(leave).call(TEST)


def test_ctrl_c_goes_through():
    def interrupted(hv, call, a, b):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host_with(interrupted).call(TEST)


def test_a_result_that_is_no_integer_crashes_the_guest():
    with pytest.raises(GuestCrash, match="TypeError"):
        host_with(lambda hv, call, a, b: None).call(TEST)


def test_a_crash_on_purpose_is_passed_on_as_it_is():
    def crash(hv, call, a, b):
        raise GuestCrash(call.domid, 0, "enough")

    with pytest.raises(GuestCrash, match=r"d1v0: enough$"):
        host_with(crash).call(TEST)


def test_two_rows_with_one_number_are_refused():
    with pytest.raises(ValueError, match="two rows for hypercall 17: xen_version, again"):
        Dispatcher(SmallHost(), [*ROWS, Row(17, "again", 0, missing, missing)])


# The trace.


def test_a_call_is_traced_with_arguments_result_and_the_time_at_which_it_began():
    def slow(hv, call, a, b):
        hv.vcpus.local_time[call.vcpu] += 500
        return a + b

    host = host_with(slow)
    host.vcpus.local_time[2] = 1234
    host.call(TEST, 3, 4, 5, caller=Caller(1, 2))
    record, = traced(host)
    assert record == (1234, Kind.HYPERCALL, 1, TEST, (3, 4), 7)


def test_the_trace_is_folded_as_it_grows():
    host = host_with(lambda hv, call, a, b: 0)
    for _ in range(3000):
        host.call(TEST, 1, 2)
    assert len(host.trace.buffers[1]) < 65536


# Calls in pieces.


def in_pieces(hv, call, at, left):
    if left > 10:
        raise Continuation(at + 10, left - 10)
    return at + left


def test_a_guest_is_left_at_its_instruction_with_the_arguments_of_the_rest():
    host, caller = host_with(in_pieces), RestartableCaller(1, 1)
    assert host.call(TEST, 0, 25, caller=caller) == TEST
    assert caller.restarted_with == (10, 15)
    assert host.call(TEST, *caller.restarted_with, caller=caller) == TEST
    assert host.call(TEST, *caller.restarted_with, caller=caller) == 25
    assert [record.payload for record in traced(host)] == [(20, 5)]


def test_who_cannot_be_restarted_waits_for_the_end():
    host = host_with(in_pieces)
    assert host.call(TEST, 0, 100_000) == 100_000
    assert [record.result for record in traced(host)] == [100_000]


def test_the_rest_may_fail():
    def fails(hv, call, a, b):
        if not a:
            raise Continuation(1, 0)
        raise XenError(Errno.EFAULT)

    def faults(hv, call, a, b):
        if not a:
            raise Continuation(1, 0)
        return a // b

    assert host_with(fails).call(TEST) == -Errno.EFAULT
    with pytest.raises(GuestCrash, match=r"test_call\(1, 0\)"):
        host_with(faults).call(TEST)
