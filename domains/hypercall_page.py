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


@cache
def pv_page(width: int) -> bytes:
    """For PV guests.  64-bit: SYSCALL, which destroys RCX and R11, between a push and a pop of both; 32-bit: int 0x82.

    The entry of `iret` does not come back: it leaves on the stack what `struct iret_context` begins with.
    """
    page = bytearray(b"\xcc" * ENTRIES * ENTRY_SIZE)
    for number in range(ENTRIES):
        load = b"\xb8" + struct.pack("<I", number)
        if width == 64:  # push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
            code = b"\x51\x41\x53" + load + b"\x0f\x05\x41\x5b\x59\xc3"
            if number == Hypercall.iret:  # push rcx; push r11; push rax; mov eax, number; syscall
                code = b"\x51\x41\x53\x50" + load + b"\x0f\x05"
        else:  # mov eax, number; int 0x82; ret
            code = load + b"\xcd\x82\xc3"
            if number == Hypercall.iret:  # push eax; mov eax, number; int 0x82
                code = b"\x50" + load + b"\xcd\x82"
        page[number * ENTRY_SIZE:number * ENTRY_SIZE + len(code)] = code
    return bytes(page)
