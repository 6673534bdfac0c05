"""What a configuration's `timeline` says is to be done at certain times of the host, beside its checkpoints.

The host stands still when it has come to such a time (`HostTable.mark`), as for a checkpoint; what is due begins then,
and the host goes on meanwhile.
"""

import threading
from collections.abc import Callable

from abi.types import NEVER
from hypervisor.host_state import HostTable
from toolstack.errors import MigrationError
from toolstack.jobs import RunOverError
from toolstack.plan import MigrationPlan


class Timeline:
    """The `events` of a host.  `now()` is its time; `checkpoint()` is `Checkpointer.take`, after whose `begin` this is
    made; `migrate(domid, node)` is called in a thread of its own; `log(line)` says what could not be done.
    """

    def __init__(self, host: HostTable, events: tuple[MigrationPlan, ...], now: Callable[[], int],
                 checkpoint: Callable[[], None], migrate: Callable[[int, int], object],
                 log: Callable[[str], None]) -> None:
        self._host, self._now, self._checkpoint, self._migrate, self._log = host, now, checkpoint, migrate, log
        self._events = sorted(events, key=lambda event: event.at_ns)
        self._next_checkpoint = host.mark[0]
        self._latest: threading.Thread | None = None
        self._set()

    def take(self) -> None:
        """`Runner`'s `marked`: do what is due."""
        now = self._now()
        if self._next_checkpoint <= now:
            self._checkpoint()
            self._next_checkpoint = self._host.mark[0]
        due = [event for event in self._events if event.at_ns <= now]
        self._events = self._events[len(due):]
        if due:
            self._latest = threading.Thread(target=self._move, args=(due, self._latest), name="timeline", daemon=True)
            self._latest.start()
        self._set()

    def _set(self) -> None:
        first = self._events[0].at_ns if self._events else NEVER
        self._host.mark[0] = min(self._next_checkpoint, first)

    def _move(self, due: list[MigrationPlan], before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        for event in due:
            try:
                self._migrate(event.domid, event.node)
            except MigrationError as error:
                self._log(str(error))
            except RunOverError:
                return
