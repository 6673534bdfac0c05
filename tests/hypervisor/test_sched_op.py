import pytest
from sched_host import BASE, END, Caller, SchedHost, errno_of, schedule

from abi.sched import (
    SCHED_PIN_OVERRIDE,
    SCHED_POLL,
    SCHED_REMOTE_SHUTDOWN,
    SCHED_SHUTDOWN,
    SCHED_WATCHDOG,
    SchedOp,
    ShutdownReason,
)
from abi.types import NEVER
from abi.x86_64 import HYPERVISOR_VIRT_START
from hypervisor.sched_op import sched_op, sched_op_compat
from hypervisor.tables import DomainState, GuestKind, RunState

PORTS = BASE + 0x800
NOWHERE = END


@pytest.fixture(params=[64, 32])
def host(request):
    return SchedHost(2, 1, width=request.param)


def state(host, row=0):
    return RunState(host.vcpus.runstate[row]).name


def poll(host, *ports, timeout=0, nr_ports=None, address=PORTS):
    if address == PORTS:
        host.caller.memory.write(PORTS, b"".join(port.to_bytes(4, "little") for port in ports))
    arg = host.caller.pass_struct(SCHED_POLL, address, len(ports) if nr_ports is None else nr_ports, timeout)
    return sched_op(host, host.caller, SchedOp.poll, arg)


# Yield and block.


def test_yield_lets_another_vcpu_run(host):
    assert sched_op(host, host.caller, SchedOp.yield_, 0) == 0
    assert state(host) == "RUNNABLE"
    assert host.sched.pick() == 1


def test_the_argument_of_yield_and_block_is_not_looked_at(host):
    assert sched_op(host, host.caller, SchedOp.yield_, NOWHERE) == 0
    host.run(schedule(host.sched))
    assert sched_op(host, Caller(vcpu=1), SchedOp.block, NOWHERE) == 0
    assert state(host, 1) == "BLOCKED"


def test_only_the_low_half_of_the_operation_counts(host):
    assert sched_op(host, host.caller, 0xABCD00000000 | SchedOp.block, 0) == 0
    assert state(host) == "BLOCKED"


def test_block_opens_the_upcall_mask(host):
    mask = host.vcpus.info[0] + 1
    host.arena.u8[mask] = 1
    sched_op(host, host.caller, SchedOp.block, 0)
    assert host.arena.u8[mask] == 0


def test_block_returns_when_an_event_is_there(host):
    host.caller.deliverable = True
    assert sched_op(host, host.caller, SchedOp.block, 0) == 0
    assert state(host) == "RUNNING"


def test_a_vcpu_without_a_vcpu_info_can_block(host):
    host.vcpus.info[0] = 0
    host.arena.u8[1] = 7
    assert sched_op(host, host.caller, SchedOp.block, 0) == 0
    assert host.arena.u8[1] == 7


# Poll.


def test_a_poll_of_one_port_waits_for_that_port(host):
    assert poll(host, 5) == 0
    assert (state(host), host.vcpus.poll_port[0], host.vcpus.poll_deadline[0]) == ("BLOCKED", 5, NEVER)


def test_a_poll_of_several_ports_waits_for_any_event(host):
    assert poll(host, 5, 6, timeout=1 << 40) == 0
    assert (state(host), host.vcpus.poll_port[0], host.vcpus.poll_deadline[0]) == ("BLOCKED", -1, 1 << 40)


def test_a_poll_of_nothing_waits_for_its_deadline(host):
    assert poll(host, timeout=77) == 0
    assert (host.vcpus.poll_port[0], host.vcpus.due[0]) == (-1, 77)


def test_a_poll_of_port_0_is_like_one_of_several(host):
    assert poll(host, 0) == 0
    assert host.vcpus.poll_port[0] == -1


def test_a_poll_returns_when_a_port_is_pending(host):
    host.events.pending.add(6)
    assert poll(host, 5, 6, 63) == 0
    assert state(host) == "RUNNING"
    assert host.vcpus.poll_port[0] == 0


def test_a_poll_returns_when_an_upcall_is_due_whatever_the_ports_are(host):
    host.caller.deliverable = True
    assert poll(host, 64) == 0
    assert state(host) == "RUNNING"


def test_a_pending_port_hides_those_behind_it(host):
    host.events.pending.add(6)
    assert poll(host, 6, 64) == 0
    assert errno_of(poll, host, 64, 6) == "EINVAL"


def test_a_port_that_does_not_exist_is_refused(host):
    assert errno_of(poll, host, 64) == "EINVAL"
    assert state(host) == "RUNNING"


def test_at_most_128_ports_can_be_polled(host):
    host.events.pending.add(1)
    assert poll(host, *[1] * 128) == 0
    assert errno_of(poll, host, nr_ports=129, address=NOWHERE) == "EINVAL"


def test_ports_that_cannot_be_read_are_a_fault_once_it_comes_to_them(host):
    assert errno_of(poll, host, nr_ports=1, address=NOWHERE) == "EFAULT"
    host.events.pending.add(3)
    host.caller.memory.write(END - 4, (3).to_bytes(4, "little"))
    assert poll(host, nr_ports=2, address=END - 4) == 0
    host.events.pending.clear()
    assert errno_of(poll, host, nr_ports=2, address=END - 4) == "EFAULT"


