import pytest
from hypercall_host import READ_ONLY, SIZE, Caller, RestartableCaller, SmallHost

from abi.errno import Errno
from abi.xen import MULTICALL_ENTRY, Hypercall
from hypervisor.continuation import Continuation
from hypervisor.crash import GuestCrash
from hypervisor.hypercalls import ROWS, Row
from hypervisor.multicall import SHARE
from hypervisor.tables import DomainState, RunState
from hypervisor.trace import records

LIST, TEST = 0x1000, 60
VERSION = (Hypercall.xen_version, 0, 0)


def put(caller, *calls, at=LIST):
    shape = MULTICALL_ENTRY.at(caller.width)
    for op, *arguments in calls:
        caller.memory.bytes[at:at + shape.size] = shape.pack(op, 0xAAAA, *arguments, *[0] * (6 - len(arguments)))
        at += shape.size


def results(caller, count, at=LIST):
    shape = MULTICALL_ENTRY.at(caller.width)
    return [shape.named(caller.memory.read(at + index * shape.size, shape.size)).result for index in range(count)]


def run(host, caller, count, at=LIST):
    return host.call(Hypercall.multicall, at, count, caller=caller)


def host_with(handler, args=2):
    return SmallHost([*ROWS, Row(TEST, "test_call", args, handler, handler)])


@pytest.mark.parametrize("width", [32, 64])
def test_every_entry_gets_its_result(width):
    caller = Caller(1, 1, width)
    put(caller, VERSION, (99,), (Hypercall.xen_version, 7, 0), VERSION)
    assert run(SmallHost(), caller, 4) == 0
    assert results(caller, 4) == [0x40011, (1 << width) - Errno.ENOSYS, 4096, 0x40011]


def test_an_entry_takes_six_arguments():
    seen, caller = [], Caller(1, 1)
    host = host_with(lambda hv, call, *arguments: seen.append(arguments) or 0, 6)
    put(caller, (TEST, 1, 2, 3, 4, 5, 6))
    assert run(host, caller, 1) == 0
    assert seen == [(1, 2, 3, 4, 5, 6)]


def test_no_entries_are_no_work_and_no_memory():
    assert run(SmallHost(), Caller(1, 1), 0, at=SIZE) == 0
    assert run(SmallHost(), Caller(1, 1), 1 << 32, at=SIZE) == 0


def test_calls_before_a_fault_have_happened():
    caller = Caller(1, 1)
    put(caller, VERSION, VERSION)
    at = SIZE - READ_ONLY - 64  # the second entry can be read but not written
    put(caller, VERSION, VERSION, at=at)
    host = SmallHost()
    assert run(host, caller, 2, at) == -Errno.EFAULT
    assert results(caller, 2, at) == [0x40011, 0xAAAA]
    assert host.vcpus.hypercalls[1] == 3


def test_an_unreadable_entry_is_efault():
    assert run(SmallHost(), Caller(1, 1), 1, at=SIZE) == -Errno.EFAULT


def test_pv_guests_may_not_point_at_the_hypervisor():
    assert run(SmallHost(), Caller(2, 3), 1, at=0xFFFF800000000000) == -Errno.EFAULT


def test_a_multicall_in_a_multicall_is_refused():
    caller = Caller(1, 1)
    put(caller, (Hypercall.multicall, LIST, 1), VERSION)
    host = SmallHost()
    assert run(host, caller, 2) == 0
    assert results(caller, 2) == [(1 << 64) - Errno.EINVAL, 0x40011]
    assert run(host, caller, 2) == 0


def test_a_call_may_change_those_behind_it():
    caller = Caller(1, 1)

    def rewrite(hv, call, a, b):
        put(call, VERSION, at=LIST + 64)
        return 0

    put(caller, (TEST,), (99,))
    assert run(host_with(rewrite), caller, 2) == 0
    assert results(caller, 2) == [0, 0x40011]


def test_a_crash_inside_leaves_no_trace_of_the_multicall():
    caller = Caller(1, 1)
    host = host_with(lambda hv, call, a, b: a // b)
    put(caller, (TEST, 1, 0))
    with pytest.raises(GuestCrash, match=r"test_call\(1, 0\)$"):
        run(host, caller, 1)
    put(caller, VERSION)
    assert run(host, caller, 1) == 0


def test_nothing_more_happens_in_a_domain_that_shut_down():
    def shutdown(hv, call, a, b):
        hv.domains.state[call.domid] = DomainState.SHUTDOWN
        return 0

    caller = Caller(1, 1)
    put(caller, (TEST,), VERSION)
    assert run(host_with(shutdown), caller, 2) == 0
    assert results(caller, 2) == [0, 0xAAAA]


def test_every_call_is_traced_and_the_multicall_last():
    host, caller = SmallHost(), Caller(1, 1)
    put(caller, VERSION, VERSION)
    run(host, caller, 2)
    assert [record.number for record in records(host.trace.buffers[1])] == [17, 17, 13]


def test_after_a_sleep_the_rest_goes_on():
    def sleep(hv, call, a, b):
        hv.vcpus.runstate[call.vcpu] = RunState.BLOCKED
        return 0

    caller, host = RestartableCaller(1, 1), host_with(sleep)
    put(caller, (TEST,), VERSION)
    assert run(host, caller, 2) == Hypercall.multicall
    assert caller.restarted_with == (LIST + 64, 1)
    assert results(caller, 2) == [0, 0xAAAA]
    host.vcpus.runstate[1] = RunState.RUNNING
    assert run(host, caller, *reversed(caller.restarted_with)) == 0
    assert results(caller, 2) == [0, 0x40011]


def test_a_sleep_at_the_end_is_the_end():
    def sleep(hv, call, a, b):
        hv.vcpus.runstate[call.vcpu] = RunState.BLOCKED
        return 0

    caller = RestartableCaller(1, 1)
    put(caller, (TEST,))
    assert run(host_with(sleep), caller, 1) == 0
    assert caller.restarted_with is None


def test_a_long_list_is_done_in_turns():
    caller, host = RestartableCaller(1, 1), SmallHost()
    put(caller, *[VERSION] * 600)
    assert run(host, caller, 600) == Hypercall.multicall
    assert caller.restarted_with == (LIST + SHARE * 64, 600 - SHARE)
    waiting = Caller(1, 1)
    put(waiting, *[VERSION] * 600)
    assert run(host, waiting, 600) == 0
    assert results(waiting, 600) == [0x40011] * 600


def test_a_call_in_pieces_is_put_back_into_its_entry():
    def in_pieces(hv, call, at, left):
        if left > 10:
            raise Continuation(at + 10, left - 10)
        return at + left

    caller, host = RestartableCaller(1, 1), host_with(in_pieces)
    put(caller, VERSION, (TEST, 0, 15, 7))
    assert run(host, caller, 2) == Hypercall.multicall
    assert caller.restarted_with == (LIST + 64, 1)
    entry = MULTICALL_ENTRY.at(64).unpack(caller.memory.read(LIST + 64, 64))
    assert entry == (TEST, 0, 10, 5, 7, 0, 0, 0)
    assert run(host, caller, 1, LIST + 64) == 0
    assert results(caller, 2) == [0x40011, 15]
