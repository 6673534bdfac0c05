"""The JSON Schema for editors is current, and agrees with what the program takes."""

import json
import os
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
    try:
        assert load(str(file)).names()
    except ConfigError as error:
        if os.environ.get("CI") == "true" or "it is in Debian's package" not in str(error):
            raise
        pytest.skip(str(error))


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
        ONE + "ray: {address: auto, metrics: true, logs: false}", ONE + "placement: {domains_per_actor: 32}",
        "domains: {w: {kernel: writer, placement: {actor: x}}}",
        "domains: {w: {kernel: writer, placement: {apart: true}}}",
        "domains: {w: {kernel: writer, input: [{expect: a}, {send: b, after: 1.5 ms}, {expect: /a/, send: b}]}}",
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
        "domains: {w: {kernel: writer, memory: 64MB}}", "domains: {w: {kernel: writer, vcpus: 33}}",
        "domains: {w: {kernel: writer, count: 0}}", ONE + "seed: -1", ONE + "clock: {mode: fast}",
        ONE + "machine: {xen_version: '3.4'}", ONE + "expect: {w: {exit: no}}", ONE + "hypercalls: x",
        ONE + "placement: {domains_per_actor: 0}", "domains: {w: {kernel: writer, placement: {actor: ''}}}",
        "domains: {w: {kernel: writer, placement: {apart: true, actor: x}}}",
        "domains: {w: {kernel: writer, input: [{}]}}", "domains: {w: {kernel: writer, input: [{send: ''}]}}",
        "domains: {w: {kernel: writer, input: [{expect: a, after: 1s}]}}",
        "domains: {w: {kernel: writer, input: [{send: a, after: 1}]}}",
    ],
)  # fmt: skip
def test_what_the_schema_refuses_the_program_refuses(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(read("x.yaml", text.encode()).data)
    with pytest.raises(ConfigError):
        load(str(file), FakePrograms())
