"""A process's place in the rounds: what it is told to do, and whom it tells when that is done.

`OnlySeat` is that of a process that has all domains; `domains.baton` has that of one of many.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import ClassVar, Protocol

from abi.types import NEVER, VcpuRow
from state.table import Table

HYPERVISOR = 0
"""The process that is the hypervisor's, in `vcpus.process` and in the baton's table."""


class Task(IntEnum):
    """What a process has to do: what its word says."""

    NOTHING = 0
    RUN = 1
    """It has its team's baton."""
    ROUND = 2
    """All teams stand still: it ends the round, and begins the next one."""


class Sleep(IntEnum):
    """What a process that waits sleeps in."""

    AWAKE = 0
    FUTEX = 1
    """Its word is a futex."""
    BELL = 2
    """It also waits for messages: who wakes it writes to its bell."""


class TeamState(IntEnum):
    IDLE = 0
    WAITING = 1
    RUNNING = 2
    AWAY = 3
    """Its baton is on another node."""
    THROUGH = 4
    """On a node that does not end rounds: it has nothing left to do in this one, which the first node has to hear."""


class BatonTable(Table):
    """Row = a process of the host; row 0 is the hypervisor's.  A team's row is that of its first process."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "word": "I", "asleep": "I", "pid": "I", "team": "I", "state": "B", "starter": "I", "topology": "I", "look": "I",
        "given": "Q", "reached": "Q",
        "node": "H", "lane": "I", "made": "I", "port": "I", "bell": "I", "told": "Q"}
    word: "memoryview[int]"
    """A `Task`."""
    asleep: "memoryview[int]"
    """How it sleeps, where it does: a `Sleep`."""
    pid: "memoryview[int]"
    team: "memoryview[int]"
    """The team that the process is in."""
    state: "memoryview[int]"
    """Of a team, in this round: a `TeamState`."""
    starter: "memoryview[int]"
    """Of a team, in this round: which of its processes begins."""
    topology: "memoryview[int]"
    """In row 0: the `HostTable.topology` that the teams were formed for."""
    look: "memoryview[int]"
    """In row 0: there are processors enough to look for a baton, and not to sleep at once."""
    given: "memoryview[int]"
    """How often the process gave the baton to another."""
    reached: "memoryview[int]"
    """Of a team that runs: the time before which it does nothing any more (`domains.window`)."""
    node: "memoryview[int]"
    """The node that the process is on; of row 0 the one that the table is on."""
    lane: "memoryview[int]"
    """The file of row 0's process that is the lane of the process's team (`domains.lane`); 0: it has none."""
    made: "memoryview[int]"
    """Changes when `lane` does."""
    port: "memoryview[int]"
    """Where the process listens to those of other nodes, once it does."""
    bell: "memoryview[int]"
    """The file of the process that wakes it from a `Sleep.BELL`."""
    told: "memoryview[int]"
    """In row 0: the latest round that this node's agent knows all of."""


class Seat(Protocol):
    """A process's place in the rounds."""

    def wait(self) -> Task:
        """What is to be done, waiting for it; NOTHING where the run has ended."""

    def give(self, process: int) -> None:
        """Hand the team's baton to another of its processes."""

    def bound(self) -> int:
        """The time, if it is before the horizon, up to which the team is to run before it calls `onward`."""

    def onward(self, first: Callable[[], int]) -> bool:
        """The team has nothing to do before `first()`.  Whether that is before the horizon, which may move on."""

    def leave(self) -> bool:
        """The team is through with the round.  True where all are: this process ends it."""

    def hand_round(self, process: int) -> None:
        """Let another process end the round."""

    def start(self, active: Sequence[VcpuRow]) -> None:
        """Begin a round, in which the vCPUs in `active` have something to do."""

    def mine(self, process: int) -> bool:
        """Whether a process is in this one's team."""


class OnlySeat:
    """The seat of a process that runs all there is."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended, self._task = ended, Task.ROUND

    def wait(self) -> Task:
        task, self._task = self._task, Task.RUN
        return Task.NOTHING if self._ended() else task

    def give(self, process: int) -> None:
        raise AssertionError(f"there is no process {process}")

    def bound(self) -> int:
        return NEVER

    def onward(self, first: Callable[[], int]) -> bool:
        return False

    def leave(self) -> bool:
        return True

    def hand_round(self, process: int) -> None:
        raise AssertionError(f"there is no process {process}")

    def start(self, active: Sequence[VcpuRow]) -> None:
        """Nobody else is there to be told."""

    def mine(self, process: int) -> bool:
        return True
