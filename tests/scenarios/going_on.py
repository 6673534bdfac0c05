"""Whether a host that goes on from a checkpoint does what it would have done."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from toolstack.checkpoint import Checkpoint, read, written
from toolstack.plan import CheckpointPlan, HostPlan
from toolstack.report import RunReport
from toolstack.runtime import RunOptions, RuntimeName, load_runtime

MOST = 4
"""Checkpoints of a run that are gone on from."""


class Silent:
    def console_line(self, name: str, text: str) -> None: ...

    def hypervisor_line(self, text: str) -> None: ...


def facts(report: RunReport) -> object:
    """All that is not the host's time."""
    return report.outcome, report.digest, {name: replace(domain, host_seconds=0)
                                           for name, domain in report.domains.items()}


def run(plan: HostPlan, runtime: RuntimeName = "local", restore: Checkpoint | None = None) -> RunReport:
    return load_runtime(runtime).run(plan, RunOptions(timeout=240, restore=restore), Silent())


def resume(checkpoint: Checkpoint, runtime: RuntimeName = "local") -> RunReport:
    return run(replace(checkpoint.plan, checkpoint=None), runtime, checkpoint)


def several(folder: Path) -> Iterator[Checkpoint]:
    """Some checkpoints of a run, the first and the last of all."""
    paths = written(folder)[::-1]
    step = max(1, len(paths) // MOST)
    return map(read, dict.fromkeys([*paths[::step], paths[-1]]))


def check(plan: HostPlan, folder: Path, times: int, whole: RunReport | None = None) -> None:
    """Go on from checkpoints all over the run, about `times` of which are taken.  `whole`: the run without any."""
    whole = run(plan) if whole is None else whole
    every = max(1, whole.virtual_time_ns // times)
    assert facts(run(replace(plan, checkpoint=CheckpointPlan(every, folder, 10 ** 6)))) == facts(whole)
    for checkpoint in several(folder):
        assert facts(resume(checkpoint)) == facts(whole), checkpoint.path.name
