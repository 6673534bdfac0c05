import pytest
from sched_host import QUANTUM, Machine, schedule

from abi.sched import ShutdownReason
from abi.types import NEVER
from hypervisor.sched import MAX_SLICE, SHUTDOWN_CODE_INVALID, Scheduler
from hypervisor.tables import DomainState, RunState


def state(machine, row):
    return RunState(machine.vcpus.runstate[row]).name


# Whose turn it is.


def test_the_vcpu_that_is_furthest_behind_comes_next():
    machine = Machine(1, 1, 1)
    machine.run(0, until=500)
    machine.sched.preempt(0)
    machine.run(1, until=300)
    machine.sched.preempt(1)
    assert machine.sched.pick() == 2
    machine.run(2, until=400)
    machine.sched.preempt(2)
    assert machine.sched.pick() == 1


def test_of_vcpus_with_the_same_time_the_lowest_row_comes_next():
    assert Machine(1, 1, 1).sched.pick() == 0


def test_nobody_comes_next_when_all_wait_for_ever():
    machine = Machine(1, 1)
    for row in (0, 1):
        machine.run(row)
        machine.sched.block(row)
    assert machine.sched.pick() is None
    assert schedule(machine.sched) is None


def test_the_rows_of_vcpus_that_do_not_exist_are_never_picked():
    machine = Machine(1)
    tables = Machine(3)
    sched = Scheduler(tables.domains, tables.vcpus, QUANTUM)
    sched.format()
    assert sched.pick() is None
    assert machine.sched.pick() == 0


def test_a_group_knows_only_its_own_vcpus():
    machine = Machine(1, 1, 1, 1)
    odd = machine.attach(rows=[1, 3])
    assert odd.pick() == 1
    odd.start(1)
    assert odd.pick() == 3
    odd.block(1)
    odd.start(3)
    odd.block(3)
    assert odd.pick() is None
    assert machine.attach(rows=[0, 2]).pick() == 0
    odd.set_group([0, 1, 3])
    assert odd.pick() == 0


def test_an_empty_group_has_nobody():
    sched = Machine(1).attach(rows=[])
    assert sched.pick() is None
    assert schedule(sched) is None


# Slices.


def test_a_slice_ends_a_quantum_after_the_next_vcpu():
    machine = Machine(1, 1)
    machine.run(0)
    assert machine.sched.slice_end == QUANTUM
    machine.work(QUANTUM)
    machine.sched.preempt(0)
    machine.run(1)
    assert machine.sched.slice_end == 2 * QUANTUM


def test_a_vcpu_alone_runs_for_ten_milliseconds():
    machine = Machine(1)
    machine.run(0)
    assert machine.sched.slice_end == MAX_SLICE


def test_a_slice_ends_when_the_vcpus_own_timer_fires():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_singleshot(0, 700)
    assert machine.sched.slice_end == 700
    assert machine.sched.changed


def test_a_timer_later_than_the_slice_does_not_disturb_it():
    machine = Machine(1, 1)
    machine.run(0)
    machine.sched.set_singleshot(0, QUANTUM + 1)
    assert machine.sched.slice_end == QUANTUM
    assert not machine.sched.changed


def test_a_running_vcpu_is_nobodys_next():
    machine = Machine(1)
    machine.run(0, until=50)
    assert machine.sched.pick() is None
    machine.sched.preempt(0)
    assert machine.sched.pick() == 0
    assert machine.vcpus.due[0] == 50


def test_only_a_runnable_vcpu_can_be_started():
    machine = Machine(1)
    machine.run(0)
    machine.sched.block(0)
    with pytest.raises(ValueError, match="BLOCKED"):
        machine.sched.start(0)


# Blocking and waking.


def test_an_event_wakes_a_blocked_vcpu_at_the_senders_time():
    machine = Machine(1, 1)
    machine.run(1, until=100)
    machine.sched.block(1)
    machine.run(0, until=400)
    machine.sched.wake(1)
    assert (state(machine, 1), machine.vcpus.local_time[1], machine.vcpus.due[1]) == ("RUNNABLE", 400, 400)


def test_a_vcpu_that_is_ahead_is_woken_at_its_own_time():
    machine = Machine(1, 1)
    machine.run(1, until=900)
    machine.sched.block(1)
    machine.run(0, until=400)
    machine.sched.wake(1)
    assert machine.vcpus.due[1] == 900


def test_a_wake_up_shortens_the_senders_slice():
    machine = Machine(1, 1)
    machine.run(1)
    machine.sched.block(1)
    machine.run(0, until=100)
    assert machine.sched.slice_end == MAX_SLICE
    machine.sched.wake(1)
    assert machine.sched.slice_end == 100 + QUANTUM
    assert machine.sched.changed


