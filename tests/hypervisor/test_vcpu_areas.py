import pytest
from sched_host import BASE, END, SchedHost

from abi.vcpu import VCPU_RUNSTATE_INFO, XEN_RUNSTATE_UPDATE
from abi.xen import VCPU_TIME_INFO, VmAssist
from clock.time_info import REFRESH
from hypervisor.tables import RunState
from hypervisor.vcpu_areas import update_areas

TIME, RUNSTATE = BASE + 0x100, BASE + 0x200


@pytest.fixture(params=[64, 32])
def host(request):
    host = SchedHost(2, width=request.param)
    host.vcpus.time_area[0], host.vcpus.runstate_area[0] = TIME, RUNSTATE
    host.vcpus.runstate_width[0] = request.param
    return host


def writes(host):
    """Where was written since the last time."""
    done, host.caller.memory.writes = host.caller.memory.writes, []
    return done


def runstate(host):
    shape = VCPU_RUNSTATE_INFO.at(host.caller.width)
    return shape.named(host.caller.memory.read(RUNSTATE, shape.size))


def test_run_states_are_told_whenever_the_vcpu_starts(host):
    host.work(700)
    host.sched.preempt(0)
    host.run(1, until=2_000)
    host.sched.block(1)
    host.run(0)
    update_areas(host, host.caller)
    assert runstate(host) == (RunState.RUNNING, 700, 700, 0, 0, 0)


def test_the_time_is_renewed_when_it_is_old_with_its_copy(host):
    update_areas(host, host.caller)
    shape = VCPU_TIME_INFO.at(host.caller.width)
    first = shape.named(host.caller.memory.read(TIME, shape.size))
    assert first.version == 2
    writes(host)
    host.work(REFRESH - 1)
    update_areas(host, host.caller)
    assert all(address < TIME or address >= TIME + shape.size for address, _ in writes(host))
    host.work(REFRESH)
    update_areas(host, host.caller)
    copy = host.caller.memory.read(TIME, shape.size)
    assert shape.named(copy).system_time == REFRESH
    assert copy == host.arena.read(host.vcpus.info[0] + 32, shape.size)


def test_the_copys_version_is_odd_while_it_changes(host):
    update_areas(host, host.caller)
    versions = [int.from_bytes(data[:4], "little") for address, data in writes(host) if address == TIME]
    assert [version % 2 for version in versions] == [1, 1, 0]
    assert versions[2] == int.from_bytes(host.arena.read(host.vcpus.info[0] + 32, 4), "little")


def test_without_the_assist_run_states_are_written_in_one_go(host):
    update_areas(host, host.caller)
    shape = VCPU_RUNSTATE_INFO.at(host.caller.width)
    assert [(address, len(data)) for address, data in writes(host) if address >= RUNSTATE] == [(RUNSTATE, shape.size)]


def test_with_the_assist_a_flag_is_up_while_they_change(host):
    host.assists.bits[1] = 1 << VmAssist.runstate_update_flag
    host.work(300)
    update_areas(host, host.caller)
    shape = VCPU_RUNSTATE_INFO.at(host.caller.width)
    top = RUNSTATE + shape.offset["state_entry_time"] + 7
    before, during, after = [entry for entry in writes(host) if entry[0] >= RUNSTATE]
    assert before == (top, b"\x80")
    assert shape.named(during[1]).state_entry_time == XEN_RUNSTATE_UPDATE
    assert after == (top, b"\0")
    assert runstate(host) == (RunState.RUNNING, 0, 300, 0, 0, 0)


def test_areas_that_lead_nowhere_are_left_alone(host):
    host.vcpus.time_area[0] = host.vcpus.runstate_area[0] = END
    update_areas(host, host.caller)
    assert writes(host) == []


def test_a_vcpu_that_registered_nothing_costs_nothing(host):
    host.vcpus.time_area[0] = host.vcpus.runstate_area[0] = host.vcpus.info[0] = 0
    update_areas(host, host.caller)
    assert writes(host) == []
