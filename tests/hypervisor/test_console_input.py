"""Typed input through the console's ring: the guest is fed and told at its own time, asleep or not."""

from mmap import mmap
from types import SimpleNamespace

import pytest

from abi.console import XENCONS_INTERFACE
from abi.hvm import HvmParam
from abi.sched import SchedOp
from clock.source import VirtualClock
from clock.wallclock import Wallclock
from hypervisor.domain import DomainSpec, create_domain, create_host_seat, start_domain
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.sched_op import sched_op
from hypervisor.tables import GuestKind, RunState
from hypervisor.typed_input import InputStep, TypedInput
from hypervisor.xen_version import XenVersion

OFFSET = XENCONS_INTERFACE.at(64).offset
MS = 1_000_000
MIB = 1 << 20


class Io:
    def __init__(self):
        self.printed = b""

    def log(self, text):
        pass

    def console(self, domid, data):
        self.printed += data

    def ended(self, domid, reason, detail):
        pass


class Guest:
    """Domain 1 with one vCPU, row 1, and what is typed to it in `steps`."""

    def __init__(self, *steps):
        shape = HostShape(2, 2, 4 * MIB)
        self.io = Io()
        self.hv = hv = Hypervisor(HostState(memoryview(mmap(-1, shape.size)), shape), VirtualClock(10**9),
                                  XenVersion("4.17"), Wallclock(0, 0), self.io)
        hv.consoles.typed = {1: TypedInput(steps)}
        hv.format()
        create_host_seat(hv)
        create_domain(hv, DomainSpec(1, GuestKind.PVH, 1024, 1, 1))
        start_domain(hv, 1)
        self.page = hv.memory.find(1, hv.params.get(1, HvmParam.CONSOLE_PFN))[0] << 12
        self.port = hv.params.get(1, HvmParam.CONSOLE_EVTCHN)
        hv.sched.start(1)

    def index(self, name, value=None):
        words, at = self.hv.arena.u32, self.page + OFFSET[name] >> 2
        if value is not None:
            words[at] = value
        return words[at]

    def print(self, text, *, send=True):
        prod = self.index("out_prod")
        for at, byte in enumerate(text):
            self.hv.arena.u8[self.page + OFFSET["out"] + (prod + at) % 2048] = byte
        self.index("out_prod", prod + len(text))
        if send:
            self.hv.events.send(1, self.port)

    def read(self):
        cons, prod = self.index("in_cons"), self.index("in_prod")
        self.index("in_cons", prod)
        return bytes(self.hv.arena.u8[self.page + OFFSET["in"] + at % 1024] for at in range(cons, prod))

    def at(self, time):
        self.hv.vcpus.local_time[1] = time

    @property
    def pending(self):
        return self.hv.events.is_pending(1, self.port)


def test_the_answer_to_a_prompt_is_there_when_the_hypercall_returns():
    guest = Guest(InputStep("> ", b"ls\n"))
    guest.print(b"> ")
    assert guest.pending
    assert guest.read() == b"ls\n"


def test_a_guest_that_does_not_say_that_it_printed_is_looked_at_after_its_slice():
    guest = Guest(InputStep("> ", b"ls\n"))
    guest.print(b"> ", send=False)
    assert guest.read() == b""
    guest.hv.sched.preempt(1)
    guest.hv.poll_console(1)
    assert guest.read() == b"ls\n"


def test_a_guest_that_yields_is_looked_at_too():
    guest = Guest(InputStep("> ", b"ls\n"))
    guest.print(b"> ", send=False)
    caller = SimpleNamespace(domid=1, vcpu=1, width=64)
    assert sched_op(guest.hv, caller, SchedOp.yield_, 0) == 0
    assert guest.read() == b"ls\n"


@pytest.mark.parametrize("poll", [False, True], ids=["blocked", "polling"])
def test_a_sleeping_guest_is_woken_at_the_time(poll):
    guest = Guest(InputStep("> ", b"ls\n", 20 * MS))
    sched = guest.hv.sched
    guest.at(3 * MS)
    guest.print(b"> ")
    assert guest.read() == b""
    if poll:
        sched.poll(1, guest.port)
    else:
        sched.block(1)
    guest.hv.arena.u8[guest.hv.vcpus.info[1]] = 0  # upcalls that came before have been taken
    guest.hv.arena.u64[guest.hv.domains.shared_info[1] + 2048 >> 3] = 0
    assert (sched.pick(), guest.hv.vcpus.due[1]) == (1, 23 * MS)
    sched.fire_timers(1)
    assert guest.read() == b"ls\n"
    assert guest.pending


def test_what_is_typed_first_needs_no_output():
    guest = Guest(InputStep(None, b"x", 1 * MS))
    assert guest.hv.sched.slice_end == 1 * MS
    guest.at(1 * MS + 10)
    guest.hv.sched.preempt(1)
    guest.hv.sched.start(1)
    assert guest.read() == b"x"
    assert guest.hv.vcpus.runstate[1] == RunState.RUNNING


def test_the_rest_of_a_long_line_comes_when_the_guest_has_read():
    text = bytes(range(33, 127)) * 30
    guest = Guest(InputStep(None, text), InputStep("done", b"!"))
    guest.hv.poll_console(1)
    received = guest.read()
    assert len(received) == 1024
    while len(received) < len(text):
        guest.hv.events.send(1, guest.port)
        received += guest.read()
    assert received == text
    guest.print(b"done")
    assert guest.read() == b"!"


def test_a_domain_that_shut_down_is_not_typed_to_and_what_it_printed_last_counts():
    guest = Guest(InputStep("bye"), InputStep(None, b"x"))
    guest.print(b"bye", send=False)
    guest.hv.sched.shutdown(1, 0)
    guest.hv.reap()
    assert guest.io.printed == b"bye"
    assert guest.hv.consoles.typed[1].unfinished() == "input[1] has typed 0 of 1 bytes"