def test_waking_a_vcpu_that_does_not_wait_changes_nothing():
    machine = Machine(1, 1)
    machine.run(0, until=100)
    for row in (0, 1):
        before = (state(machine, row), machine.vcpus.due[row], machine.vcpus.local_time[row])
        machine.sched.wake(row)
        assert (state(machine, row), machine.vcpus.due[row], machine.vcpus.local_time[row]) == before
    assert not machine.sched.changed


def test_a_vcpu_with_an_event_to_take_does_not_block():
    machine = Machine(1)
    machine.run(0)
    assert not machine.sched.block(0, deliverable=True)
    assert state(machine, 0) == "RUNNING"
    assert not machine.sched.changed


def test_a_vcpu_that_blocks_gives_the_baton_up():
    machine = Machine(1)
    machine.run(0)
    assert machine.sched.block(0)
    assert machine.sched.changed
    assert state(machine, 0) == "BLOCKED"


def test_when_all_wait_time_jumps_to_the_first_timer():
    machine = Machine(1, 1)
    machine.sched.timer_event = machine.sched.wake
    for row, deadline in ((0, 5_000_000_000), (1, 3_000_000_000)):
        machine.run(row)
        machine.sched.set_singleshot(row, deadline)
        machine.sched.block(row)
    assert schedule(machine.sched) == 1
    machine.run(1)
    assert machine.vcpus.local_time[1] == 3_000_000_000


def test_a_timer_whose_event_nobody_wants_leaves_the_vcpu_blocked():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_singleshot(0, 100)
    machine.sched.block(0)
    assert schedule(machine.sched) is None
    assert machine.ticks == [0]
    assert state(machine, 0) == "BLOCKED"


def test_a_runnable_vcpu_comes_before_a_later_timer():
    machine = Machine(1, 1)
    machine.sched.timer_event = machine.sched.wake
    machine.run(0)
    machine.sched.set_singleshot(0, 100)
    machine.sched.block(0)
    assert schedule(machine.sched) == 1
    machine.run(1, until=150)
    machine.sched.preempt(1)
    assert schedule(machine.sched) == 0
    assert machine.vcpus.due[0] == 100


# Polling.


def test_a_poll_ends_at_its_deadline():
    machine = Machine(1)
    machine.run(0)
    machine.sched.poll(0, 5, 800)
    assert schedule(machine.sched) == 0
    assert (machine.vcpus.due[0], machine.vcpus.poll_port[0], machine.vcpus.poll_deadline[0]) == (800, 0, NEVER)
    assert machine.ticks == []


def test_a_poll_ends_with_an_event():
    machine = Machine(1, 1)
    machine.run(0)
    machine.sched.poll(0, -1, 800)
    machine.run(1, until=300)
    machine.sched.wake(0)
    assert (machine.vcpus.due[0], machine.vcpus.poll_port[0], machine.vcpus.poll_deadline[0]) == (300, 0, NEVER)


def test_a_poll_whose_deadline_is_past_gives_the_others_a_look_only():
    machine = Machine(1)
    machine.run(0, until=500)
    machine.sched.poll(0, 1, 10)
    assert schedule(machine.sched) == 0
    assert machine.vcpus.due[0] == 500


# Yielding.


def test_who_yields_goes_just_behind_the_next_that_is_runnable():
    machine = Machine(1, 1)
    machine.run(1, until=600)
    machine.sched.preempt(1)
    machine.run(0, until=50)
    assert machine.sched.yield_(0)
    assert machine.sched.changed
    assert machine.vcpus.due[0] == 601
    assert machine.sched.pick() == 1


def test_of_equals_the_higher_row_needs_no_push():
    machine = Machine(1, 1)
    machine.run(0, until=600)
    machine.sched.preempt(0)
    machine.run(1, until=50)
    assert machine.sched.yield_(1)
    assert machine.vcpus.due[1] == 600
    assert machine.sched.pick() == 0


def test_who_is_behind_already_keeps_its_time():
    machine = Machine(1, 1)
    machine.run(0, until=700)
    assert machine.sched.yield_(0)
    assert machine.vcpus.due[0] == 700


def test_yielding_to_nobody_takes_no_time():
    machine = Machine(1, 1)
    machine.run(1)
    machine.sched.set_singleshot(1, 10_000)  # it waits, so it could not run now
    machine.sched.block(1)
    machine.run(0, until=50)
    assert not machine.sched.yield_(0)
    assert (state(machine, 0), machine.vcpus.local_time[0], machine.sched.changed) == ("RUNNING", 50, False)


