import pytest
from sched_host import BASE, END, Caller, SchedHost, errno_of

from abi.errno import Errno, XenError
from abi.sched import ShutdownReason
from abi.types import NEVER
from abi.vcpu import (
    VCPU_REGISTER_VCPU_INFO,
    VCPU_RUNSTATE_INFO,
    VCPU_SET_PERIODIC_TIMER,
    VCPU_SET_SINGLESHOT_TIMER,
    VCPU_SSHOTTMR_future,
    VcpuOp,
)
from abi.x86_64 import HYPERVISOR_VIRT_START
from abi.xen import VCPU_TIME_INFO
from hypervisor.tables import GuestKind, RunState
from hypervisor.vcpu_op import STIME_DELTA_MAX, vcpu_op

NOW = 2_000
AREA = BASE + 0x100
NOWHERE = END


@pytest.fixture(params=[64, 32])
def host(request):
    host = SchedHost(3, width=request.param)
    host.work(NOW)
    return host


def op(host, cmd, vcpu_id=0, arg=0):
    return vcpu_op(host, host.caller, cmd, vcpu_id, arg)


def structure(host, layout, address):
    shape = layout.at(host.caller.width)
    return shape.named(host.caller.memory.read(address, shape.size))


def test_a_vcpu_that_the_domain_does_not_have_comes_before_all_else(host):
    assert errno_of(op, host, 99, 3) == "ENOENT"
    assert errno_of(op, host, VcpuOp.is_up, 0xFFFFFFFF) == "ENOENT"


def test_an_operation_that_does_not_exist_is_said_by_number(host):
    assert errno_of(op, host, 14) == "ENOSYS"
    assert "vcpu_op/14" in host.said[0]


# Up and down.


def test_a_vcpu_goes_down_and_comes_up(host):
    assert op(host, VcpuOp.is_up, 1) == 1
    assert op(host, VcpuOp.down, 1) == 0
    assert op(host, VcpuOp.is_up, 1) == 0
    assert op(host, VcpuOp.up, 1) == 0
    assert op(host, VcpuOp.is_up, 1) == 1
    assert host.vcpus.due[1] == NOW


def test_bringing_up_what_is_up_changes_nothing(host):
    before = host.vcpus.due[1]
    assert op(host, VcpuOp.up, 1) == 0
    assert host.vcpus.due[1] == before


def test_a_vcpu_without_a_context_cannot_come_up(host):
    host.vcpus.initialised[2] = 0
    assert errno_of(op, host, VcpuOp.up, 2) == "EINVAL"


def test_the_last_vcpu_to_go_down_powers_the_domain_off(host):
    op(host, VcpuOp.down, 1)
    op(host, VcpuOp.down, 2)
    assert host.ended == []
    assert op(host, VcpuOp.down, 0) == 0
    assert host.ended == [(1, ShutdownReason.poweroff)]


def test_initialise_is_the_engines_affair(host):
    assert errno_of(op, host, VcpuOp.initialise, 1, BASE) == "ENOSYS"
    given = []
    host.initialise_vcpu[1] = lambda call, row, arg: given.append((call.domid, row, arg))
    host.vcpus.initialised[1] = 0
    assert op(host, VcpuOp.initialise, 1, BASE) == 0
    assert given == [(1, 1, BASE)]
    assert host.vcpus.initialised[1] == 1


def test_a_context_that_is_refused_does_not_count(host):
    def refuse(call, row, arg):
        raise XenError(Errno.EEXIST)

    host.initialise_vcpu[1] = refuse
    host.vcpus.initialised[1] = 0
    assert errno_of(op, host, VcpuOp.initialise, 1, BASE) == "EEXIST"
    assert host.vcpus.initialised[1] == 0


def test_a_vcpu_needs_a_vcpu_info_before_a_context(host):
    host.vcpus.info[1] = 0
    assert errno_of(op, host, VcpuOp.initialise, 1, BASE) == "EINVAL"


# Timers.


def singleshot(host, deadline, flags=0, vcpu_id=0):
    arg = host.caller.pass_struct(VCPU_SET_SINGLESHOT_TIMER, deadline, flags)
    return op(host, VcpuOp.set_singleshot_timer, vcpu_id, arg)


def test_the_singleshot_timer_is_set_and_stopped(host):
    assert singleshot(host, 9_000) == 0
    assert host.vcpus.singleshot[0] == 9_000
    assert op(host, VcpuOp.stop_singleshot_timer, 0, NOWHERE) == 0
    assert host.vcpus.singleshot[0] == NEVER
    assert host.ticks == []


