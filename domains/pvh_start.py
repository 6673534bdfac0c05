"""The states in which a PVH vCPU can begin: the boot protocol's, and that of a start-up message (real mode).

What is written to is an engine, between two runs, or a copy of a processor's words.
"""

from domains import envlayout as env
from domains.cpuid import ENGINE_FEATURES
from domains.segments import CR0_PE, HF_INHIBIT_IRQ, Segment, Words, flat, update_hflags
from domains.segments import write as write_segment

CR0_ET = 1 << 4
_DATA = (env.ES, env.SS, env.DS, env.FS, env.GS)
_TABLES = (env.LDT, env.GDT, env.IDT)
_REAL_LIMIT = 0xFFFF
_SIGNATURE = 0xF00
"""In EDX, as Xen has it."""


class WordsCopy:
    """A copy of a processor's words."""

    def __init__(self, words: bytes) -> None:
        self.data = bytearray(words)
        self.q: memoryview[int] = memoryview(self.data).cast("Q")
        self.d: memoryview[int] = memoryview(self.data).cast("I")


def set_boot_state(words: Words) -> None:
    """32-bit protected mode, paging off, flat segments, no tables; RIP and all registers are 0."""
    q = words.q
    for word, value in ENGINE_FEATURES.items():
        q[env.FEATURES + word] = value
    _clear(words, CR0_PE | CR0_ET)
    for index in _DATA:
        write_segment(words, index, flat(0, 0xC93))
    write_segment(words, env.CS, flat(0, 0xC9B))
    write_segment(words, env.TR, flat(0, 0x08B)._replace(limit=0x67))
    for index in _TABLES:
        write_segment(words, index, flat(0, 0)._replace(limit=0))
    update_hflags(words)


def set_real_mode_state(words: Words, page: int) -> None:
    """What a processor does after a start-up message: real mode, at the start of `page` (hvm_vcpu_reset_state)."""
    _clear(words, CR0_ET)
    words.q[env.RDX] = _SIGNATURE
    for index in _DATA:
        write_segment(words, index, flat(0, 0x93)._replace(limit=_REAL_LIMIT))
    write_segment(words, env.CS, Segment(page << 8, page << 12, _REAL_LIMIT, 0x9B00))
    write_segment(words, env.TR, flat(0, 0x8B)._replace(limit=_REAL_LIMIT))
    write_segment(words, env.LDT, flat(0, 0x82)._replace(limit=_REAL_LIMIT))
    for index in (env.GDT, env.IDT):
        write_segment(words, index, flat(0, 0)._replace(limit=_REAL_LIMIT))
    update_hflags(words)


def _clear(words: Words, cr0: int) -> None:
    """The general registers, control registers and MSRs, but for CR0."""
    q = words.q
    for register in range(env.RIP + 1):
        q[register] = 0
    q[env.CR0], q[env.CR2], q[env.CR3], q[env.CR4], q[env.EFER] = cr0, 0, 0, 0, 0
    q[env.KERNEL_GS_BASE] = q[env.STAR] = q[env.LSTAR] = q[env.CSTAR] = q[env.SFMASK] = q[env.TSC_AUX] = 0
    env.put_rflags(q, words.d, 0)
    words.d[env.HFLAGS] &= ~HF_INHIBIT_IRQ
