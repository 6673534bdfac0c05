"""The window: a horizon that moves on while teams run, so that they need not wait for each other at each."""

import os

import pytest

from abi.types import NEVER, VcpuRow
from domains.baton import Baton
from domains.seat import BatonTable, Task, TeamState
from domains.window import Window
from hypervisor.host_state import HostTable
from hypervisor.rounds import LATENCY
from hypervisor.tables import VcpuTable

HALF = LATENCY // 2
A, B, C = 1, 2, 3
"""Processes, their teams and the rows of their vCPUs."""


class Round:
    """A round that goes from 0 to `LATENCY`, in which A and B run."""

    def __init__(self, file, pcpus=2):
        self.table, self.host, self.vcpus = BatonTable.private(4), HostTable.private(1), VcpuTable.private(4)
        self.event = NEVER
        self.vcpus.due[0] = NEVER
        self.vcpus.due[C] = 10 * LATENCY
        for row in (A, B, C):
            self.vcpus.process[row] = row
        self.seats = [Baton(self.table, me, file, lambda: False, self.vcpus.process, lambda: [{A}, {B}, {C}],
                            lambda: 1, pcpus, None, Window(self.table, self.host, self.vcpus, self.most, pcpus))
                      for me in range(4)]
        self.host.horizon[0] = LATENCY
        self.seats[0].start([VcpuRow(A), VcpuRow(B)])

    def most(self, floor):
        return min(self.event, floor + LATENCY)

    def comes_to(self, process, time):
        """The team has done all that it had to do before `time`.  Whether it goes on."""
        self.vcpus.due[process] = time
        return self.seats[process].onward(lambda: time)

    @property
    def horizon(self):
        return self.host.horizon[0]

    def state(self, process):
        return TeamState(self.table.state[process])


@pytest.fixture
def file():
    file = os.memfd_create("test")
    yield file
    os.close(file)


@pytest.fixture
def round_of_two(file):
    return Round(file)


def test_a_team_says_every_half_latency_how_far_it_is(round_of_two):
    assert round_of_two.seats[A].bound() == HALF
    round_of_two.comes_to(A, HALF + 3)
    assert round_of_two.seats[A].bound() == 2 * HALF + 3


def test_the_horizon_is_a_latency_after_the_slower_team(round_of_two):
    assert round_of_two.comes_to(A, LATENCY - 10)
    assert round_of_two.horizon == LATENCY
    assert round_of_two.comes_to(B, HALF + 5)
    assert round_of_two.horizon == HALF + 5 + LATENCY


def test_who_comes_to_the_horizon_is_through_until_it_moves(round_of_two):
    assert not round_of_two.comes_to(A, LATENCY + 7)
    assert not round_of_two.seats[A].leave()
    assert (round_of_two.state(A), round_of_two.table.word[A]) == (TeamState.IDLE, Task.NOTHING)
    assert round_of_two.comes_to(B, HALF)
    assert (round_of_two.state(A), round_of_two.table.word[A]) == (TeamState.RUNNING, Task.RUN)
    assert round_of_two.table.reached[A] == LATENCY + 7


def test_a_horizon_that_moves_while_a_team_leaves_keeps_it(round_of_two):
    assert not round_of_two.comes_to(A, LATENCY + 7)
    assert round_of_two.comes_to(B, HALF)
    assert not round_of_two.seats[A].leave()
    assert (round_of_two.state(A), round_of_two.table.word[A]) == (TeamState.RUNNING, Task.RUN)


def test_who_wants_to_leave_moves_the_horizon_where_the_other_one_did_not_see_that_it_could(round_of_two):
    assert not round_of_two.comes_to(A, LATENCY)
    round_of_two.table.reached[B] = HALF  # it looked before A said how far it is
    assert not round_of_two.seats[A].leave()
    assert round_of_two.horizon == HALF + LATENCY
    assert round_of_two.state(A) == TeamState.RUNNING


def test_one_that_waits_for_a_timer_is_not_passed_by_more_than_a_latency(round_of_two):
    assert not round_of_two.comes_to(A, 5 * HALF)
    assert not round_of_two.seats[A].leave()
    assert not round_of_two.comes_to(B, 20 * LATENCY)  # the horizon is a latency after A's timer
    assert round_of_two.horizon == 5 * HALF + LATENCY
    assert round_of_two.state(A) == TeamState.RUNNING


def test_a_team_that_had_nothing_to_do_in_the_round_is_started(file):
    found = Round(file, pcpus=3)
    found.comes_to(A, 10 * LATENCY)
    found.comes_to(B, 9 * LATENCY + 1)
    assert found.horizon == 10 * LATENCY + 1
    assert (found.state(C), found.table.reached[C]) == (TeamState.RUNNING, 10 * LATENCY)


def test_where_there_are_more_teams_than_processors_all_wait_for_each_other(round_of_two):
    assert not round_of_two.comes_to(A, 10 * LATENCY)
    assert not round_of_two.comes_to(B, 9 * LATENCY + 1)
    assert round_of_two.horizon == LATENCY
    assert not round_of_two.seats[A].leave()
    assert round_of_two.seats[B].leave()  # and ends the round
    assert round_of_two.state(C) == TeamState.IDLE


def test_the_round_ends_at_what_is_due_between_groups(round_of_two):
    round_of_two.event = LATENCY + 20
    assert not round_of_two.comes_to(A, LATENCY + 1)
    assert round_of_two.comes_to(B, HALF + 50)
    assert round_of_two.horizon == LATENCY + 20


def test_a_run_that_is_stopped_has_nobody_go_on(round_of_two):
    round_of_two.table.reached[A] = HALF
    round_of_two.host.stop[0] = 1
    round_of_two.seats[A].leave()
    assert round_of_two.state(A) == TeamState.IDLE
