"""Pydantic's findings in the words of a configuration's author: what was expected, what is there, on which line."""

from typing import Any

from pydantic import BaseModel, ValidationError

from toolstack.config import (
    CheckpointConfig,
    ClockConfig,
    DomainConfig,
    DomainPlacementConfig,
    ExpectConfig,
    HostConfig,
    InputConfig,
    MachineConfig,
    PlacementConfig,
    RayConfig,
    TimelineConfig,
)
from toolstack.errors import Problem, Where, describe, did_you_mean

_EXPECTED = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
}
_NEEDED = {"domains": "a mapping of domains", "kernel": "an ELF file, or a program of guests/",
           "every": "a time such as 10s"}
"""The required keys, for the message where one is missing."""


def problem(error: Any) -> Problem:
    """One entry of `ValidationError.errors()`, without its line."""
    where: Where = tuple(part for part in error["loc"] if part != "[key]")
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(where[-1])
        return Problem(where, f"unknown key{did_you_mean(key, _keys(where[:-1]))}")
    if kind == "missing":
        return Problem(where, f"expected {_NEEDED.get(str(where[-1]), 'a value')}, got nothing")
    if kind == "value_error":
        return Problem(where, str(context["error"]))
    if kind == "literal_error":
        choices = context["expected"].replace("'", "")
        return Problem(where, f"expected {choices}, got {describe(value)}")
    if kind in ("too_short", "string_too_short"):
        least = "at least one domain" if where == ("domains",) else "text that is not empty"
        return Problem(where, f"expected {least}")
    if kind in ("greater_than_equal", "less_than_equal", "less_than"):
        limit = next(iter(context.values()))
        relation = {"greater_than_equal": "at least", "less_than_equal": "at most", "less_than": "less than"}[kind]
        return Problem(where, f"expected {relation} {limit}, got {describe(value)}")
    expected = _EXPECTED.get(kind, error["msg"].removeprefix("Input should be ").removeprefix("a valid "))
    hint = " (put it in quotes)" if kind == "string_type" and isinstance(value, int | bool) else ""
    return Problem(where, f"expected {expected}, got {describe(value)}{hint}")


def problems(error: ValidationError) -> list[Problem]:
    """Everything that a validation found, without lines."""
    return [problem(entry) for entry in error.errors(include_url=False)]


def _keys(where: Where) -> list[str]:
    """The keys that the mapping at `where` may have."""
    models: dict[str, type[BaseModel]] = {
        "clock": ClockConfig, "machine": MachineConfig, "domains": DomainConfig, "expect": ExpectConfig,
        "checkpoint": CheckpointConfig, "placement": PlacementConfig, "ray": RayConfig, "timeline": TimelineConfig,
    }
    model = models.get(str(where[0]), HostConfig) if where else HostConfig
    if where[:1] == ("domains",) and "input" in where[2:]:
        model = InputConfig
    if where[:1] == ("domains",) and "placement" in where[2:]:
        model = DomainPlacementConfig
    return list(model.model_fields)
