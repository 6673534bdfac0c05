"""Rounds of many processes, whose steps are mixed in any order: who runs how far, and that nobody is forgotten."""

import os

from group_host import GroupHost
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from abi.types import NEVER, Domid, VcpuRow
from domains.baton import Baton
from domains.seat import BatonTable, Task, TeamState
from domains.teams import GroupRows
from domains.window import Window
from hypervisor.rounds import LATENCY

COUNT = 5
"""Domains 1 and 2 are a group, all others groups of their own; each has a process."""
SLEEPS = st.sampled_from([0, 0, 0, LATENCY // 3, 4 * LATENCY])
GROUPS = ({1, 2}, {3}, {4}, {5})


class Process:
    """A process that runs its domain as `domains.runner.Runner` does, a step at a time."""

    def __init__(self, host, table, file, me, pcpus):
        hv = self.hv = host.another()
        groups = GroupRows(hv.groups, hv.domains, hv.vcpus)
        self.me, self.word, self.queues = me, table.word, []
        window = Window(table, hv.host, hv.vcpus, hv.rounds.most, pcpus)
        self.seat = Baton(table, me, file, lambda: False, hv.vcpus.process, groups.processes,
                          lambda: hv.host.topology[0], pcpus, None, window)
        self.mine = next((sorted(group) for group in GROUPS if me in group), [])
        self.next, self.begun = self.wait, None

    def first(self):
        return min(self.hv.vcpus.due[row] for row in self.mine)

    def wait(self):
        task = self.word[self.me]
        self.next = {Task.NOTHING: self.wait, Task.RUN: self.take, Task.ROUND: self.between}[Task(task)]

    def take(self):
        self.bound, self.next = self.seat.bound(), self.sweep

    def sweep(self):
        """Begin a slice, or hand the baton on, or be through."""
        due, first = self.hv.vcpus.due, self.first()
        row = next(row for row in self.mine if due[row] == first)
        if first >= min(self.bound, self.hv.host.horizon[0]):
            self.next = self.onward
        elif row != self.me:
            self.seat.give(row)
            self.next = self.wait
        else:
            self.begun, due[row] = first, NEVER
            self.hv.vcpus.local_time[row] = first
            self.hv.sched.current = VcpuRow(row)
            self.next = None  # until the slice ends

    def end_slice(self, duration, sleeps):
        """It has run for so long, and waits for so long."""
        row = self.me
        self.hv.vcpus.local_time[row] += duration
        self.hv.vcpus.due[row] = self.hv.vcpus.local_time[row] + sleeps
        self.begun, self.next = None, self.sweep

    def onward(self):
        self.next = self.take if self.seat.onward(self.first) else self.leave

    def leave(self):
        self.next = self.between if self.seat.leave() else self.wait

    def between(self):
        """The round's end and the next one's begin: all stand still."""
        hv = self.hv
        hv.host.request[0] = 0
        hv.sched.current = VcpuRow(0)
        while True:
            hv.rounds.end()
            assert hv.rounds.next()
            if active := hv.rounds.active():
                break
        self.seat.start(active)
        self.next = self.wait


class ManyProcesses(RuleBasedStateMachine):
    @initialize(pcpus=st.integers(1, 4))
    def boot(self, pcpus):
        self.pcpus = pcpus
        self.host = host = GroupHost(COUNT)
        host.bind(Domid(1), Domid(2))
        self.file = os.memfd_create("test")
        self.table = BatonTable.private(COUNT + 1)
        for row in range(1, COUNT + 1):
            host.hv.vcpus.process[row] = row
        self.processes = [Process(host, self.table, self.file, me, pcpus) for me in range(COUNT + 1)]
        for process in self.processes:
            process.hv.serve_store = self.serve
        self.asked = {}
        self.horizon = 0
        self.table.word[0] = Task.ROUND

    def teardown(self):
        if hasattr(self, "file"):
            os.close(self.file)

    def serve(self, domid):
        """What a domain asked of others is done when all have reached its time, and nobody went on from there."""
        time = self.asked.pop(domid)
        due = self.host.hv.vcpus.due
        assert all(process.begun is None for process in self.processes)
        assert all(due[row] >= time for row in range(1, COUNT + 1))
        assert all(begun < time for begun in self.latest)

    latest = ()

    @rule(who=st.integers(0, COUNT), steps=st.integers(1, 12), duration=st.integers(1_000, LATENCY // 2),
          sleeps=SLEEPS)
    def run(self, who, steps, duration, sleeps):
        """One process gets on, while all others are held up."""
        for _ in range(steps):
            self.step(self.processes[who], duration, sleeps)

    def step(self, process, duration, sleeps):
        if process.next is None:
            process.end_slice(duration, sleeps)
            return
        process.next()
        if process.begun is not None:
            self.look_at_slice(process)

    def look_at_slice(self, process):
        """It can be that what others do next takes effect after it begins, and none that is known does before."""
        due = self.host.hv.vcpus.due
        for other in self.processes[1:]:
            if other.me not in process.mine:
                reached = other.begun if other.begun is not None else due[other.me]
                assert process.begun < reached + LATENCY
            else:
                assert other is process or other.begun is None  # one of a group at a time
        assert all(process.begun < time for time in self.asked.values())
        self.latest = (*(begun for begun in self.latest if begun > process.begun - 8 * LATENCY), process.begun)

    @precondition(lambda self: any(process.begun is not None for process in self.processes))
    @rule(choice=st.integers(0, 9))
    def ask(self, choice):
        """Who runs asks for something that concerns others."""
        running = [process for process in self.processes if process.begun is not None]
        process = running[choice % len(running)]
        if process.me not in self.asked:
            self.asked[process.me] = process.hv.later()
            process.hv.groups.table.store[process.me] = self.asked[process.me]

    @rule()
    def request(self):
        self.host.hv.host.request[0] = 1

    @rule(duration=st.integers(LATENCY // 20, LATENCY // 4), sleeps=st.lists(SLEEPS, min_size=3, max_size=3))
    def all_get_on(self, duration, sleeps):
        """Nobody is forgotten."""
        before, times = self.host.hv.vcpus.local_time.tolist(), self.host.hv.vcpus.local_time
        for _ in range(5_000):
            if all(times[row] > before[row] for row in range(1, COUNT + 1)):
                return
            for process in self.processes:
                self.step(process, duration, sleeps[process.me % len(sleeps)])
        raise AssertionError(f"somebody does not get on: {before}, {times.tolist()}")

    @invariant()
    def the_horizon_moves_on_alone(self):
        if hasattr(self, "host"):
            assert self.host.hv.host.horizon[0] >= self.horizon or self.horizon == NEVER
            self.horizon = self.host.hv.host.horizon[0]

    @invariant()
    def no_more_teams_run_than_there_are_processors(self):
        if hasattr(self, "host"):
            assert self.table.state.tobytes().count(TeamState.RUNNING) <= self.pcpus


TestManyProcesses = ManyProcesses.TestCase
TestManyProcesses.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
