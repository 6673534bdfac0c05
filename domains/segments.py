"""Hidden segment state and the mode bits that the engine derives from it.

QEMU keeps, beside each segment's base and limit, the descriptor's high word as `flags`, and a summary of the CPU's mode
in `hflags`.  Whoever writes segments directly has to keep that summary right.
"""

from typing import NamedTuple, Protocol

from domains import envlayout as env

HF_CPL, HF_INHIBIT_IRQ = 3, 1 << 3
HF_CS32, HF_SS32, HF_ADDSEG, HF_PE = 1 << 4, 1 << 5, 1 << 6, 1 << 7
HF_MP_EM_TS = 7 << 9
HF_LMA, HF_CS64, HF_SVME = 1 << 14, 1 << 15, 1 << 20
HF_OSFXSR, HF_SMAP = 1 << 22, 1 << 23
EFER_LMA, EFER_NXE = 1 << 10, 1 << 11
CR0_PE, CR0_PG, CR0_WP = 1 << 0, 1 << 31, 1 << 16
CR4_PSE, CR4_PAE, CR4_OSFXSR, CR4_SMAP = 1 << 4, 1 << 5, 1 << 9, 1 << 21
FLAGS_L, FLAGS_B, FLAGS_P, FLAGS_G = 1 << 21, 1 << 22, 1 << 15, 1 << 23


class Words(Protocol):
    """A processor's state, see `envlayout`: that of an engine, or a copy."""

    @property
    def q(self) -> "memoryview[int]": ...
    @property
    def d(self) -> "memoryview[int]": ...


class Segment(NamedTuple):
    """A segment register: selector, linear base, limit in bytes, and the attributes of the descriptor's high word."""

    selector: int
    base: int
    limit: int
    flags: int

    @property
    def dpl(self) -> int:
        """The descriptor's privilege level."""
        return (self.flags >> 13) & 3


def flat(selector: int, attributes: int) -> Segment:
    """A segment over all of 4 GiB; `attributes` as in a descriptor: type, S, DPL, P in bits 0-7, AVL L D G in 8-11."""
    return Segment(selector, 0, 0xFFFFFFFF, (attributes & 0xFF) << 8 | (attributes & 0xF00) << 12)


def from_descriptor(selector: int, descriptor: int) -> Segment:
    """The hidden state that loading `descriptor` (8 bytes of a GDT or LDT) gives."""
    low, high = descriptor & 0xFFFFFFFF, descriptor >> 32
    limit = low & 0xFFFF | high & 0xF0000
    if high & FLAGS_G:
        limit = limit << 12 | 0xFFF
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
    return Segment(selector, base, limit, high & 0x00F0FF00)


def read(engine: Words, index: int) -> Segment:
    """Segment register `index` (env.ES .. env.IDT)."""
    at = env.SEGMENTS + 3 * index
    last = engine.q[at + 2]
    return Segment(engine.q[at] & 0xFFFF, engine.q[at + 1], last & 0xFFFFFFFF, last >> 32)


def write(engine: Words, index: int, segment: Segment) -> None:
    """Set segment register `index`; call `update_hflags` when all are set."""
    at, q = env.SEGMENTS + 3 * index, engine.q
    q[at], q[at + 1], q[at + 2] = segment.selector, segment.base, segment.limit | segment.flags << 32


def update_hflags(engine: Words) -> None:
    """Derive the engine's mode summary from CR0, CR4, EFER and the segments, as QEMU's own loads would."""
    q = engine.q
    cr0, cr4, efer = q[env.CR0], q[env.CR4], q[env.EFER]
    cs, ss = q[env.SEGMENTS + 3 * env.CS + 2] >> 32, q[env.SEGMENTS + 3 * env.SS + 2] >> 32
    hflags = engine.d[env.HFLAGS]
    hflags &= ~(HF_CPL | HF_CS32 | HF_SS32 | HF_ADDSEG | HF_PE | HF_MP_EM_TS | HF_LMA | HF_CS64 | HF_OSFXSR | HF_SMAP)
    hflags |= (ss >> 13) & 3 | (cr0 << 8) & HF_MP_EM_TS | HF_SVME  # without the last, VMMCALL would be undefined
    if cr0 & CR0_PE:
        hflags |= HF_PE
    if cr4 & CR4_OSFXSR:
        hflags |= HF_OSFXSR
    if cr4 & CR4_SMAP:
        hflags |= HF_SMAP
    if efer & EFER_LMA:
        hflags |= HF_LMA
    if efer & EFER_LMA and cs & FLAGS_L:
        hflags |= HF_CS32 | HF_SS32 | HF_CS64
    else:
        if cs & FLAGS_B:
            hflags |= HF_CS32
        if ss & FLAGS_B:
            hflags |= HF_SS32
        bases = q[env.SEGMENTS + 3 * env.DS + 1] | q[env.SEGMENTS + 1] | q[env.SEGMENTS + 3 * env.SS + 1]
        if not cr0 & CR0_PE or not cs & FLAGS_B or bases:
            hflags |= HF_ADDSEG
    engine.d[env.HFLAGS] = hflags
