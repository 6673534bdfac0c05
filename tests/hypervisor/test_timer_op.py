import pytest
from sched_host import SchedHost

from abi.types import NEVER
from hypervisor.timer_op import HUGE, MODERATE, set_timer_op

NOW = 1_000


@pytest.fixture
def host():
    host = SchedHost(1)
    host.work(NOW)
    return host


def test_a_deadline_arms_the_timer(host):
    assert set_timer_op(host, host.caller, 5_000) == 0
    assert host.vcpus.singleshot[0] == 5_000
    assert host.ticks == []


def test_zero_stops_it(host):
    set_timer_op(host, host.caller, 5_000)
    assert set_timer_op(host, host.caller, 0) == 0
    assert host.vcpus.singleshot[0] == NEVER
    assert host.ticks == []


@pytest.mark.parametrize("deadline", [1, NOW - 1, NOW])
def test_a_deadline_in_the_past_fires_at_once(host, deadline):
    assert set_timer_op(host, host.caller, deadline) == 0
    assert host.ticks == [0]
    assert host.vcpus.singleshot[0] == NEVER


@pytest.mark.parametrize("deadline", [NOW + HUGE, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_deadline_that_makes_no_sense_fires_soon(host, deadline):
    assert set_timer_op(host, host.caller, deadline) == 0
    assert host.vcpus.singleshot[0] == NOW + MODERATE


def test_the_last_deadline_that_makes_sense_is_kept(host):
    set_timer_op(host, host.caller, NOW + HUGE - 1)
    assert host.vcpus.singleshot[0] == NOW + HUGE - 1


def test_32_bit_callers_pass_two_halves(host):
    host.caller.width = 32
    assert set_timer_op(host, host.caller, 0x89ABCDEF, 0x123) == 0
    assert host.vcpus.singleshot[0] == 0x12389ABCDEF
