"""The hypercall page that guests call into: 32 bytes an entry, the hypercall's number times 32 from the start."""

import struct
from functools import cache

from abi.xen import Hypercall

ENTRIES, ENTRY_SIZE = 128, 32


@cache
def hvm_page() -> bytes:
    """For PVH and HVM guests, in 32-bit and 64-bit mode alike: mov eax, number; vmmcall; ret.

    `iret` has no meaning there: its entry is UD2.
    """
    page = bytearray(b"\xcc" * ENTRIES * ENTRY_SIZE)
    for number in range(ENTRIES):
        code = b"\xb8" + struct.pack("<I", number) + b"\x0f\x01\xd9\xc3"
        if number == Hypercall.iret:
            code = b"\x0f\x0b"
        page[number * ENTRY_SIZE:number * ENTRY_SIZE + len(code)] = code
    return bytes(page)
