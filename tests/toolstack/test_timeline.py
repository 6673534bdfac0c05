"""A timeline has its host stand still at its times and a checkpoint's, and does what is due, one after the other."""

import threading

from abi.types import NEVER
from hypervisor.host_state import HostTable
from toolstack.errors import MigrationError
from toolstack.jobs import RunOverError
from toolstack.plan import MigrationPlan
from toolstack.timeline import Timeline

LONG = 30.0


class Fake:
    """A host's time, its checkpoints every `every` nanoseconds, and its moves, which end when `proceed` is set."""

    def __init__(self, *events: tuple[int, int, int], every: int = NEVER) -> None:
        self.host, self.now, self._every = HostTable.private(1), 0, every
        self.checkpoints: list[int] = []
        self.begun: list[tuple[int, int]] = []
        self.logged: list[str] = []
        self.raises: dict[int, Exception] = {}
        self.proceed, self.changed = threading.Semaphore(0), threading.Condition()
        self.host.mark[0] = every
        self.timeline = Timeline(self.host, tuple(MigrationPlan(*event) for event in events), lambda: self.now,
                                 self._checkpoint, self._migrate, self._log)

    def at(self, now: int) -> int:
        """The host stands still at that time; when it will do so next."""
        self.now = now
        self.timeline.take()
        return int(self.host.mark[0])

    def wait(self, begun: int, logged: int = 0) -> None:
        """Until so many moves have begun, and so many lines have been logged."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= begun and len(self.logged) >= logged, LONG)

    def _checkpoint(self) -> None:
        self.checkpoints.append(self.now)
        self.host.mark[0] = (self.now // self._every + 1) * self._every

    def _migrate(self, domid: int, node: int) -> None:
        with self.changed:
            self.begun.append((domid, node))
            self.changed.notify_all()
        assert self.proceed.acquire(timeout=LONG)
        if domid in self.raises:
            raise self.raises[domid]

    def _log(self, line: str) -> None:
        with self.changed:
            self.logged.append(line)
            self.changed.notify_all()


def test_the_host_stands_still_at_each_time_and_then_no_more() -> None:
    fake = Fake((30, 1, 1), (10, 2, 1))
    assert fake.host.mark[0] == 10
    fake.proceed.release(2)
    assert fake.at(12) == 30
    fake.wait(1)
    assert fake.at(30) == NEVER
    fake.wait(2)
    assert fake.begun == [(2, 1), (1, 1)]


def test_checkpoints_keep_their_times_beside_what_moves() -> None:
    fake = Fake((15, 1, 1), every=10)
    fake.proceed.release(1)
    assert fake.host.mark[0] == 10
    assert fake.at(10) == 15
    assert (fake.checkpoints, fake.begun) == ([10], [])
    assert fake.at(16) == 20
    fake.wait(1)
    assert fake.at(20) == 30
    assert fake.checkpoints == [10, 20]


def test_both_that_are_due_at_once_are_done() -> None:
    fake = Fake((10, 1, 1), every=10)
    fake.proceed.release(1)
    assert fake.at(10) == 20
    fake.wait(1)
    assert (fake.checkpoints, fake.begun) == ([10], [(1, 1)])


def test_what_is_due_meanwhile_waits_for_its_turn() -> None:
    fake = Fake(*((10 * number, number, 1) for number in range(1, 8)))
    for number in range(1, 8):
        fake.at(10 * number)
    fake.wait(1)
    assert fake.begun == [(1, 1)]  # the host has gone on, and the first is not through
    fake.proceed.release(7)
    fake.wait(7)
    assert fake.begun == [(number, 1) for number in range(1, 8)]


def test_what_cannot_be_is_told_and_the_next_is_done() -> None:
    fake = Fake((10, 1, 1), (10, 2, 1))
    fake.raises[1] = MigrationError("one has ended")
    fake.proceed.release(2)
    fake.at(10)
    fake.wait(2, logged=1)
    assert (fake.begun, fake.logged) == ([(1, 1), (2, 1)], ["one has ended"])


def test_the_end_of_the_run_is_no_mistake() -> None:
    fake = Fake((10, 1, 1), (20, 2, 1))
    fake.raises = {1: RunOverError("the run is over"), 2: MigrationError("never mind")}
    fake.proceed.release(2)
    fake.at(10)
    fake.at(20)
    fake.wait(2, logged=1)
    assert fake.logged == ["never mind"]
