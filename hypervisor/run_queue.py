"""The scheduler's view of the `due` column: who is furthest behind among the vCPUs of one sharing group."""

from collections.abc import Sequence
from typing import Any

import numpy

from abi.types import NEVER, VcpuRow
from hypervisor.tables import RunState, VcpuTable

_RUNNABLE = int(RunState.RUNNABLE)
_FEW = 8
"""Up to this many vCPUs, a list is faster than numpy."""

Column = Any
"""A numpy array of integers."""


def queue_of(vcpus: VcpuTable, rows: Sequence[int]) -> "RunQueue":
    """The queue of the vCPUs at `rows`, which ascend."""
    return PairQueue(vcpus, rows) if len(rows) == 2 else RunQueue(vcpus, rows)


class RunQueue:
    """The vCPUs at `rows`, in ascending order, one after the other or not.  Nothing is kept but where they are."""

    def __init__(self, vcpus: VcpuTable, rows: Sequence[int]) -> None:
        self._due, self._runstate = vcpus.due, vcpus.runstate
        part = _evenly(rows)
        self._few = part is not None and 0 < len(rows) <= _FEW
        self._members = [VcpuRow(row) for row in rows]
        # Views where the rows are evenly spaced, whole columns to pick from where not.
        self._picked = numpy.array(rows, numpy.int64) if part is None else None
        part = part or slice(None)
        self._window = vcpus.due[part]
        self._dues: Column = numpy.frombuffer(vcpus.due, numpy.uint64)[part]
        self._states: Column = numpy.frombuffer(vcpus.runstate, numpy.uint64)[part]

    def smallest(self) -> VcpuRow | None:
        """The vCPU that is due first, the lowest row of several; None where all are due NEVER."""
        if self._few:
            dues = self._window.tolist()
            least = min(dues)
            return self._members[dues.index(least)] if least != NEVER else None
        if not self._members:
            return None
        row = self._members[self._mine(self._dues).argmin()]
        return row if self._due[row] != NEVER else None

    def least_due(self) -> int:
        """When the first of them is due, or NEVER."""
        if self._few:
            return min(self._window)
        row = self.smallest()
        return NEVER if row is None else self._due[row]

    def smallest_runnable(self) -> VcpuRow | None:
        """As `smallest`, of those that are runnable: not of those that wait for a timer."""
        row = self.smallest()
        if row is None or self._runstate[row] == _RUNNABLE:
            return row
        runnable = self._mine(self._states) == _RUNNABLE
        dues = numpy.where(runnable, self._mine(self._dues), numpy.uint64(NEVER))
        index = int(dues.argmin())
        return self._members[index] if dues[index] != NEVER else None

    def _mine(self, column: Column) -> Column:
        return column if self._picked is None else column[self._picked]


def _evenly(rows: Sequence[int]) -> slice | None:
    """The rows as a slice, where each is as far from the next as all others."""
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    if list(rows) != list(range(rows[0], rows[-1] + 1, step) if rows else ()):
        return None
    return slice(rows[0], rows[-1] + 1, step) if rows else slice(0)


class PairQueue(RunQueue):
    """That of two, which most groups are: a comparison takes a third of the time of a list of them."""

    def __init__(self, vcpus: VcpuTable, rows: Sequence[int]) -> None:
        super().__init__(vcpus, rows)
        self._one, self._other = self._members

    def smallest(self) -> VcpuRow | None:
        """See `RunQueue`."""
        one, other = self._due[self._one], self._due[self._other]
        if one <= other:
            return self._one if one != NEVER else None
        return self._other

    def least_due(self) -> int:
        """See `RunQueue`."""
        one, other = self._due[self._one], self._due[self._other]
        return one if one <= other else other
