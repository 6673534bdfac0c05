"""An engine without a hypervisor: a flat arena, nested tables that map it onto itself, exits that are written down."""

from collections.abc import Callable
from types import MappingProxyType

from domains import envlayout as env
from domains import segments
from domains.engine import LOW, Engine
from domains.native import BlockMeter
from domains.segments import flat
from domains.vmcb import EXIT_BASE
from state.arena import Arena

METER = BlockMeter()
PAGE = 4096
HLT = 0xF4
NOTHING = MappingProxyType({})
LONG, PAE, LEGACY = "long", "PAE", "32-bit"
CR0_PE_ET, CR0_PG, CR0_WP = 0x11, 1 << 31, 1 << 16
CR4_PSE, CR4_PAE = 1 << 4, 1 << 5
EFER = 0x1D00  # SVME, NXE, LMA, LME
FIRST = LOW // PAGE


class BareEngine:
    """`pages` of memory from machine frame FIRST on; the nested tables lie behind them."""

    def __init__(self, pages: int) -> None:
        assert pages <= 256
        self.memory = memoryview(bytearray(LOW + (pages + 4) * PAGE))
        self.arena = Arena(self.memory)
        self.pages = pages
        self.exits: list[int] = []
        self.then: Callable[[int], bool] = lambda code: False
        """Given an exit's SVM code: True where the guest is to go on."""
        self.engine = Engine(self.memory, METER, self._on_exit)
        self.q, self.d = self.engine.q, self.engine.d
        self.engine.enter(self._nested())
        self.exits.clear()

    def _nested(self) -> int:
        root = LOW + self.pages * PAGE
        third, second, first = (root + index * PAGE for index in (1, 2, 3))
        words = self.arena.u64
        words[root >> 3], words[third >> 3], words[second >> 3] = third | 7, second | 7, first | 7
        for frame in range(FIRST, FIRST + self.pages):
            words[(first >> 3) + frame] = frame << 12 | 7
        return root

    def _on_exit(self, _uc: object, number: int, _data: object) -> None:
        self.exits.append(number - EXIT_BASE)
        if not self.then(number - EXIT_BASE):
            self.engine.stop()

    def mode(self, kind: str, cr3: int, *, user: bool = False, write_protect: bool = True) -> None:
        """Put the processor in a paging mode, with flat segments, interrupts off, at CPL 0 or 3."""
        q, ring = self.q, 3 if user else 0
        q[env.CR0] = CR0_PE_ET | CR0_PG | (CR0_WP if write_protect else 0)
        q[env.CR3] = cr3
        q[env.CR4] = CR4_PSE if kind == LEGACY else CR4_PAE | CR4_PSE
        q[env.EFER] = EFER if kind == LONG else 0x1900
        for index in (env.ES, env.DS, env.SS, env.FS, env.GS):
            segments.write(self.engine, index, flat(0x10 | ring, 0xC93 | ring << 5))
        segments.write(self.engine, env.CS, flat(8 | ring, (0xA9B if kind == LONG else 0xC9B) | ring << 5))
        self.engine.set_rflags(2)
        segments.update_hflags(self.engine)
        self.engine.flush_tlb()

    def plain(self) -> None:
        """32-bit protected mode without paging, CPL 0."""
        self.mode(LEGACY, 0)
        self.q[env.CR0] = CR0_PE_ET
        segments.update_hflags(self.engine)
        self.engine.flush_tlb()

    def run(self, rip: int) -> list[int]:
        """Run from `rip` until an exit that `then` does not continue; the SVM codes of all exits."""
        self.exits.clear()
        self.q[env.RIP] = rip
        self.engine.run()
        return self.exits