def test_a_pv_guest_cannot_keep_its_ports_in_the_hypervisor(host):
    host.domains.kind[1] = GuestKind.PV
    host.caller.deliverable = True  # comes after the check
    address = HYPERVISOR_VIRT_START if host.caller.width == 64 else 0xFFFFFFF0
    assert errno_of(poll, host, nr_ports=1, address=address) == "EFAULT"
    assert poll(host, nr_ports=1, address=NOWHERE) == 0


def test_a_timeout_before_time_began_ends_the_poll_at_once(host):
    assert poll(host, 5, timeout=1 << 63) == 0
    assert schedule(host.sched) == 0


@pytest.mark.parametrize("operation", [SchedOp.poll, SchedOp.shutdown, SchedOp.shutdown_code, SchedOp.remote_shutdown,
                                       SchedOp.watchdog])
def test_an_argument_that_cannot_be_read_is_a_fault(host, operation):
    assert errno_of(sched_op, host, host.caller, operation, NOWHERE) == "EFAULT"


# Shutdown.


def shutdown(host, reason, operation=SchedOp.shutdown):
    return sched_op(host, host.caller, operation, host.caller.pass_struct(SCHED_SHUTDOWN, reason))


@pytest.mark.parametrize(("reason", "code"), [(ShutdownReason.poweroff, 0), (ShutdownReason.crash, 3), (77, 77),
                                              (0x1234, 0x34)])
def test_a_domain_shuts_itself_down_for_a_reason_of_one_byte(host, reason, code):
    assert shutdown(host, reason) == 0
    assert host.ended == [(1, code)]
    assert host.domains.state[1] == DomainState.SHUTDOWN


def test_a_code_latched_before_is_the_one_reported(host):
    assert shutdown(host, ShutdownReason.suspend, SchedOp.shutdown_code) == 0
    assert host.domains.state[1] == DomainState.RUNNING
    shutdown(host, ShutdownReason.poweroff)
    assert host.ended == [(1, ShutdownReason.suspend)]


def remote_shutdown(host, domid, reason=ShutdownReason.reboot):
    return sched_op(host, host.caller, SchedOp.remote_shutdown,
                    host.caller.pass_struct(SCHED_REMOTE_SHUTDOWN, domid, reason))


def test_a_privileged_domain_shuts_others_down(host):
    host.domains.privileged[1] = 1
    assert remote_shutdown(host, 2) == 0
    assert host.ended == [(2, ShutdownReason.reboot)]


def test_nobody_else_does_not_even_for_itself(host):
    assert errno_of(remote_shutdown, host, 2) == "EPERM"
    assert errno_of(remote_shutdown, host, 1) == "EPERM"


@pytest.mark.parametrize("domid", [3, 0x7FF0, 0xFFFF])
def test_a_domain_that_does_not_exist_cannot_be_shut_down(host, domid):
    assert errno_of(remote_shutdown, host, domid) == "ESRCH"


def test_a_dead_domain_cannot_be_shut_down(host):
    host.domains.state[2] = DomainState.DEAD
    assert errno_of(remote_shutdown, host, 2) == "ESRCH"


# Watchdogs and pinning.


def watchdog(host, number, timeout):
    return sched_op(host, host.caller, SchedOp.watchdog, host.caller.pass_struct(SCHED_WATCHDOG, number, timeout))


def test_a_domain_has_two_watchdogs(host):
    assert watchdog(host, 0, 10) == 1
    assert watchdog(host, 0, 20) == 2
    assert errno_of(watchdog, host, 0, 30) == "ENOSPC"
    assert watchdog(host, 1, 0) == 0
    assert watchdog(host, 0, 5) == 1
    assert host.watchdogs.earliest[1] == 5_000_000_000


def test_a_watchdog_that_is_not_in_use_cannot_be_set_again(host):
    assert errno_of(watchdog, host, 1, 10) == "EINVAL"
    assert errno_of(watchdog, host, 3, 10) == "EINVAL"


def test_a_watchdog_that_is_destroyed_does_not_fire(host):
    watchdog(host, 0, 1)
    watchdog(host, 1, 0)
    assert host.watchdogs.earliest[1] == 0
    host.sched.block(0)
    assert host.vcpus.due[0] == NEVER


def test_a_watchdog_is_set_again(host):
    watchdog(host, 0, 1)
    host.work(500)
    assert watchdog(host, 1, 3) == 0
    assert host.watchdogs.earliest[1] == 3_000_000_500


def test_only_the_hardware_domain_pins_itself(host):
    arg = host.caller.pass_struct(SCHED_PIN_OVERRIDE, 0)
    assert errno_of(sched_op, host, host.caller, SchedOp.pin_override, arg) == "EPERM"
    assert errno_of(sched_op, host, Caller(domid=0), SchedOp.pin_override, arg) == "ENOSYS"


def test_an_operation_that_does_not_exist_is_said_by_number(host):
    assert errno_of(sched_op, host, host.caller, 8, 0) == "ENOSYS"
    assert "sched_op/8" in host.said[0]


# The old number.


def test_the_old_number_yields_blocks_and_shuts_down(host):
    assert sched_op_compat(host, host.caller, SchedOp.yield_, NOWHERE) == 0
    assert state(host) == "RUNNABLE"
    host.run(0)
    assert sched_op_compat(host, host.caller, SchedOp.block, NOWHERE) == 0
    assert state(host) == "BLOCKED"
    assert sched_op_compat(host, host.caller, SchedOp.shutdown, ShutdownReason.crash) == 0
    assert host.ended == [(1, ShutdownReason.crash)]


def test_the_old_number_does_nothing_else(host):
    assert errno_of(sched_op_compat, host, host.caller, SchedOp.poll, 0) == "ENOSYS"
