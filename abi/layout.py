"""A small language for the C structures of the ABI, in the 32-bit and the 64-bit layout of the x86 System V ABIs.

    ALLOC_UNBOUND = Layout("evtchn_alloc_unbound", dom=U16, remote_dom=U16, port=U32)
    shape = ALLOC_UNBOUND.at(64)
    dom, remote_dom, port = shape.unpack(data)          # a plain tuple: the fast way
    shape.named(data).remote_dom                        # the readable way
    shape.pack(dom, remote_dom, port)                   # bytes of exactly shape.size
    shape.offset["port"], shape.width["port"]           # for reading or writing one field

Nested layouts contribute their fields as `outer_inner`, `Each` its elements as `outer_0`, `outer_1`...; arrays and
unions contribute one field of raw bytes.  A member of a union has its place in `offset` and `width` (`outer_member`).
"""

import re
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Any

from abi.naming import plain_name


@dataclass(frozen=True)
class Scalar:
    """An integer: struct code, size and alignment in bytes, for 32-bit and 64-bit guests."""

    code32: str
    code64: str
    size32: int
    size64: int
    align32: int
    align64: int


def _fixed(code: str, size: int, align32: int | None = None) -> Scalar:
    return Scalar(code, code, size, size, size if align32 is None else align32, size)


U8, U16, U32 = _fixed("B", 1), _fixed("H", 2), _fixed("I", 4)
I8, I16, I32 = _fixed("b", 1), _fixed("h", 2), _fixed("i", 4)
U64, I64 = _fixed("Q", 8, align32=4), _fixed("q", 8, align32=4)
U64_ALIGNED = _fixed("Q", 8)
"""`uint64_aligned_t`: eight-byte aligned for 32-bit guests too."""
ULONG = Scalar("I", "Q", 4, 8, 4, 8)
"""`unsigned long`, `xen_ulong_t` and `xen_pfn_t` of x86 guests."""
LONG = Scalar("i", "q", 4, 8, 4, 8)
POINTER = ULONG
"""A guest handle."""


@dataclass(frozen=True)
class Array:
    """`count` elements in a row; one field of raw bytes."""

    element: "Type"
    count: int


@dataclass(frozen=True)
class Each:
    """`count` integers in a row; each is a field of its own."""

    element: Scalar
    count: int


class Union:
    """Members that begin at the same place, as long as the largest; one field of raw bytes."""

    def __init__(self, **members: "Type") -> None:
        self.members = members


class ByWidth:
    """A field whose type depends on the guest's width; None where it is absent."""

    def __init__(self, kind32: "Type | None", kind64: "Type | None") -> None:
        self.kind32, self.kind64 = kind32, kind64


class Shape:
    """One structure in one layout: `size` and `align` in bytes, `offset` and `width` by field."""

    def __init__(self, name: str, bits: int, fields: "dict[str, Type]") -> None:
        self.name, self.bits = name, bits
        self.offset: dict[str, int] = {}
        self.width: dict[str, int] = {}
        self.code, names, at, self.align = "<", [], 0, 1
        for field, kind in fields.items():
            size, align = measure(kind, bits)
            pad = -at % align
            self.code += f"{pad}x" if pad else ""
            at += pad
            self.align = max(self.align, align)
            code, inner_names = _packing(kind, bits)
            self.code += code
            names += [f"{field}_{inner}" if inner else field for inner in inner_names]
            for path, where, width in places(kind, bits):
                key = "_".join((field, *path))
                self.offset[key], self.width[key] = at + where, width
            at += size
        pad = -at % self.align
        self.code += f"{pad}x" if pad else ""
        self.names = tuple(names)
        self.size = at + pad
        compiled = Struct(self.code)
        assert compiled.size == self.size
        self.unpack = compiled.unpack
        self.unpack_from = compiled.unpack_from
        self.pack = compiled.pack
        self.pack_into = compiled.pack_into
        self._record: Any = None  # made when first wanted: a class takes longer than all the rest

    def named(self, data: bytes | memoryview) -> Any:
        """The fields as a named tuple."""
        if self._record is None:
            name = re.sub(r"\W", "_", self.name) or "nameless"
            self._record = namedtuple(name, self.names, rename=True)  # type: ignore[misc]
        return self._record._make(self.unpack(data))


