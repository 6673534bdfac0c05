"""Every number, size and offset in abi/ is the one in Xen's public headers (Debian's libxen-dev, Xen 4.17).

A C file with all of them as constant expressions is compiled for a 32-bit and a 64-bit guest; the values are read back
from the object file, so nothing has to run.  A definition that is not compared and not in NOT_IN_HEADERS fails.
"""

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import unpack_from
from typing import Any

import pytest

import abi
from abi.domctl import XEN_DOMCTL_INTERFACE_VERSION
from abi.errno import Errno
from abi.layout import U8, U16, U32, Layout, Scalar, measure, places
from abi.naming import c_name, plain_name

NOT_IN_HEADERS = {
    "abi.cpuid": {"XEN_HYPERCALL_MSR": "a guest reads the MSR's number from CPUID"},
    "abi.errno": {"XenError": "Python's side of an error"},
    "abi.layout": dict.fromkeys(
        ("Scalar", "Array", "Each", "Union", "ByWidth", "Shape", "Layout", "Type", "measure", "places"),
        "the language of layouts"),
    "abi.memory": dict.fromkeys(
        ("E820ENTRY", "E820_RAM", "E820_RESERVED", "E820_ACPI", "E820_NVS", "E820_UNUSABLE"), "the PC firmware's"),
    "abi.naming": dict.fromkeys(("E", "c_prefix", "c_name", "plain_name"), "the rule of names"),
    "abi.types": dict.fromkeys(
        ("Domid", "VcpuId", "VcpuRow", "Port", "Gfn", "Mfn", "GrantRef", "GrantHandle",
         "PAGE_SHIFT", "PAGE_SIZE", "NEVER"),
        "our own types"),
    "abi.xen": {"PER_VCPU_VIRQS": "behaviour, in comments of xen.h only"},
}
"""Definitions without a counterpart in the headers: module, name, reason."""

CHECKED_AS = {
    "GRANT_STATUS_SIZE": "sizeof(grant_status_t)",
    "XEN_COMMANDLINE_LEN": "sizeof(xen_commandline_t)",
    "XEN_DOMAIN_HANDLE_LEN": "sizeof(xen_domain_handle_t)",
}
"""Constants that the headers express in another way."""

SCALARS = {
    "U8": "uint8_t", "U16": "uint16_t", "U32": "uint32_t", "U64": "uint64_t", "U64_ALIGNED": "uint64_aligned_t",
    "I8": "int8_t", "I16": "int16_t", "I32": "int32_t", "I64": "int64_t",
    "ULONG": "xen_ulong_t", "LONG": "long", "POINTER": "XEN_GUEST_HANDLE(void)",
}

LEFT_OUT = {
    "GNTTABOP_error_msgs": "texts",
    "PHYSDEVOP_pirq_eoi_gmfn": "stands for its second version",
    "XENMEM_(access|paging|sharing)_op_.*|XENMEM_(SHARING_OP|FORK)_.*": "for tools",
    "XEN_DOMCTL_.*": "abi.domctl has what the tools' side needs",
    "XS_DEBUG": "XS_CONTROL's old name",
    "__HYPERVISOR_VIRT_.*": "without the underscores in abi.x86_32 and abi.x86_64",
}
"""Names of the headers (regular expressions) that look as if an enumeration lacked them, and why it does."""

PROLOGUE = """
#include <stddef.h>
#include <stdint.h>
#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/nmi.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/hvm_vcpu.h>
#include <xen/hvm/params.h>
#include <xen/io/console.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>
#define __XEN__ /* or errno.h hides the two that guests never see */
#define XEN_ERRNO(name, value) XEN_##name = value,
enum all_errors {
#include <xen/errno.h>
};
#undef __XEN__
"""
MAGIC = b"values of the ABI follow"
TARGETS = {32: "x86-linux-musl", 64: "x86_64-linux-musl"}


@dataclass(frozen=True)
class Fact:
    """`value` is what abi/ says of the C expression."""

    about: str
    expression: str
    value: int


def modules() -> list[str]:
    return [f"abi.{module.name}" for module in pkgutil.iter_modules(abi.__path__)]


