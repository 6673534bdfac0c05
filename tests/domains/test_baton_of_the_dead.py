"""A process died with its team's baton: who goes on, and when."""

import os
import subprocess

import pytest

from domains.baton import Baton
from domains.node import OnlyNode
from domains.seat import HYPERVISOR, BatonTable, Task, TeamState

DEAD = 1


class NodeOfSeveral(OnlyNode):
    """What a dead process asked for is on its way until `came`."""

    came = False

    def waits(self, process: int) -> bool:
        return process == DEAD and not self.came


@pytest.fixture
def table():
    table = BatonTable.private(2)
    process = subprocess.Popen(["true"])
    process.wait()
    table.pid[DEAD], table.word[DEAD] = process.pid, Task.RUN
    table.team[DEAD], table.state[DEAD] = DEAD, TeamState.RUNNING
    return table


@pytest.fixture
def baton(table):
    def make(node):
        return Baton(table, HYPERVISOR, file, lambda: False, memoryview(bytearray(2)), list, lambda: 0, 1, node)

    file = os.memfd_create("test")
    yield make
    os.close(file)


def test_the_round_ends_without_it(table, baton):
    baton(OnlyNode()).take_from_the_dead()
    assert (table.state[DEAD], table.word[DEAD], table.word[HYPERVISOR]) == (TeamState.IDLE, 0, Task.ROUND)


def test_what_it_asked_another_node_for_is_waited_for(table, baton):
    node = NodeOfSeveral()
    hypervisor = baton(node)
    hypervisor.take_from_the_dead()
    assert (table.state[DEAD], table.word[DEAD], table.word[HYPERVISOR]) == (TeamState.RUNNING, Task.RUN, 0)
    node.came = True
    hypervisor.take_from_the_dead()
    assert (table.state[DEAD], table.word[DEAD], table.word[HYPERVISOR]) == (TeamState.IDLE, 0, Task.ROUND)
