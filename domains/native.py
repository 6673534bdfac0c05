"""The one piece of host code: a block hook that meters the guest's work and stops it when its budget is spent.

Unicorn calls it before each block with the block's size in bytes.  While the budget is not negative the block's bytes
are taken from it; once it is negative the engine is asked to stop, which then happens between two blocks.  A stop from
outside the engine would run half-finished instructions twice, and a Python hook would cost a hundred times as much.
"""

import ctypes
import mmap
import platform
import struct

from unicorn.unicorn_py3.unicorn import uclib


class UnsupportedHostError(RuntimeError):
    """The host's processor has no block hook here."""


# void hook(uc_engine *uc, uint64_t address, uint32_t size, int64_t *budget)
_X86_64 = bytes.fromhex(
    "48833900"  # cmp qword [rcx], 0
    "7806"      # js spent
    "89d2"      # mov edx, edx
    "482911"    # sub [rcx], rdx
    "c3"        # ret
    "48b8")     # spent: mov rax, uc_emu_stop
_JUMP = bytes.fromhex("ffe0")  # jmp rax


class BlockMeter:
    """The hook in executable memory.  One serves every engine of the process; each engine has its own budget word.

    Raises UnsupportedHostError on a processor other than x86-64.
    """

    def __init__(self, fast_path: ctypes.CDLL | None = None) -> None:
        self.fast_path = fast_path
        """The library of `fast_path.load_fast_path`: what a process loads once is kept together."""
        if platform.machine() not in ("x86_64", "AMD64"):
            raise UnsupportedHostError(
                f"the block meter is written for x86-64 hosts, this one is {platform.machine()}: add it to {__name__}")
        stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value or 0
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_X86_64 + struct.pack("<Q", stop) + _JUMP)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