def definitions(module: str) -> dict[str, Any]:
    """The public names that a module of abi/ defines itself, with their values."""
    loaded = importlib.import_module(module)
    names: list[str] = []
    for node in ast.parse(Path(loaded.__file__ or "").read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return {name: getattr(loaded, name) for name in names if not name.startswith("_")}


def widths(module: str) -> tuple[int, ...]:
    """The widths of guest that a module is about."""
    return (int(module[-2:]),) if module.endswith(("_32", "_64")) else (32, 64)


def constant_name(layout: Layout) -> str:
    return re.sub(r"\W", "_", layout.name.removeprefix("union ").removeprefix("xen_")).upper()


def c_type(name: str) -> str:
    """The C type that a layout's name stands for."""
    tag, _, member = name.partition(".")
    tag = tag if tag.startswith("union ") else f"struct {tag}"
    return f"__typeof__((({tag} *)0)->{member})" if member else tag


def facts_of_layout(layout: Layout, bits: int) -> Iterator[Fact]:
    c, shape = c_type(layout.name), layout.at(bits)
    yield Fact(f"size of {layout.name}", f"sizeof({c})", shape.size)
    yield Fact(f"alignment of {layout.name}", f"_Alignof({c})", shape.align)
    for path, offset, width in places(layout, bits):
        if path:
            member = re.sub(r"\.(\d+)", r"[\1]", ".".join(path))
            yield Fact(f"offset of {layout.name}.{member}", f"offsetof({c}, {member})", offset)
            if width:  # an array that the structure ends in has no size
                yield Fact(f"width of {layout.name}.{member}", f"sizeof((({c} *)0)->{member})", width)


def facts_of_scalar(name: str, scalar: Scalar, bits: int) -> Iterator[Fact]:
    c = SCALARS[name]
    code = scalar.code32 if bits == 32 else scalar.code64
    size, align = measure(scalar, bits)
    yield Fact(f"size of {name}", f"sizeof({c})", size)
    yield Fact(f"alignment of {name}", f"offsetof(struct {{ char before; {c} it; }}, it)", align)
    if name != "POINTER":
        yield Fact(f"sign of {name}", f"({c})-1 < 0", code.islower())


def facts(name: str, value: object, bits: int) -> list[Fact]:
    """What a definition claims.  Raises TypeError where there is no rule how to compare it."""
    if isinstance(value, Layout):
        assert name == constant_name(value), f"{name}: the constant of {value.name} is called {constant_name(value)}"
        return list(facts_of_layout(value, bits)) if value.bits in (None, bits) else []
    if isinstance(value, type) and issubclass(value, IntEnum):
        return [Fact(c_name(member), c_name(member), member.value) for member in value.__members__.values()]
    if isinstance(value, Scalar) and name in SCALARS:
        return list(facts_of_scalar(name, value, bits))
    if isinstance(value, dict) and value.keys() == {32, 64}:
        value = value[bits]
    if isinstance(value, int):
        return [Fact(name, CHECKED_AS.get(name, name), value)]
    if isinstance(value, bytes):
        value = ".byte " + ",".join(f"{byte:#04x}" for byte in value) + " ; "
    if isinstance(value, str):
        return [Fact(name, f'__builtin_strcmp({name}, "{value}") == 0', True)]
    raise TypeError(f"{name}: no rule how to compare {value!r} with the headers")


def claims(module: str, bits: int) -> list[Fact]:
    """Every fact that a module states about guests of a width."""
    if bits not in widths(module):
        return []
    found: list[Fact] = []
    for name, value in definitions(module).items():
        if name not in NOT_IN_HEADERS.get(module, {}):
            found += facts(name, value, bits)
    return found


class Compiler:
    """Evaluates C expressions with Xen's headers for guests of one width."""

    def __init__(self, include: Path, work: Path) -> None:
        self.work = work
        # Only xen/ may come from the system: its C library's headers are not the target's.
        (work / "xen").symlink_to(include / "xen", target_is_directory=True)

    def run(self, bits: int, source: str, *arguments: str) -> str:
        file = self.work / f"abi{bits}.c"
        file.write_text(source)
        command = [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[bits], "-std=gnu11", "-fno-sanitize=all",
                   "-w", "-ferror-limit=0", "-I", str(self.work), str(file), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LookupError("\n".join(line for line in done.stderr.splitlines() if "error:" in line) or done.stderr)
        return done.stdout

    def evaluate(self, bits: int, expressions: list[str]) -> list[int]:
        """Their values modulo 2**64.  Raises LookupError, naming what the headers lack."""
        rows = "".join(f"    (unsigned long long)({expression}),\n" for expression in expressions)
        object_file = self.work / f"abi{bits}.o"
        self.run(bits, f"""{PROLOGUE}
const struct {{ char magic[{len(MAGIC)}]; unsigned long long values[{len(expressions)}]; }} found = {{
    "{MAGIC.decode()}", {{\n{rows}}} }};\n""", "-c", "-o", str(object_file))
        data = object_file.read_bytes()
        return list(unpack_from(f"<{len(expressions)}Q", data, data.index(MAGIC) + len(MAGIC)))

    def macros(self, bits: int) -> set[str]:
        """The names of all macros without parameters."""
        return set(re.findall(r"^#define (\w+) ", self.run(bits, PROLOGUE, "-E", "-dM"), re.MULTILINE))

    def differences(self, bits: int, stated: list[Fact]) -> list[str]:
        found = self.evaluate(bits, [fact.expression for fact in stated])
        return [f"{fact.about} is {real:#x}, not {fact.value:#x} ({bits}-bit)"
                for fact, real in zip(stated, found, strict=True) if fact.value % (1 << 64) != real]


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    places_to_look = [*os.environ.get("CPATH", "").split(":"), *os.environ.get("C_INCLUDE_PATH", "").split(":"),
                      "/usr/local/include", "/usr/include"]
    for place in filter(None, places_to_look):
        header = Path(place, "xen", "domctl.h")
        if header.exists():
            version = re.search(r"XEN_DOMCTL_INTERFACE_VERSION\s+(\w+)", header.read_text())
            if version and int(version[1], 16) == XEN_DOMCTL_INTERFACE_VERSION:
                return Compiler(Path(place), tmp_path_factory.mktemp("abi"))
    message = "Xen 4.17's public headers are not on the include path (Debian: libxen-dev)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.mark.parametrize(("module", "bits"), [(module, bits) for module in modules() for bits in widths(module)])
def test_definitions_are_those_of_the_headers(compiler: Compiler, module: str, bits: int) -> None:
    assert compiler.differences(bits, claims(module, bits)) == []


def test_every_definition_is_compared_or_listed() -> None:
    for module in modules():
        for name, value in definitions(module).items():
            if name not in NOT_IN_HEADERS.get(module, {}):
                assert any(facts(name, value, bits) for bits in widths(module)), f"{module}.{name}"


def test_lists_of_exceptions_name_what_exists(compiler: Compiler) -> None:
    for module, names in NOT_IN_HEADERS.items():
        assert names.keys() <= definitions(module).keys()
        assert not names.keys() & compiler.macros(64)
    everything = {name for module in modules() for name in definitions(module)}
    assert CHECKED_AS.keys() | SCALARS.keys() <= everything
    for pattern in LEFT_OUT:
        assert any(re.fullmatch(pattern, macro) for macro in compiler.macros(64)), pattern


def test_enumerations_have_every_member_that_the_headers_have(compiler: Compiler) -> None:
    stated = {fact.about for module in modules() for bits in (32, 64) for fact in claims(module, bits)}
    prefixes = {c_name(member).removesuffix(plain_name(member.name))
                for module in modules() for value in definitions(module).values()
                if isinstance(value, type) and issubclass(value, IntEnum) for member in value}
    prefixes.remove("XEN_")  # errno.h has an enumeration of its own, and the prefix is everybody's
    missing = [name for name in sorted((compiler.macros(32) | compiler.macros(64)) - stated)
               if name.startswith(tuple(prefixes)) and not any(re.fullmatch(pattern, name) for pattern in LEFT_OUT)]
    assert missing == []


def test_every_error_number_of_the_headers_is_known(compiler: Compiler) -> None:
    in_header = set(re.findall(r"^XEN_ERRNO\((\w+),", (compiler.work / "xen" / "errno.h").read_text(), re.MULTILINE))
    assert in_header - {"EWOULDBLOCK", "EDEADLOCK"} == Errno.__members__.keys()  # two second names


def test_a_wrong_number_a_wrong_layout_and_an_unknown_name_are_noticed(compiler: Compiler) -> None:
    assert compiler.differences(64, facts("DOMID_SELF", 0x7FF1, 64))
    wrong = Layout("evtchn_status", dom=U16, port=U32, status=U8)
    assert len(compiler.differences(32, facts("EVTCHN_STATUS", wrong, 32))) == 2
    with pytest.raises(LookupError, match="EVTCHNOP_teleport"):
        compiler.differences(64, [Fact("EVTCHNOP_teleport", "EVTCHNOP_teleport", 99)])
    with pytest.raises(LookupError, match="colour"):
        compiler.differences(64, facts("EVTCHN_CLOSE", Layout("evtchn_close", colour=U32), 64))
    with pytest.raises(TypeError, match="no rule"):
        facts("SOMETHING", 1.5, 64)
