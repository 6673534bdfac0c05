"""What the documents say of the repository is so."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from tree import ROOT

from abi.event_channel import EvtchnOp
from abi.grant_table import GnttabOp
from abi.hvm import HvmOp
from abi.memory import MemoryOp
from experiments.microbench import EXPERIMENTS
from experiments.publish import BEGIN, END
from hypervisor import event_channel_op, grant_table_op, hvm_op, memory_op, memory_x86
from hypervisor.hypercalls import ROWS, missing
from toolstack.config import (
    ClockConfig,
    DomainConfig,
    ExpectConfig,
    HostConfig,
    InputConfig,
    MachineConfig,
    RayConfig,
)
from toolstack.load import load

LIMITATIONS = (ROOT / "LIMITATIONS.md").read_text()
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def marked(begin: str) -> list[str]:
    """The lines of LIMITATIONS.md between two marks."""
    text = LIMITATIONS.partition(f"<!-- {begin} -->\n")[2].partition(f"<!-- end of {begin} -->")[0]
    return text.splitlines()


def test_the_table_of_layers_is_the_one_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = [contract for contract in project["tool"]["importlinter"]["contracts"] if contract["type"] == "layers"]
    shown = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert shown == layers["layers"][::-1]


def test_every_package_is_installed_and_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(project["setuptools"]["packages"]) == packages
    assert set(project["mypy"]["packages"]) == packages
    assert packages - set(project["importlinter"]["root_packages"]) == {"guests", "experiments"}


def test_what_limitations_calls_missing_is_missing() -> None:
    rows = [(row.name, [kind for kind in ("pv", "hvm") if getattr(row, kind) is missing]) for row in ROWS]
    assert marked("missing") == [f"- `{name}` ({', '.join(kinds)})" for name, kinds in rows if kinds]


def test_operations_that_limitations_calls_missing_are_missing() -> None:
    in_memory = {*memory_op._COMMON, *memory_op._RESERVATIONS, *memory_x86.X86_OPERATIONS}
    absent = {
        "grant_table_op": [op.name for op in GnttabOp if op not in grant_table_op._OPERATIONS],
        "event_channel_op": [op.name for op in EvtchnOp if op not in event_channel_op._OPERATIONS],
        "hvm_op": [op.name for op in HvmOp if op not in hvm_op._OPERATIONS],
        "memory_op": [op.name for op in MemoryOp if op not in in_memory],
    }
    lines = [f"- `{call}`: " + ", ".join(f"`{name}`" for name in names) for call, names in absent.items() if names]
    assert marked("missing operations") == lines


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_configuration_can_be_built(file: Path) -> None:
    for image in re.findall(r"kernel: (/\S+)", file.read_text()):
        if not Path(image).exists() and os.environ.get("CI") != "true":
            pytest.skip(f"{image} is not installed")
    plan = load(str(file)).plan()
    assert all(domain.kernel.exists() for domain in plan.domains)


def test_every_key_of_a_configuration_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    models = {"": DomainConfig, "clock.": ClockConfig, "machine.": MachineConfig, "ray.": RayConfig}
    keys = {f"{place}{key}" for place, model in models.items() for key in model.model_fields}
    keys |= {key for key in HostConfig.model_fields if key not in ("clock", "machine", "ray")}
    keys |= {*ExpectConfig.model_fields, *InputConfig.model_fields}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_the_readme_has_every_figure() -> None:
    table = (ROOT / "README.md").read_text().partition(BEGIN)[2].partition(END)[0]
    shown = re.findall(r"^\| ([^|-].*?) \| .*[0-9]", table, re.MULTILINE)
    measured = [figure.what for experiment in EXPERIMENTS for figure in experiment.figures]
    assert shown == measured, "python -m experiments.microbench --json FILE; python -m experiments.publish FILE"


def test_the_readmes_command_lines_are_those_that_ci_runs() -> None:
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    lines = re.findall(r"^```sh\n(.*)\n```$", readme, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        assert f"\n{line}\n" in script
