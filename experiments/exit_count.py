"""What a paravirtual guest does between the lines that it marks: how often it leaves for Xen, and how much work it is.

Counting costs time, so it is a run of its own, on the virtual clock, where each run is the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from domains.delivery import NAMES
from domains.pv_vcpu import PvVcpu
from domains.vmcb import EXIT_BASE, Exit
from experiments.stopwatch import Domains, MeasurementError, Stopwatch, through_python
from toolstack.load import from_data
from toolstack.runtime import RunOptions, load_runtime

_LIMIT = 300.0
SYSCALL = "SYSCALL"


@dataclass(frozen=True)
class Cost:
    """Between two marks: exits by what they are for, and bytes of guest code."""

    exits: Counter[str]
    work: int
    operations: int

    @property
    def exits_per_operation(self) -> float:
        """All of them."""
        return self.exits.total() / self.operations

    @property
    def work_per_operation(self) -> float:
        """Bytes of code."""
        return self.work / self.operations


@dataclass
class _Tally:
    exits: Counter[str] = field(default_factory=Counter)
    now: Callable[[], int] = lambda: 0
    """Nanoseconds of the vCPU that came last: at 1 GHz a byte of code each."""


def exit_name(number: int) -> str:
    """What an exit with the engine's number is for: `#PF`, `CPUID`, `INT 0x82`."""
    code = number - EXIT_BASE
    if code < 0:
        return f"INT {number:#x}"
    vector = code - Exit.EXCEPTION
    if 0 <= vector < 32:
        return NAMES.get(vector, f"exception {vector}")
    return Exit(code).name if code in list(Exit) else f"exit {code:#x}"


@contextmanager
def _counted() -> Iterator[_Tally]:
    """Count the exits of this process's PV vCPUs."""
    tally = _Tally()
    on_exit, on_syscall = PvVcpu.on_exit, PvVcpu.on_syscall

    def count_exit(vcpu: PvVcpu, number: int) -> None:
        tally.exits[exit_name(number)] += 1
        tally.now = vcpu.now
        on_exit(vcpu, number)

    def count_syscall(vcpu: PvVcpu) -> None:
        tally.exits[SYSCALL] += 1
        tally.now = vcpu.now
        on_syscall(vcpu)

    with patch.object(PvVcpu, "on_exit", count_exit), patch.object(PvVcpu, "on_syscall", count_syscall):
        yield tally


class _Marks(Stopwatch):
    """Looks at the tally when the marks come."""

    def __init__(self, tally: _Tally) -> None:
        super().__init__()
        self._tally = tally
        self._first: tuple[Counter[str], int] | None = None
        self.cost: Cost | None = None

    def hypervisor_line(self, text: str) -> None:
        """One or several lines of the hypervisor's log."""
        super().hypervisor_line(text)
        if self._started is not None and self._first is None:
            self._first = Counter(self._tally.exits), self._tally.now()
        elif self.seconds is not None and self._first is not None and self.cost is None:
            exits, now = self._first
            self.cost = Cost(self._tally.exits - exits, self._tally.now() - now, self.operations)


def cost_of(domains: Domains) -> Cost:
    """Run `domains`, of which one PV domain marks what it does.  Raises MeasurementError, and what a runtime raises."""
    plan = from_data({"clock": {"frequency": "1GHz"}, "domains": domains}, Path(), name="exit_count").plan()
    with through_python(), _counted() as tally:
        marks = _Marks(tally)
        report = load_runtime("local").run(plan, RunOptions(timeout=_LIMIT), marks)
    if report.outcome != "finished" or marks.cost is None:
        raise MeasurementError(f"{report.outcome}; the last line was: {marks.latest}")
    marks.cost.exits.subtract([SYSCALL if SYSCALL in marks.cost.exits else "INT 0x82"])  # the second mark itself
    return Cost(+marks.cost.exits, marks.cost.work, marks.cost.operations)
