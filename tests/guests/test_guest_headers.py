"""The guests' own headers say what abi/ says, in either width."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import IntEnum
from types import ModuleType

import pytest

import abi
from abi.layout import Layout
from abi.naming import c_name
from guests.build import LIBRARY, default_cache

HEADERS = sorted((LIBRARY / "include" / "abi").glob("*.h"))
TARGETS = {32: "x86-freestanding-none", 64: "x86_64-freestanding-none"}
OURS = {"EVTCHN_WORDS"}
"""Names that Xen's headers do not have."""


def modules() -> list[ModuleType]:
    return [importlib.import_module(f"abi.{module.name}") for module in pkgutil.iter_modules(abi.__path__)]


def numbers() -> dict[str, int]:
    """Every constant of abi/ by its C name."""
    found: dict[str, int] = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, int) and not isinstance(value, bool):
                found[name] = int(value)
            elif isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum:
                found |= {c_name(member): int(member) for member in value if value.__module__.startswith("abi.")}
    return found


def layouts() -> dict[str, Layout]:
    """Every structure of abi/ by its C tag."""
    return {value.name: value for module in modules() for value in vars(module).values() if isinstance(value, Layout)}


def number_assertions() -> Iterator[str]:
    known = numbers()
    for header in HEADERS:
        for name in re.findall(r"^#define (\w+) ", header.read_text(), re.MULTILINE):
            if name not in OURS:
                yield f'_Static_assert((long long)({name}) == {known[name]}LL, "{name}");'


def structures(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each structure of a header: its tag, and the names that stand in it outside inner structures."""
    for tag, body in re.findall(r"^struct (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        while re.search(r"\{[^{}]*\}", body):
            body = re.sub(r"\{[^{}]*\}", "", body)
        yield tag, set(re.findall(r"\w+", re.sub(r"/\*.*?\*/", "", body)))


def layout_assertions(bits: int) -> Iterator[str]:
    known = layouts()
    for header in HEADERS:
        for tag, names in structures(header.read_text()):
            shape = known[tag].at(bits)
            yield f'_Static_assert(sizeof(struct {tag}) == {shape.size}, "size of {tag}");'
            for name in names & shape.offset.keys():
                yield f'_Static_assert(offsetof(struct {tag}, {name}) == {shape.offset[name]}, "{tag}.{name}");'


@pytest.mark.parametrize("bits", [32, 64])
def test_the_guests_headers_agree_with_abi(bits, tmp_path):
    assertions = [*number_assertions(), *layout_assertions(bits)]
    assert len(assertions) > 300
    source = tmp_path / "agree.c"
    includes = ["#include <stddef.h>", *(f'#include "abi/{header.name}"' for header in HEADERS)]
    source.write_text("\n".join([*includes, *assertions, ""]))
    cache = str(default_cache() / "zig")
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[bits], "-std=gnu17", "-ffreestanding",
         f"-I{LIBRARY / 'include'}", "-c", str(source), "-o", str(tmp_path / "agree.o")],
        capture_output=True, text=True, check=False,
        env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache})
    assert done.returncode == 0, done.stderr