def test_a_runnable_vcpu_behind_one_that_waits_for_a_timer_is_found():
    machine = Machine(1, 1, 1)
    machine.run(1)
    machine.sched.set_singleshot(1, 100)
    machine.sched.block(1)
    machine.run(2, until=400)
    machine.sched.preempt(2)
    machine.run(0, until=20)
    assert machine.sched.yield_(0)
    assert machine.vcpus.due[0] == 401


@pytest.mark.parametrize("count", [2, 3, 50])
def test_spinners_that_yield_take_turns(count):
    machine = Machine(*[1] * count)
    turns = []
    for _ in range(4 * count):
        row = schedule(machine.sched)
        turns.append(row)
        machine.run(row, until=machine.vcpus.due[row] + 4)
        assert machine.sched.yield_(row)
    assert turns == list(range(count)) * 4


# Timers.


def test_a_deadline_in_the_past_fires_at_once():
    machine = Machine(1)
    machine.run(0, until=100)
    machine.sched.set_singleshot(0, 100)
    assert machine.ticks == [0]
    assert machine.vcpus.singleshot[0] == NEVER


def test_a_timer_of_a_vcpu_that_runs_fires_when_it_starts_again():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_singleshot(0, 100)
    machine.work(machine.sched.slice_end)
    machine.sched.preempt(0)
    assert machine.ticks == []
    machine.run(schedule(machine.sched))
    assert machine.ticks == [0]


def test_the_periodic_timer_ticks_while_the_vcpu_runs():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_periodic(0, 1_000_000)
    for tick in range(1, 4):
        assert machine.sched.slice_end == tick * 1_000_000
        machine.work(machine.sched.slice_end)
        machine.sched.preempt(0)
        machine.run(schedule(machine.sched))
        assert len(machine.ticks) == tick


def test_the_periodic_timer_does_not_wake_a_blocked_vcpu_which_finds_one_tick():
    machine = Machine(1, 1)
    machine.run(0)
    machine.sched.set_periodic(0, 1_000_000)
    machine.sched.block(0)
    assert machine.vcpus.due[0] == NEVER
    machine.run(1, until=7_500_000)
    machine.sched.wake(0)
    machine.sched.block(1)
    machine.run(schedule(machine.sched))
    assert machine.ticks == [0]
    assert machine.sched.slice_end == 8_500_000


def test_the_periodic_timer_waits_for_the_vcpu_to_run_when_another_timer_wakes_it():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_periodic(0, 1_000_000)
    machine.sched.poll(0, 5, 3_000_000)
    assert schedule(machine.sched) == 0
    assert machine.ticks == []
    machine.run(0)
    assert machine.ticks == [0]


def test_a_stopped_timer_does_not_fire():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_singleshot(0, 100)
    machine.sched.set_periodic(0, 1_000_000)
    machine.sched.set_singleshot(0, NEVER)
    machine.sched.set_periodic(0, 0)
    machine.work(5_000_000)
    machine.sched.preempt(0)
    machine.run(0)
    assert machine.ticks == []
    assert machine.sched.slice_end == 5_000_000 + MAX_SLICE


def test_a_watchdog_is_a_timer_of_every_vcpu_also_of_one_that_waits():
    machine = Machine(2)
    machine.run(1)
    machine.sched.block(1)
    machine.run(0, until=10)
    machine.sched.set_watchdog(1, 0, 1)
    assert machine.vcpus.due[1] == 1_000_000_010


def test_a_vcpu_that_comes_up_shortens_the_slice_of_the_one_that_runs():
    machine = Machine(2)
    machine.sched.down(1)
    machine.run(0, until=100)
    assert machine.sched.slice_end == MAX_SLICE
    machine.sched.up(1)
    assert machine.sched.slice_end == 100 + QUANTUM
    assert machine.sched.changed


def test_nobody_makes_a_slice_longer():
    machine = Machine(2)
    machine.sched.down(1)
    machine.run(0, until=100)
    machine.sched.set_singleshot(0, 150)
    machine.sched.up(1)
    assert machine.sched.slice_end == 150


# Down, up, paused, shut down.


def test_a_vcpu_that_is_down_never_runs():
    machine = Machine(2)
    machine.run(0, until=100)
    machine.sched.down(1)
    assert (machine.sched.is_up(1), state(machine, 1), machine.vcpus.due[1]) == (False, "OFFLINE", NEVER)
    machine.work(250)
    machine.sched.up(1)
    assert (machine.sched.is_up(1), state(machine, 1), machine.vcpus.due[1]) == (True, "RUNNABLE", 250)