@pytest.mark.parametrize("deadline", [0, NOW - 1, 1 << 63, (1 << 64) - 1])
def test_a_deadline_in_the_past_fires_at_once(host, deadline):
    assert singleshot(host, deadline) == 0
    assert host.ticks == [0]


def test_a_guest_that_wants_the_future_is_told_that_it_is_past(host):
    assert errno_of(singleshot, host, NOW - 1, VCPU_SSHOTTMR_future) == "ETIME"
    assert host.ticks == []
    assert singleshot(host, NOW, VCPU_SSHOTTMR_future) == 0
    assert host.ticks == [0]


def test_the_singleshot_timer_of_another_vcpu_is_its_own(host):
    assert errno_of(singleshot, host, 9_000, vcpu_id=1) == "EINVAL"
    assert errno_of(op, host, VcpuOp.stop_singleshot_timer, 1) == "EINVAL"


def test_what_comes_first_for_another_vcpus_timer_depends_on_the_width(host):
    expected = "EINVAL" if host.caller.width == 64 else "EFAULT"
    assert errno_of(op, host, VcpuOp.set_singleshot_timer, 1, NOWHERE) == expected


def periodic(host, period, vcpu_id=0):
    return op(host, VcpuOp.set_periodic_timer, vcpu_id, host.caller.pass_struct(VCPU_SET_PERIODIC_TIMER, period))


def test_the_periodic_timer_of_any_vcpu_is_set_and_stopped(host):
    assert periodic(host, 1_000_000, vcpu_id=1) == 0
    assert (host.vcpus.periodic_period[1], host.vcpus.periodic_next[1]) == (1_000_000, NOW + 1_000_000)
    assert op(host, VcpuOp.stop_periodic_timer, 1, NOWHERE) == 0
    assert (host.vcpus.periodic_period[1], host.vcpus.periodic_next[1]) == (0, NEVER)


@pytest.mark.parametrize("period", [0, 999_999, STIME_DELTA_MAX + 1])
def test_a_period_below_a_millisecond_or_beyond_time_is_refused(host, period):
    assert errno_of(periodic, host, period) == "EINVAL"


@pytest.mark.parametrize("cmd", [VcpuOp.set_periodic_timer, VcpuOp.set_singleshot_timer, VcpuOp.register_vcpu_info,
                                 VcpuOp.register_runstate_memory_area, VcpuOp.register_vcpu_time_memory_area,
                                 VcpuOp.get_runstate_info])
def test_an_argument_out_of_reach_is_a_fault(host, cmd):
    assert errno_of(op, host, cmd, 0, NOWHERE) == "EFAULT"


# Run states and areas.


def test_run_states_are_told_of_any_vcpu(host):
    assert op(host, VcpuOp.get_runstate_info, 0, AREA) == 0
    assert structure(host, VCPU_RUNSTATE_INFO, AREA) == (RunState.RUNNING, 0, NOW, 0, 0, 0)
    op(host, VcpuOp.get_runstate_info, 1, AREA)
    assert structure(host, VCPU_RUNSTATE_INFO, AREA) == (RunState.RUNNABLE, 0, 0, NOW, 0, 0)


