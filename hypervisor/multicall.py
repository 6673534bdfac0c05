"""multicall: several hypercalls in one (MULTICALL_ENTRY of xen/xen.h; do_multicall and compat_multicall)."""

from abi.errno import Errno, XenError
from abi.xen import MULTICALL_ENTRY
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.guest_access import guest_handle_okay
from hypervisor.host import Host
from hypervisor.tables import DomainState, RunState

SHARE = 256
"""Entries handled before others get their turn."""


def multicall(hv: Host, call: Call, call_list: int, nr_calls: int) -> int:
    """Make each call of the list and store its result; 0 in the end, whatever the calls returned.

    EINVAL inside another multicall, EFAULT where an entry cannot be read or its result not be written; the calls before
    it have happened.  Each entry is read when its turn comes, so that a call may change those behind it.  Once a call
    has put the vCPU to sleep, the rest waits until it wakes.
    """
    dispatcher = hv.dispatcher
    if dispatcher.in_multicall:
        raise XenError(Errno.EINVAL)
    shape = MULTICALL_ENTRY.at(call.width)
    size, result_at, word = shape.size, shape.offset["result"], shape.width["result"]
    unpack, dispatch, read, write = shape.unpack, dispatcher.dispatch, call.memory.read, call.memory.write
    runstate, state, vcpu, domid = hv.vcpus.runstate, hv.domains.state, call.vcpu, call.domid
    asleep = runstate[vcpu] != RunState.RUNNING  # callers without a vCPU of their own never run
    entry, left = call_list, nr_calls & 0xFFFFFFFF
    if not guest_handle_okay(hv.domains, call, call_list, left * size):
        raise XenError(Errno.EFAULT)
    dispatcher.in_multicall = True
    try:
        for done in range(left):
            op, _, a1, a2, a3, a4, a5, a6 = unpack(read(entry, size))
            result = dispatch(call, op, a1, a2, a3, a4, a5, a6)
            if dispatcher.preempted is not None:
                rest, dispatcher.preempted = dispatcher.preempted, None
                write(entry, shape.pack(op, 0, *rest, *(a1, a2, a3, a4, a5, a6)[len(rest):]))
                raise Continuation(entry, left - done)
            write(entry + result_at, result.to_bytes(word, "little"))
            entry += size
            if state[domid] != DomainState.RUNNING or done + 1 == left:
                break
            if done + 1 == SHARE or (not asleep and runstate[vcpu] != RunState.RUNNING):
                raise Continuation(entry, left - done - 1)
    finally:
        dispatcher.in_multicall = False
    return 0
