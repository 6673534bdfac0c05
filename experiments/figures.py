"""What `experiments.microbench` measures: each experiment, its figures, and what they are held against.

Targets are those that the project set itself for a machine with two cores.  The baseline is what a user would take
instead: Xen 4.17 inside QEMU's software emulation, measured on the same kind of machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments import footprint, startup
from experiments.stopwatch import Domains, seconds_per_operation
from toolstack.plan import ClockMode
from toolstack.runtime import RuntimeName

MICROSECONDS, PER_SECOND, MILLIONS, SECONDS, MEBIBYTES = "us", "/s", "million/s", "s", "MiB"
_MORE_IS_BETTER = (PER_SECOND, MILLIONS)
_MIB = 1 << 20
_CALLS, _GRANTS = 64, 32
_WHERE: Mapping[RuntimeName, str] = {"local": "one process", "ray": "a Ray actor each"}
_RAY_DOMAINS = 4
_FEW, _MANY = 2, 10

Amount = Callable[[int], int]
"""From the count of a full measurement to the one that is wanted."""


@dataclass(frozen=True)
class Figure:
    """A number.  `target` and `baseline` are in its `unit`; None where there is none."""

    name: str
    what: str
    unit: str
    target: float | None = None
    baseline: float | None = None
    baseline_text: str = ""
    """The baseline where it is no single number."""

    def met(self, value: float) -> bool | None:
        """Whether `value` reaches the target; None without one."""
        if self.target is None:
            return None
        return value >= self.target if self.unit in _MORE_IS_BETTER else value <= self.target


@dataclass(frozen=True)
class Experiment:
    """What is measured at once.  `measure(amount)` gives a value for each of its figures."""

    name: str
    figures: tuple[Figure, ...]
    measure: Callable[[Amount], Sequence[float]]


def _bench(test: str, count: int, what: str, *, unit: str = MICROSECONDS, name: str = "", clock: ClockMode = "virtual",
           target: float | None = None, baseline: float | None = None) -> Experiment:
    """One test of `guests/bench/bench.c`, `count` operations of it."""

    def measure(amount: Amount) -> Sequence[float]:
        cmdline = f"test={test} count={amount(count)}"
        domains = {"bench": {"kernel": "bench/bench", "cmdline": cmdline, "memory": "16MiB"}}
        return [_in_unit(unit, seconds_per_operation(domains, clock=clock))]

    name = name or test
    return Experiment(name, (Figure(name, what, unit, target, baseline),), measure)


def _pingpong(mode: str, runtime: RuntimeName, rounds: int, target: float | None, baseline: float | None) -> Experiment:
    def measure(amount: Amount) -> Sequence[float]:
        domains = _pair("pingpong", ("ping", f"rounds={amount(rounds)} mode={mode}"), ("pong", f"mode={mode}"))
        return [1 / seconds_per_operation(domains, runtime=runtime)]

    how = {"poll": "poll", "block": "block with upcall"}[mode]
    name = f"pingpong-{mode}-{runtime}"
    what = f"ping-pong of two domains, {how}, {_WHERE[runtime]}"
    return Experiment(name, (Figure(name, what, PER_SECOND, target, baseline),), measure)


def _stream(runtime: RuntimeName, size: int) -> Experiment:
    def measure(amount: Amount) -> Sequence[float]:
        domains = _pair("bench/stream", ("send", f"bytes={amount(size)}"), ("receive", ""))
        return [1e-6 / seconds_per_operation(domains, runtime=runtime)]

    name = f"stream-{runtime}"
    what = f"bytes through one shared page, {_WHERE[runtime]}"
    return Experiment(name, (Figure(name, what, MILLIONS),), measure)


def _start(runtime: RuntimeName, target: float) -> Experiment:
    what = f"from the command to both guests' first line, {_WHERE[runtime]}"
    figure = Figure(f"start-{runtime}", what, SECONDS, target, None, "8 to 10")
    return Experiment(figure.name, (figure,), lambda amount: [startup.seconds_to_first_lines(runtime)])


def _memory_ray(amount: Amount) -> Sequence[float]:
    memory = footprint.of_an_actor(_RAY_DOMAINS)
    return [memory.pss / _MIB, memory.rss / _MIB]


def _memory_local(amount: Amount) -> Sequence[float]:
    return [footprint.of_one_more(_FEW, _MANY) / _MIB]


def _pair(kernel: str, first: tuple[str, str], second: tuple[str, str]) -> Domains:
    """Two domains with the roles and further words given, each the other's peer."""
    return {
        role: {"kernel": kernel, "cmdline": f"role={role} peer=${{{peer}.domid}} {words}", "memory": "16MiB"}
        for (role, words), (peer, _) in ((first, second), (second, first))
    }


def _in_unit(unit: str, seconds: float) -> float:
    return seconds * 1e6 if unit == MICROSECONDS else 1e-6 / seconds


EXPERIMENTS = (
    _bench("null", 500_000, "a hypercall that does nothing (xen_version)", target=3, baseline=0.42),
    _bench("multicall", 5_000, f"a multicall of {_CALLS} such calls"),
    _bench("selfevent-masked", 100_000, "an event to oneself, the port masked"),
    _bench("selfevent", 60_000, "an event to oneself with its upcall"),
    _bench("yield", 300_000, "SCHEDOP_yield with nobody else there"),
    _bench("gnt1", 40_000, "grant map and unmap of one page", target=17, baseline=17),
    _bench("gnt32", 2_000, f"grant map and unmap of {_GRANTS} pages in one call each"),
    _bench("copy", 60_000, "grant copy of 4 KiB"),
    _pingpong("poll", "local", 15_000, None, None),
    _pingpong("block", "local", 15_000, 30_000, 13_000),
    _pingpong("poll", "ray", 15_000, None, None),
    _pingpong("block", "ray", 15_000, 20_000, 13_000),
    _bench("loop", 2_000_000_000, "guest instructions, a register loop, virtual clock", unit=MILLIONS,
           name="loop-virtual", target=100),
    _bench("loop", 2_000_000_000, "guest instructions, a register loop, host clock", unit=MILLIONS,
           name="loop-host", clock="host", target=350),
    _stream("local", 64 * _MIB),
    _stream("ray", 64 * _MIB),
    _start("local", 1.5),
    _start("ray", 6),
    Experiment("memory-ray", (
        Figure("memory-ray-pss", f"memory of a domain's actor, {_RAY_DOMAINS} domains: its share (PSS)",
               MEBIBYTES),
        Figure("memory-ray-rss", "the same: everything that it maps (RSS)", MEBIBYTES)), _memory_ray),
    Experiment("memory-local", (
        Figure("memory-local", "memory of one more domain, one process (PSS)", MEBIBYTES),), _memory_local),
)
"""In the order of the table."""
