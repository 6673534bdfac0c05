"""The batons between processes: a word each in shared memory, and a futex to sleep on.

Processes that run domains of one sharing group are a *team*, and a team has one baton: whoever has it runs vCPUs of
its own, or hands it to the process that has the next one.  In a round (`hypervisor.rounds`) as many teams run at once
as the machine has processors.  A team that is through starts the next one; the last one ends the round.  Who is
through and who comes next is looked up and written under a lock of the file that the memory is, which the system takes
away from who dies.

On the two-core machine where this was measured, a wake-up through the kernel costs 20 us one way, a word that the
receiver is looking at 1 us.  So a process that has handed its baton on looks for a while before it sleeps, provided
that there are processors enough for those who run and those who look.
"""

import ctypes
import fcntl
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy

from abi.types import NEVER, VcpuRow
from domains.lanes import Lanes, Wire
from domains.node import OnlyNode, Surroundings
from domains.seat import HYPERVISOR, BatonTable, Sleep, Task, TeamState
from domains.teams import teams_of
from domains.window import Window

_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 202)
_WAIT, _WAKE = 0, 1
_NAPS = (2_000_000, 50_000_000, 500_000_000)
"""Nanoseconds of the first sleeps, the last for all others.  Short at first: the waker may have looked at `asleep`
just before it was set."""
_DOUBTS, _DOUBT = 50, 0.01
"""Looks, and seconds between them, after which a baton that nobody has is lost: handing it over takes a microsecond."""
LOOKS = 1500
"""How often a process that has handed its baton on looks at its word before it sleeps: some 60 us."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Baton:
    """The seat of process `me` of several.

    `file` is the memory's file, `process_of` says by vCPU row which process runs it, `linked()` gives the sets of
    processes that share a group and `topology()` a number that changes with them, `pcpus` is how many teams run at
    once.  `ended()` says that the run is over.  `window`: that of a host of one node, in virtual time.  `node` is the
    node of several that this process is on; each has a table of its own, in which the words of processes on other nodes
    say that a baton has to go there.
    """

    def __init__(self, table: BatonTable, me: int, file: int, ended: Callable[[], bool],
                 process_of: "memoryview[int]", linked: Callable[[], Iterable[set[int]]],
                 topology: Callable[[], int], pcpus: int, node: Surroundings | None = None,
                 window: Window | None = None) -> None:
        self._table, self._me, self._file, self._ended = table, me, file, ended
        self._process_of, self._linked, self._topology, self._pcpus = process_of, linked, topology, pcpus
        self._node: Surroundings = node or OnlyNode()
        self._window = window
        self._many, self._homes = self._node.many, table.node
        self._word, self._asleep, self._team, self._state = table.word, table.asleep, table.team, table.state
        self._given, self._look = table.given, table.look
        self._looks = 0
        self._processors = os.cpu_count() or 1
        self._lanes: Lanes | None = None
        self._bells: dict[tuple[int, int], int] = {}
        self._threads = threading.Lock()  # a lock of the file is the process's, not the thread's
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._addresses = [
            ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(table.word[row:row + 1].cast("B"))))
            for row in range(table.rows)]
        self._timeouts = [ctypes.byref(_Timespec(0, nap)) for nap in _NAPS]
        table.pid[me] = os.getpid()

    def use(self, lanes: Lanes) -> None:
        """Hand batons to other nodes, and take them from there, without the agents where that can be."""
        self._lanes = lanes

    # -- waiting and giving

    def wait(self) -> Task:
        """See `Seat`."""
        word, me, lanes = self._word, self._me, self._lanes
        for _ in range(self._looks):
            if word[me]:
                return Task(word[me])
        naps = 0
        while not word[me]:
            if self._ended():
                return Task.NOTHING
            if lanes is not None and lanes.open() and lanes.wire is not None:
                self._listen(lanes, lanes.wire, _NAPS[min(naps, 2)] / 1e9)
            else:
                self._asleep[me] = Sleep.FUTEX
                self._syscall(_FUTEX, self._addresses[me], _WAIT, 0, self._timeouts[min(naps, 2)], None, 0)
                self._asleep[me] = Sleep.AWAKE
            naps += 1
        return Task.NOTHING if self._ended() else Task(word[me])

    def _listen(self, lanes: Lanes, wire: Wire, nap: float) -> None:
        """Wait for a word, or for a baton by the links."""
        word, me = self._word, self._me
        message = None
        if self._state.tobytes().count(TeamState.RUNNING) < self._processors:
            message = wire.look(lambda: word[me])
        if message is None and not word[me]:
            self._asleep[me] = Sleep.BELL
            if not word[me] and not self._ended():
                message = wire.receive(nap)
            self._asleep[me] = Sleep.AWAKE
        if wire.broken():
            self._node.search()
        if message is not None and lanes.take(message):
            self.arrive([(self._team[me], me)])

    def give(self, process: int) -> None:
        """See `Seat`."""
        self._given[self._me] += 1
        self._looks = LOOKS if self._look[0] else 0
        if self._many and self._homes[process] != self._homes[HYPERVISOR]:
            self._send_away(process)
            return
        self._word[self._me] = 0
        self._word[process] = 1
        if self._asleep[process]:
            self.wake(process)

    def _send_away(self, process: int) -> None:
        """Hand the team's baton to a process on another node: straight, or by this node's agent."""
        self._looks = 0
        lanes = self._lanes
        message = None if lanes is None or lanes.wire is None else lanes.collect(process)
        self._word[self._me] = 0
        self._state[self._team[self._me]] = TeamState.AWAY
        if message is None or lanes is None or lanes.wire is None:
            self._word[process] = Task.RUN
            self._node.ring()
        else:
            lanes.wire.send(process, message)
            if TeamState.THROUGH in self._state.tobytes():  # which the agent tells when nobody here runs
                self._node.ring()
        if TeamState.WAITING in self._state.tobytes():
            with self._lock():
                self._start_next()

    def hand_round(self, process: int) -> None:
        """See `Seat`."""
        self._looks = 0
        self._word[self._me] = 0
        self._tell(process, Task.ROUND)

    def mine(self, process: int) -> bool:
        """See `Seat`."""
        return self._team[process] == self._team[self._me]

    def wake(self, process: int) -> None:
        """Let a sleeping process look again."""
        if self._asleep[process] == Sleep.BELL:
            self._ring(process)
            return
        self._syscall(_FUTEX, self._addresses[process], _WAKE, 1, None, None, 0)

    def _ring(self, process: int) -> None:
        key = self._table.pid[process], self._table.bell[process]
        with suppress(OSError):  # it has rings enough, or is gone
            if key not in self._bells:
                self._bells[key] = os.open(f"/proc/{key[0]}/fd/{key[1]}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._bells[key], b"!")

    def wake_all(self) -> None:
        """The run has ended: let everybody see that."""
        for process in range(self._table.rows):
            self.wake(process)

    def _tell(self, process: int, task: Task) -> None:
        self._word[process] = task
        self.wake(process)

    # -- rounds

    def bound(self) -> int:
        """See `Seat`."""
        return NEVER if self._window is None else self._window.bound(self._team[self._me])

    def onward(self, first: Callable[[], int]) -> bool:
        """See `Seat`."""
        window, team = self._window, self._team[self._me]
        if window is None:
            return False
        if window.say(team, first()):
            with self._lock():
                self._move(window)
        return window.before_horizon(team)

    def _move(self, window: Window) -> None:
        """Move the horizon, with the lock, and start the teams that thereby have something to do."""
        horizon, active = window.further()
        if not horizon:
            return
        self._await(active)  # first: who dies in between leaves nobody behind with something to do
        window.move(horizon)
        while self._start_next():
            pass
        if active:
            self._look[0] = self._state.tobytes().count(TeamState.RUNNING) < self._processors

    def leave(self) -> bool:
        """See `Seat`."""
        with self._lock():
            self._looks = 0
            if self._window is not None and self._goes_on(self._window):
                return False
            self._state[self._team[self._me]] = TeamState.IDLE if self._node.first else TeamState.THROUGH
            self._word[self._me] = Task.NOTHING
            if self._start_next() or self._busy():
                return False
            if self._node.first:
                self._word[self._me] = Task.ROUND
                return True
        self._node.ring()
        return False

    def _goes_on(self, window: Window) -> bool:
        """Whether, now that nobody else moves the horizon, the team has something to do after all."""
        self._move(window)
        return window.before_horizon(self._team[self._me])

    def _await(self, active: Sequence[VcpuRow]) -> set[int]:
        """The teams of these vCPUs, which run or are away from now on, or wait to be started."""
        team, state, starter = self._team, self._state, self._table.starter
        found: set[int] = set()
        for row in active:
            process = self._process_of[row]
            if team[process] not in found:
                found.add(team[process])
                state[team[process]], starter[team[process]] = TeamState.WAITING, process
                if self._elsewhere(process):
                    state[team[process]], self._word[process] = TeamState.AWAY, Task.RUN
        if self._window is not None and active:
            self._window.begin(active)
        return found

    def _elsewhere(self, process: int) -> bool:
        return self._many and self._homes[process] != self._homes[HYPERVISOR]

    def _busy(self) -> bool:
        """Whether any team has its baton, here or elsewhere."""
        states = self._state.tobytes()
        return TeamState.RUNNING in states or (self._node.first and TeamState.AWAY in states)

    def start(self, active: Sequence[VcpuRow]) -> None:
        """See `Seat`."""
        with self._lock():
            if self._table.topology[0] != self._topology():
                self._form_teams()
            team, state, starter = self._team, self._state, self._table.starter
            waiting = self._await(active)
            self._look[0] = len(waiting) < self._processors
            self._word[self._me] = 0
            mine = team[self._me]
            if mine in waiting and starter[mine] == self._me:  # no need to wake anybody for it
                self._begin(mine)
            while len([one for one in waiting if state[one] == TeamState.RUNNING]) < self._pcpus:
                if not self._start_next():
                    break
        self._node.ring()

    def _start_next(self) -> bool:
        """Start a team that waits, with the lock.  False where none does."""
        found = self._state.tobytes().find(TeamState.WAITING)
        if found < 0:
            return False
        self._begin(found)
        return True

    def _begin(self, team: int) -> None:
        self._state[team] = TeamState.RUNNING
        process = self._table.starter[team]
        if process == self._me:
            self._word[process] = Task.RUN
        else:
            self._tell(process, Task.RUN)

    def _form_teams(self) -> None:
        self._team[:] = memoryview(teams_of(self._table.rows, self._linked()))
        self._table.topology[0] = self._topology()

    # -- for the agent of a node of several

    def outgoing(self) -> list[tuple[int, int]]:
        """Teams whose baton has to go to another node, each with the process that gets it there; told once."""
        found, word = [], self._word
        for process in numpy.flatnonzero(numpy.frombuffer(word.tobytes(), numpy.uint32)).tolist():
            if process and self._elsewhere(process):
                word[process] = 0
                found.append((self._team[process], process))
        return found

    def through(self) -> list[int]:
        """Teams that are through with the round, once none on this node is at it.  They are told once."""
        if TeamState.THROUGH not in self._state.tobytes():
            return []
        with self._lock():
            states = self._state.tobytes()
            if TeamState.RUNNING in states or TeamState.WAITING in states:
                return []
            found = [team for team, state in enumerate(states) if state == TeamState.THROUGH]
            for team in found:
                self._state[team] = TeamState.IDLE
            return found

    def arrive(self, batons: Sequence[tuple[int, int]]) -> None:
        """Batons have come from another node: each team, and the process that gets it."""
        if len(batons) == 1 and self._table.topology[0] == self._topology():
            states = self._state.tobytes()
            if TeamState.WAITING not in states and states.count(TeamState.RUNNING) < self._pcpus:
                team, process = batons[0]
                self._table.starter[team] = process
                self._begin(team)
                return
        with self._lock():
            if self._table.topology[0] != self._topology():
                self._form_teams()
            for team, process in batons:
                self._state[team], self._table.starter[team] = TeamState.WAITING, process
            while self._state.tobytes().count(TeamState.RUNNING) < self._pcpus and self._start_next():
                pass

    def done(self, teams: Iterable[int]) -> None:
        """On the first node: these teams are through, on another one.  When all are, the round ends here."""
        with self._lock():
            for team in teams:
                self._state[team] = TeamState.IDLE
            states = self._state.tobytes()
            if not self._busy() and TeamState.WAITING not in states and not self._holders():
                self._tell(HYPERVISOR, Task.ROUND)

    def running(self) -> bool:
        """Whether a process of this node has a baton."""
        return TeamState.RUNNING in self._state.tobytes()

    def here(self) -> list[int]:
        """The teams whose baton is on this node, or that are through and have not told so."""
        wanted = (TeamState.RUNNING, TeamState.WAITING, TeamState.THROUGH)
        return [team for team, state in enumerate(self._state.tobytes()) if state in wanted]

    def away(self) -> list[int]:
        """The teams whose baton is on another node."""
        return [team for team, state in enumerate(self._state.tobytes()) if state == TeamState.AWAY]

    def team_of(self) -> "memoryview[int]":
        """By process, its team."""
        return self._team

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    # -- who died

    def take_from_the_dead(self) -> None:
        """Go on without processes that died with a baton; only the hypervisor's does that.

        Their teams are through with this round.  If nobody else runs, the hypervisor's process ends it.
        """
        word, state = self._word, self._state
        with self._lock():
            dead = [row for row in self._holders() if not _alive(self._table.pid[row])]
            if any(map(self._node.waits, dead)):
                return  # what they asked for comes to this node, and has to go on from here with the baton
            lost = [] if dead else self._lost()
            for process in dead:
                if word[process] == Task.RUN:
                    state[self._team[process]] = TeamState.IDLE if self._node.first else TeamState.THROUGH
                word[process] = 0
            for team in lost:
                state[team] = TeamState.IDLE if self._node.first else TeamState.THROUGH
            if (dead or lost) and not self._start_next() and not self._busy() and not self._holders() \
                    and self._node.first:
                self._tell(HYPERVISOR, Task.ROUND)
        self._node.ring()

    def dead(self) -> list[int]:
        """The processes, but for the hypervisor's, that took part and do not live any more."""
        pids = self._table.pid
        return [row for row in range(1, self._table.rows) if pids[row] and not _alive(pids[row])]

    def _holders(self) -> list[int]:
        return [row for row in range(self._table.rows) if self._word[row] and not self._elsewhere(row)]

    def _lost(self) -> list[int]:
        """Teams that run, and nobody has their baton: is somebody just handing it over, or did he die doing so?

        The same for the end of a round, which is nobody's team: then it is the hypervisor's, row 0.
        """
        for _ in range(_DOUBTS):
            holders = self._holders()
            held = {self._team[row] for row in holders}
            found = [team for team in range(self._table.rows)
                     if self._state[team] == TeamState.RUNNING and team not in held]
            if not found and (holders or not self._node.first or TeamState.AWAY in self._state.tobytes()):
                return []
            time.sleep(_DOUBT)
        return found or [HYPERVISOR]


def _alive(pid: int) -> bool:
    """Whether any thread of a process can still write to the memory; the first may be gone before the others."""
    if not pid:
        return False
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] not in "ZX":
                    return True
    except OSError:
        return os.path.exists(f"/proc/{pid}/task") and _alive(pid)  # a thread ended while we looked
    return False
