"""A host that goes on from a checkpoint does what it would have done: the digest says so, and so does all else."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from going_on import Silent, check, facts, resume, run
from shipped import names

from toolstack.checkpoint import read, written
from toolstack.load import load
from toolstack.plan import CheckpointPlan
from toolstack.runtime import RunOptions, load_runtime
from toolstack.testing import Domain, Host

ROOT = Path(__file__).parents[3]
LAUNCH = [sys.executable, str(ROOT / "launch.py"), "--quiet"]


@pytest.mark.parametrize("name", names())
def test_going_on_makes_no_difference(configs: Path, tmp_path: Path, name: str) -> None:
    check(load(str(configs / f"{name}.yaml")).plan(), tmp_path, 20)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A configuration of two guests with mapped grants and bound ports, and checkpoints."""
    file = tmp_path / "pair.yaml"
    file.write_text('checkpoint: {every: 500us, directory: kept, keep: 100}\n'
                    'domains:\n'
                    '  writer: {kernel: writer, cmdline: "peer=${reader.domid}"}\n'
                    '  reader: {kernel: reader, cmdline: "peer=${writer.domid}"}\n')
    return file


def launched(*arguments: object) -> dict[str, object]:
    done = subprocess.run([*LAUNCH, "--runtime", "local", "--json", "-", *map(str, arguments)], capture_output=True,
                          text=True, timeout=60, check=True)
    report: dict[str, object] = json.loads(done.stdout)
    del report["host_seconds"]
    for domain in report["domains"].values():  # type: ignore[attr-defined]
        del domain["host_seconds"]
    return report


def test_another_process_goes_on(pair: Path) -> None:
    whole = launched(pair)
    paths = written(pair.parent / "kept")
    assert len(paths) >= 3
    for path in paths:
        assert launched("--restore", path) == whole


def test_the_kernels_may_have_changed_since(pair: Path) -> None:
    plan = load(str(pair)).plan()
    moved = pair.parent / "kernel"
    moved.write_bytes(plan.domains[0].kernel.read_bytes())
    plan = replace(plan, domains=(replace(plan.domains[0], kernel=moved), *plan.domains[1:]))
    whole = run(plan)
    moved.write_text("not a kernel")
    assert facts(resume(read(pair.parent / "kept"))) == facts(whole)
    moved.unlink()
    assert facts(resume(read(pair.parent / "kept"))) == facts(whole)


def test_checkpoints_go_on_too(pair: Path) -> None:
    """The same ones are taken again by who goes on, byte for byte."""
    run(load(str(pair)).plan())
    paths = written(pair.parent / "kept")[::-1]
    before = [(path / "memory").read_bytes() for path in paths]
    first = read(paths[0])
    run(first.plan, restore=first)
    again = written(pair.parent / "kept")
    assert sorted(again) == sorted(paths)
    assert [(path / "memory").read_bytes() for path in paths] == before
    assert read(again[0]).time == read(paths[-1]).time


def test_the_trace_is_whole(pair: Path, tmp_path: Path) -> None:
    plan, runtime = load(str(pair)).plan(), load_runtime("local")
    runtime.run(plan, RunOptions(trace_path=tmp_path / "whole"), Silent())
    for number, path in enumerate(written(pair.parent / "kept")):
        trace = tmp_path / f"trace-{number}"
        runtime.run(plan, RunOptions(trace_path=trace, restore=read(path)), Silent())
        assert trace.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_crash_after_it_is_told_as_without_it(host: Host, configs: Path, tmp_path: Path) -> None:
    """With the names of functions, which come from the kernel's file."""
    host.load(configs / "abuse_wild.yaml")
    host.run()
    details = [domain.exit_detail for domain in host.report.domains.values()] if host.report else []
    plan = load(str(configs / "abuse_wild.yaml")).plan()
    run(replace(plan, checkpoint=CheckpointPlan(100_000, tmp_path, 100)))
    report = resume(read(written(tmp_path)[-1]))
    assert [domain.exit_detail for domain in report.domains.values()] == details


def test_host_time_goes_on_from_where_it_was(host: Host, tmp_path: Path) -> None:
    host.configure(clock={"mode": "host"}, checkpoint={"every": "300ms", "directory": str(tmp_path)})
    sleeper: Domain = host.domain("first_steps")  # sleeps for a second
    host.run()
    assert sleeper.exit == "poweroff"
    checkpoint = written(tmp_path)[-1]
    taken = read(checkpoint).time
    assert 0.3e9 <= taken < 1.2e9
    report = host.restore(checkpoint)
    assert host.failures == []
    assert report.virtual_time_ns >= 1e9
    assert report.host_seconds < (report.virtual_time_ns - taken) / 1e9 + 1


@pytest.mark.ray
def test_ray_takes_them_and_goes_on_from_them(ray_started: None, configs: Path, tmp_path: Path) -> None:
    """With a PV and a PVH guest, from either runtime to the other."""
    plan = load(str(configs / "mixed.yaml")).plan()
    whole = run(plan)
    every = whole.virtual_time_ns // 5
    rayed = replace(plan, checkpoint=CheckpointPlan(every, tmp_path / "ray", 100))
    assert facts(run(rayed, "ray")) == facts(whole)
    local = replace(plan, checkpoint=CheckpointPlan(every, tmp_path / "local", 100))
    assert facts(run(local)) == facts(whole)
    assert [path.name for path in written(tmp_path / "ray")] == [path.name for path in written(tmp_path / "local")]
    assert facts(resume(read(written(tmp_path / "ray")[0]))) == facts(whole)
    assert facts(resume(read(written(tmp_path / "local")[-1]), "ray")) == facts(whole)
