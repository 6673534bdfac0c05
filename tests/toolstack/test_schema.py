"""The JSON Schema for editors is current, and agrees with what the program takes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from toolstack_fakes import FakePrograms

from toolstack import schema
from toolstack.errors import ConfigError
from toolstack.load import load
from toolstack.yaml_lines import read

CONFIGS = Path(__file__).parents[2] / "configs"


def validator() -> Any:
    kept = json.loads((CONFIGS / "domus.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(kept)
    return jsonschema.Draft202012Validator(kept)


def test_the_schema_that_is_kept_is_current() -> None:
    assert (CONFIGS / "domus.schema.json").read_text() == schema.text(), (
        "python -m toolstack.schema > configs/domus.schema.json"
    )


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_shipped_configuration_is_good_to_an_editor(file: Path) -> None:
    document = read(file.name, file.read_bytes())
    validator().validate(document.data)
    assert file.read_text().startswith("# yaml-language-server: $schema=domus.schema.json\n")


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_shipped_configuration_is_good_to_the_program(file: Path) -> None:
    assert load(str(file)).names()


def test_every_key_is_explained() -> None:
    made = schema.schema()
    for model in (made, *made["$defs"].values()):
        unexplained = {key for key, entry in model["properties"].items() if "description" not in entry}
        assert unexplained <= {"clock", "machine", "type", "mode", "cmdline"}


ONE = "domains: {w: {kernel: writer}}\n"


@pytest.mark.parametrize(
    "text",
    [
        ONE, ONE + "clock: {mode: host, epoch: 2026-01-01T00:00:00Z, frequency: 2 GHz}", ONE + "clock: {epoch: 5}",
        ONE + "machine: {memory: 1GiB, xen_version: '4.10'}", "domains: {w: {kernel: writer, memory: 64, count: 3}}",
    ],
)  # fmt: skip
def test_what_the_program_takes_the_schema_takes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert load(str(file), FakePrograms())
    validator().validate(read("x.yaml", text.encode()).data)


@pytest.mark.parametrize(
    "text",
    [
        "{}", "domains: {}", ONE + "x: 1", "domains: {w: {}}", "domains: {'a b': {kernel: writer}}",
        "domains: {w: {kernel: writer, memory: 64MB}}", "domains: {w: {kernel: writer, vcpus: 2}}",
        "domains: {w: {kernel: writer, count: 0}}", ONE + "seed: -1", ONE + "clock: {mode: fast}",
        ONE + "machine: {xen_version: '3.4'}", ONE + "expect: {w: {exit: no}}", ONE + "hypercalls: x",
    ],
)  # fmt: skip
def test_what_the_schema_refuses_the_program_refuses(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(read("x.yaml", text.encode()).data)
    with pytest.raises(ConfigError):
        load(str(file), FakePrograms())
