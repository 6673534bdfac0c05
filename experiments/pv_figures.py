"""What paravirtual guests cost: the figures of `experiments.microbench` that are theirs."""

from collections.abc import Sequence
from typing import Any

from experiments.figures import MICROSECONDS, Amount, Experiment, Figure
from experiments.stopwatch import seconds_per_operation


def bench_domain(test: str, count: int, *, kernel: str = "bench/pv", bits: int = 64, words: str = "") -> dict[str, Any]:
    """The configuration of a paravirtual domain that runs one test of a program of `guests/bench`."""
    return {"type": "pv", "bits": bits, "kernel": kernel, "cmdline": f"test={test} count={count} {words}".rstrip(),
            "memory": "16MiB"}


def _bench(name: str, test: str, count: int, what: str, target: float | None = None, *, kernel: str = "bench/pv",
           bits: int = 64) -> Experiment:
    def measure(amount: Amount) -> Sequence[float]:
        domains = {"bench": bench_domain(test, amount(count), kernel=kernel, bits=bits)}
        return [1e6 * seconds_per_operation(domains)]

    return Experiment(name, (Figure(name, what, MICROSECONDS, target),), measure)


PV_EXPERIMENTS = (
    _bench("pv64-null", "null", 300_000, "64-bit PV: a hypercall that does nothing", 3, kernel="bench/bench"),
    _bench("pv32-null", "null", 200_000, "32-bit PV: a hypercall that does nothing", kernel="bench/bench", bits=32),
    _bench("pv64-update", "update-flush", 100_000, "64-bit PV: update_va_mapping with a flush", 8),
    _bench("pv64-batch", "update-batch", 1_000_000, "64-bit PV: mmu_update in batches of 512, an entry", 1.5),
    _bench("pv64-emulated", "emulated", 100_000, "64-bit PV: an instruction that Xen emulates after #GP", 6),
    _bench("pv64-bounce", "bounce", 50_000, "64-bit PV: a page fault bounced to the kernel, and its iret", 15),
)
"""In the order of the table."""