def register(host, cmd, address, vcpu_id=0):
    width = host.caller.width
    host.caller.memory.write(BASE, address.to_bytes(8, "little")[:width // 8] + b"\xee" * 8)
    return op(host, cmd, vcpu_id, BASE)


def test_a_runstate_area_is_filled_at_once_and_remembered(host):
    assert register(host, VcpuOp.register_runstate_memory_area, AREA) == 0
    assert (host.vcpus.runstate_area[0], host.vcpus.runstate_width[0]) == (AREA, host.caller.width)
    assert structure(host, VCPU_RUNSTATE_INFO, AREA).state == RunState.RUNNING


def test_an_area_that_leads_nowhere_is_no_error(host):
    assert register(host, VcpuOp.register_runstate_memory_area, NOWHERE) == 0
    assert register(host, VcpuOp.register_vcpu_time_memory_area, NOWHERE) == 0


def test_address_0_withdraws_an_area(host):
    register(host, VcpuOp.register_runstate_memory_area, AREA)
    assert register(host, VcpuOp.register_runstate_memory_area, 0) == 0
    assert host.vcpus.runstate_area[0] == 0


@pytest.mark.parametrize("cmd", [VcpuOp.register_runstate_memory_area, VcpuOp.register_vcpu_time_memory_area])
def test_a_pv_guest_cannot_put_an_area_into_the_hypervisor(host, cmd):
    host.domains.kind[1] = GuestKind.PV
    address = HYPERVISOR_VIRT_START if host.caller.width == 64 else 0xF57FFFF0
    assert errno_of(register, host, cmd, address) == "EFAULT"


def test_a_time_area_is_a_copy_of_the_master(host):
    assert register(host, VcpuOp.register_vcpu_time_memory_area, AREA) == 0
    assert host.vcpus.time_area[0] == AREA
    size = VCPU_TIME_INFO.at(64).size
    assert host.caller.memory.read(AREA, size) == host.arena.read(host.vcpus.info[0] + 32, size)
    assert structure(host, VCPU_TIME_INFO, AREA).system_time == NOW


# Where vcpu_info is.


def register_info(host, gfn, offset, vcpu_id=0):
    arg = host.caller.pass_struct(VCPU_REGISTER_VCPU_INFO, gfn, offset, 0)
    return op(host, VcpuOp.register_vcpu_info, vcpu_id, arg)


def test_a_vcpu_info_moves_with_its_contents(host):
    host.arena.write(host.vcpus.info[0], bytes(range(32)))
    assert register_info(host, 2, 0x340) == 0
    assert host.vcpus.info[0] == 0xA340
    assert host.arena.read(0xA340, 32) == bytes(range(32))
    assert host.events.moved == [0]
    assert host.memory.references == [10]


def test_the_clock_is_right_in_the_new_place(host):
    register_info(host, 2, 0x340)
    shape = VCPU_TIME_INFO.at(host.caller.width)
    assert shape.named(host.arena.read(0xA340 + 32, shape.size)).system_time == NOW


def test_a_vcpu_without_one_gets_an_empty_one_with_upcalls_masked(host):
    op(host, VcpuOp.down, 2)
    host.vcpus.info[2] = 0
    host.arena.write(0xA340, b"\xff" * 64)
    assert register_info(host, 2, 0x340, vcpu_id=2) == 0
    assert host.arena.read(0xA340, 32) == b"\0\1" + bytes(30)


def test_a_vcpu_info_moves_once(host):
    register_info(host, 1, 0)
    assert errno_of(register_info, host, 2, 0) == "EINVAL"
    assert host.vcpus.info[0] == 0x9000


def test_the_vcpu_info_of_another_vcpu_moves_while_it_is_down(host):
    assert errno_of(register_info, host, 1, 0, vcpu_id=1) == "EINVAL"
    op(host, VcpuOp.down, 1)
    assert register_info(host, 1, 0, vcpu_id=1) == 0


def test_a_vcpu_info_must_fit_its_page_and_be_aligned(host):
    assert errno_of(register_info, host, 1, 4096 - 63) == "EINVAL"
    assert errno_of(register_info, host, 1, 2) == "EINVAL"
    assert (errno_of(register_info, host, 1, 4) == "EINVAL") if host.caller.width == 64 else (
        register_info(host, 1, 4) == 0)


@pytest.mark.parametrize("gfn", [4, 6, 1 << 40])
def test_a_vcpu_info_needs_memory_of_the_domains_own(host, gfn):
    assert errno_of(register_info, host, gfn, 0) == "EINVAL"
    assert host.vcpus.info[0] == 0x1000


def test_read_only_memory_will_do(host):
    assert register_info(host, 5, 4096 - 64) == 0


# The rest.


def test_an_nmi_is_the_engines_affair(host):
    assert errno_of(op, host, VcpuOp.send_nmi, 1, BASE) == "EINVAL"
    assert errno_of(op, host, VcpuOp.send_nmi, 1) == "ENOSYS"
    sent = []
    host.send_nmi = sent.append
    assert errno_of(op, host, VcpuOp.send_nmi, 1) == "ENOSYS", "no NMI comes to a PVH guest"
    host.domains.kind[1] = GuestKind.PV
    assert op(host, VcpuOp.send_nmi, 1) == 0
    assert sent == [1]


def test_no_guest_learns_a_physical_id(host):
    assert errno_of(op, host, VcpuOp.get_physid, 0, NOWHERE) == "EINVAL"


def test_vcpus_are_those_of_the_callers_domain():
    host = SchedHost(1, 2)
    caller = Caller(domid=2, vcpu=1)
    assert vcpu_op(host, caller, VcpuOp.down, 1, 0) == 0
    assert not host.sched.is_up(2)