def test_a_vcpu_can_take_itself_down():
    machine = Machine(2)
    machine.run(0, until=100)
    machine.sched.down(0)
    assert machine.sched.changed
    assert state(machine, 0) == "OFFLINE"
    assert schedule(machine.sched) == 1


def test_when_the_last_vcpu_goes_down_the_domain_powers_off():
    machine = Machine(2, 1)
    machine.run(0)
    machine.sched.down(1)
    assert machine.ended == []
    machine.sched.down(0)
    assert machine.ended == [(1, ShutdownReason.poweroff)]
    assert schedule(machine.sched) == 2


def test_a_blocked_vcpu_that_is_paused_stays_blocked_and_wakes_to_be_offline():
    machine = Machine(1, 1)
    machine.run(1)
    machine.sched.block(1)
    machine.sched.pause(1)
    assert state(machine, 1) == "BLOCKED"
    machine.run(0, until=100)
    machine.sched.wake(1)
    assert (state(machine, 1), machine.vcpus.due[1]) == ("OFFLINE", NEVER)
    machine.sched.unpause(1)
    assert (state(machine, 1), machine.vcpus.due[1]) == ("RUNNABLE", 100)


def test_a_timer_goes_on_for_a_vcpu_that_was_paused_while_blocked():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_singleshot(0, 5_000)
    machine.sched.block(0)
    machine.sched.pause(0)
    assert schedule(machine.sched) is None
    machine.sched.unpause(0)
    assert machine.vcpus.due[0] == 5_000


def test_pauses_are_counted():
    machine = Machine(1)
    for _ in range(63):
        machine.sched.pause(0)
    with pytest.raises(OverflowError):
        machine.sched.pause(0)
    for _ in range(63):
        assert machine.sched.pick() is None
        machine.sched.unpause(0)
    assert machine.sched.pick() == 0
    with pytest.raises(ValueError, match="not paused"):
        machine.sched.unpause(0)


def test_a_domain_that_shuts_down_stops_and_the_others_go_on():
    machine = Machine(2, 1)
    machine.run(0, until=10)
    machine.sched.shutdown(1, ShutdownReason.reboot)
    assert machine.sched.changed
    assert (machine.domains.state[1], machine.domains.shutdown_code[1]) == (DomainState.SHUTDOWN, ShutdownReason.reboot)
    assert machine.ended == [(1, ShutdownReason.reboot)]
    assert schedule(machine.sched) == 2
    machine.run(2)
    machine.sched.wake(0)
    machine.sched.block(2)
    assert schedule(machine.sched) is None


def test_only_the_first_shutdown_counts():
    machine = Machine(1)
    machine.sched.shutdown(1, ShutdownReason.crash)
    machine.sched.shutdown(1, ShutdownReason.poweroff)
    assert machine.ended == [(1, ShutdownReason.crash)]


def test_a_latched_code_wins():
    machine = Machine(1)
    assert machine.domains.shutdown_code[1] == SHUTDOWN_CODE_INVALID
    machine.sched.latch_shutdown_code(1, ShutdownReason.suspend)
    machine.sched.latch_shutdown_code(1, ShutdownReason.crash)
    machine.sched.shutdown(1, ShutdownReason.poweroff)
    assert machine.ended == [(1, ShutdownReason.suspend)]


def test_a_watchdog_that_nobody_sets_again_ends_its_domain():
    machine = Machine(1, 1)
    machine.run(0)
    assert machine.sched.set_watchdog(1, 0, 2) == 1
    machine.sched.block(0)
    machine.run(1, until=100)
    machine.sched.block(1)
    assert schedule(machine.sched) is None
    assert machine.ended == [(1, ShutdownReason.watchdog)]
    assert machine.vcpus.local_time[0] == 2_000_000_000


def test_a_watchdog_stops_a_vcpu_that_is_busy():
    machine = Machine(1)
    machine.run(0)
    machine.sched.set_watchdog(1, 0, 1)
    while not machine.ended:
        machine.work(machine.sched.slice_end)
        machine.sched.preempt(0)
        machine.run(schedule(machine.sched))
    assert machine.vcpus.local_time[0] == 1_000_000_000
    assert machine.sched.changed
    assert schedule(machine.sched) is None


# Accounts.


def test_run_states_add_up_to_the_time_since_boot():
    machine = Machine(1, 1)
    machine.run(0, until=300)
    machine.sched.block(0)
    machine.run(1, until=1_000)
    machine.sched.wake(0)
    machine.sched.pause(0)
    machine.work(1_500)
    machine.sched.unpause(0)
    machine.sched.preempt(1)
    machine.run(0, until=1_700)
    told = machine.sched.runstates.get(0, 1_700)
    assert told == (RunState.RUNNING, 1_500, 500, 0, 700, 500)
    assert sum(told[2:]) == 1_700


