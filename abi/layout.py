"""A small language for the C structures of the ABI, in the 32-bit and the 64-bit layout of the x86 System V ABIs.

    ALLOC_UNBOUND = Layout("evtchn_alloc_unbound", dom=U16, remote_dom=U16, port=U32)
    shape = ALLOC_UNBOUND.at(64)
    dom, remote_dom, port = shape.unpack(data)          # a plain tuple: the fast way
    shape.named(data).remote_dom                        # the readable way
    shape.pack(dom, remote_dom, port)                   # bytes of exactly shape.size
    shape.offset["port"], shape.width["port"]           # for reading or writing one field

Nested layouts contribute their fields as `outer_inner`; arrays and unions contribute one field of raw bytes.
"""

from collections import namedtuple
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Any


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

    element: "Scalar | Layout | Array | Union"
    count: int


@dataclass(frozen=True)
class Union:
    """The largest of its members, with the strictest alignment; one field of raw bytes."""

    members: "tuple[Scalar | Layout | Array | Union, ...]"


Type = "Scalar | Layout | Array | Union"


class Shape:
    """One structure in one layout: `size` and `align` in bytes, `offset` and `width` by field."""

    def __init__(self, name: str, bits: int, fields: "dict[str, Scalar | Layout | Array | Union]") -> None:
        self.name, self.bits = name, bits
        self.offset: dict[str, int] = {}
        self.width: dict[str, int] = {}
        code, names, at, self.align = "<", [], 0, 1
        for field, kind in fields.items():
            size, align = measure(kind, bits)
            pad = -at % align
            code += f"{pad}x" if pad else ""
            at += pad
            self.align = max(self.align, align)
            self.offset[field], self.width[field] = at, size
            if isinstance(kind, Layout):
                inner = kind.at(bits)
                code += inner.code[1:]
                for sub in inner.names:
                    names.append(f"{field}_{sub}")
                for sub, where in inner.offset.items():
                    self.offset[f"{field}_{sub}"], self.width[f"{field}_{sub}"] = at + where, inner.width[sub]
            elif isinstance(kind, Scalar):
                code += kind.code32 if bits == 32 else kind.code64
                names.append(field)
            else:
                code += f"{size}s"
                names.append(field)
            at += size
        pad = -at % self.align
        self.code = code + (f"{pad}x" if pad else "")
        self.names = tuple(names)
        self.size = at + pad
        compiled = Struct(self.code)
        assert compiled.size == self.size
        self.unpack = compiled.unpack
        self.unpack_from = compiled.unpack_from
        self.pack = compiled.pack
        self.pack_into = compiled.pack_into
        self._record: Any = namedtuple(name, self.names, rename=True)  # type: ignore[misc]

    def named(self, data: bytes | memoryview) -> Any:
        """The fields as a named tuple."""
        return self._record._make(self.unpack(data))


class Layout:
    """A structure: its C name and its fields in order.  `at(32)` and `at(64)` give its two shapes."""

    def __init__(self, name: str, /, **fields: "Scalar | Layout | Array | Union") -> None:
        self.name, self.fields = name, fields
        self._shapes: dict[int, Shape] = {}

    def at(self, bits: int) -> Shape:
        """The structure as a guest of `bits` (32 or 64) lays it out."""
        shape = self._shapes.get(bits)
        if shape is None:
            shape = self._shapes[bits] = Shape(self.name, bits, self.fields)
        return shape


@cache
def measure(kind: "Scalar | Layout | Array | Union", bits: int) -> tuple[int, int]:
    """Size and alignment in bytes of a type for a guest of `bits`."""
    if isinstance(kind, Scalar):
        return (kind.size32, kind.align32) if bits == 32 else (kind.size64, kind.align64)
    if isinstance(kind, Layout):
        shape = kind.at(bits)
        return shape.size, shape.align
    if isinstance(kind, Array):
        size, align = measure(kind.element, bits)
        return size * kind.count, align
    sizes = [measure(member, bits) for member in kind.members]
    align = max(align for _, align in sizes)
    size = max(size for size, _ in sizes)
    return size + -size % align, align
