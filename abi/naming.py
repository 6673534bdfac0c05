"""How a name of this package maps to the name in Xen's headers, so that a test can compare the two.

- A module-level constant has the C name itself: `DOMID_SELF`.
- A `Layout` carries its C tag; the constant is the tag in capitals without `xen_`: `EVTCHN_SEND`, `FEATURE_INFO`.
- A member of an enumeration has the C name without the prefix declared by `c_prefix`.  An underscore is added behind
  a name that is a Python keyword (`yield_`) and before one that begins with a digit (`_4gb_segments`).
- A `dict` with keys 32 and 64 is a constant whose value depends on the guest's width.
"""

from collections.abc import Callable
from enum import IntEnum
from keyword import iskeyword
from typing import TypeVar

E = TypeVar("E", bound=IntEnum)

_PREFIXES: dict[type[IntEnum], str] = {}


def c_prefix(prefix: str) -> Callable[[type[E]], type[E]]:
    """Declare what the C names of an enumeration's members begin with."""

    def declare(cls: type[E]) -> type[E]:
        _PREFIXES[cls] = prefix
        return cls

    return declare


def plain_name(name: str) -> str:
    """A name of the ABI without the underscore that Python demands."""
    if iskeyword(name.removesuffix("_")):
        return name.removesuffix("_")
    return name[1:] if name[0] == "_" and name[1:2].isdigit() else name


def c_name(member: IntEnum) -> str:
    """The C name of a member.  Raises KeyError where its class has no `c_prefix`."""
    return _PREFIXES[type(member)] + plain_name(member.name)