def test_the_account_of_the_present_state_runs_until_now():
    machine = Machine(1)
    assert machine.sched.runstates.get(0, 40)[:4] == (RunState.RUNNABLE, 0, 0, 40)


def test_an_account_asked_for_too_early_does_not_shrink():
    machine = Machine(1)
    machine.run(0, until=100)
    machine.sched.block(0)
    assert machine.sched.runstates.get(0, 50) == (RunState.BLOCKED, 100, 100, 0, 0, 0)


# Host time and several processes.


def test_in_host_time_vcpus_take_turns_and_timers_are_slept_for():
    machine = Machine(1, 1)
    machine.sched.timer_event = machine.sched.wake
    machine.sched.start(0, now=1_000)
    assert machine.sched.slice_end == 1_000 + QUANTUM
    machine.work(2_000)
    machine.sched.preempt(0)
    assert schedule(machine.sched, until=2_000) == 1
    machine.sched.start(1, now=2_050)
    assert machine.vcpus.local_time[1] == 2_050
    machine.sched.set_singleshot(1, 9_000)
    machine.sched.block(1)
    machine.sched.start(schedule(machine.sched, until=2_100), now=2_100)
    machine.sched.block(0)
    assert schedule(machine.sched, until=8_999) is None
    assert machine.vcpus.due[machine.sched.pick()] == 9_000
    assert schedule(machine.sched, until=9_020) == 1
    machine.sched.start(1, now=9_020)
    assert machine.vcpus.local_time[1] == 9_020


def test_in_host_time_a_timer_fires_when_the_sleeper_gets_to_it():
    machine = Machine(1)
    machine.sched.start(0, now=1_000)
    machine.sched.poll(0, 5, 2_000)
    machine.sched.fire_timers(0, now=2_300)
    assert (state(machine, 0), machine.vcpus.due[0]) == ("RUNNABLE", 2_300)


def test_an_event_from_outside_wakes_before_anybody_ran():
    machine = Machine(1)
    machine.run(0, until=70)
    machine.sched.block(0)
    other = machine.attach()
    other.wake(0)
    assert other.pick() == 0
    assert machine.vcpus.due[0] == 70


def test_processes_see_each_others_vcpus():
    machine = Machine(1, 1)
    other = machine.attach()
    machine.run(0, until=500)
    machine.sched.block(0)
    assert schedule(other) == 1
    other.start(1)
    assert other.current == 1
    machine.vcpus.local_time[1] = 800
    other.wake(0)
    other.block(1)
    assert schedule(machine.sched) == 0
    assert machine.vcpus.due[0] == 800


# What a local APIC does to its vCPU.


def test_the_timers_of_two_apics_fire_each_at_its_own_vcpu():
    machine, fired = Machine(2), []
    machine.sched.apic_timer = lambda row, now: fired.append((row, now)) or row == 1
    for row, deadline in ((0, 700), (1, 900)):
        machine.run(row, until=100)
        machine.sched.set_apic_timer(row, deadline)
        machine.sched.block(row)
    for _ in range(2):
        machine.sched.fire_timers(machine.sched.pick())
    assert fired == [(0, 700), (1, 900)]
    assert (state(machine, 0), state(machine, 1)) == ("BLOCKED", "RUNNABLE")
    assert machine.vcpus.apic_timer[0] == machine.vcpus.apic_timer[1] == NEVER


def test_a_vcpu_that_was_reset_waits_for_nothing_and_comes_up_anew():
    machine = Machine(2)
    machine.run(1, until=100)
    machine.sched.poll(1, 5, 10_000)
    machine.run(0, until=300)
    machine.sched.reset(1)
    assert (state(machine, 1), machine.vcpus.due[1], machine.vcpus.poll_port[1]) == ("OFFLINE", NEVER, 0)
    machine.sched.wake(1)
    assert state(machine, 1) == "OFFLINE"
    machine.sched.up(1)
    assert (state(machine, 1), machine.vcpus.due[1]) == ("RUNNABLE", 300)
    assert machine.vcpus.poll_deadline[1] == NEVER


def test_when_the_last_vcpu_is_reset_the_domain_powers_off():
    machine = Machine(2)
    machine.run(0)
    machine.sched.reset(1)
    assert machine.domains.state[machine.vcpus.domid[0]] == DomainState.RUNNING
    machine.sched.reset(0)
    assert machine.domains.shutdown_code[machine.vcpus.domid[0]] == ShutdownReason.poweroff