class Layout:
    """A structure: its C name and its fields in order.  `at(32)` and `at(64)` give its two shapes.

    The name is a structure's tag; `union tag`; either with `.member` for a member's nameless type; or empty where the
    type is nameless and its outer structure says all.  With `bits` it exists for guests of that width alone.
    A field whose name is a Python keyword is written with an underscore (`in_=U32`) and is called `in` all the same.
    """

    def __init__(self, name: str, bits: int | None = None, /, **fields: "Type | ByWidth") -> None:
        self.name, self.bits = name, bits
        self.fields = {plain_name(field): kind for field, kind in fields.items()}
        self._shapes: dict[int, Shape] = {}

    def at(self, bits: int) -> Shape:
        """The structure as a guest of `bits` (32 or 64) lays it out.  Raises ValueError where such guests lack it."""
        shape = self._shapes.get(bits)
        if shape is None:
            shape = self._shapes[bits] = Shape(self.name, bits, self.fields_at(bits))
        return shape

    def fields_at(self, bits: int) -> "dict[str, Type]":
        """The fields that the structure has for a guest of `bits`, with their types there."""
        if bits not in (32, 64) or self.bits not in (None, bits):
            raise ValueError(f"{self.name} has no {bits}-bit layout")
        fields: dict[str, Type] = {}
        for field, kind in self.fields.items():
            if isinstance(kind, ByWidth):
                chosen = kind.kind32 if bits == 32 else kind.kind64
                if chosen is not None:
                    fields[field] = chosen
            else:
                fields[field] = kind
        return fields


Type = Scalar | Layout | Array | Each | Union


@cache
def measure(kind: Type, bits: int) -> tuple[int, int]:
    """Size and alignment in bytes of a type for a guest of `bits`."""
    if isinstance(kind, Scalar):
        return (kind.size32, kind.align32) if bits == 32 else (kind.size64, kind.align64)
    if isinstance(kind, Layout):
        shape = kind.at(bits)
        return shape.size, shape.align
    if isinstance(kind, Array | Each):
        size, align = measure(kind.element, bits)
        return size * kind.count, align
    sizes = [measure(member, bits) for member in kind.members.values()]
    align = max(align for _, align in sizes)
    size = max(size for size, _ in sizes)
    return size + -size % align, align


def places(kind: Type, bits: int) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """What lies inside a type: path, offset and width in bytes; first the type itself, with an empty path."""
    size, _ = measure(kind, bits)
    yield (), 0, size
    if isinstance(kind, Layout):
        offset = kind.at(bits).offset
        for field, inner in kind.fields_at(bits).items():
            for path, where, width in places(inner, bits):
                yield (field, *path), offset[field] + where, width
    elif isinstance(kind, Union):
        for member, inner in kind.members.items():
            for path, where, width in places(inner, bits):
                yield (member, *path), where, width
    elif isinstance(kind, Each):
        step = size // kind.count
        for index in range(kind.count):
            yield (str(index),), index * step, step


def _packing(kind: Type, bits: int) -> tuple[str, tuple[str, ...]]:
    """A type's struct code and the names of the values that it packs; the type itself has an empty name."""
    if isinstance(kind, Layout):
        inner = kind.at(bits)
        return inner.code[1:], inner.names
    if isinstance(kind, Each):
        code = kind.element.code32 if bits == 32 else kind.element.code64
        return code * kind.count, tuple(str(index) for index in range(kind.count))
    if isinstance(kind, Scalar):
        return (kind.code32 if bits == 32 else kind.code64), ("",)
    size, _ = measure(kind, bits)
    return f"{size}s", ("",)
