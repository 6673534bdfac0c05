"""Delivery of exceptions and software interrupts through the guest's IDT, which the engine does not do.

The rules are the processor's (AMD64 manual volume 2, chapter 8): gate and descriptor checks with their error codes,
stacks from the TSS and its IST, and what becomes of a fault during the delivery itself.
"""

from dataclasses import dataclass

from domains import envlayout as env
from domains import segments
from domains.engine import Engine
from domains.paging import PageFault, Walker
from domains.segments import CR0_PE, EFER_LMA, Segment
from state.arena import Arena

DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS, NP, SS, GP, PF, MF, AC, MC, XM = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19)
NAMES = {0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS",
         11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM"}
HAS_ERROR_CODE = frozenset((DF, TS, NP, SS, GP, PF, AC))
_CONTRIBUTORY = frozenset((DE, TS, NP, SS, GP))
_NOT_FAULTS = frozenset((DB, NMI, BP, OF, DF, MC))
TF, IF, NT, RF, VM = 1 << 8, 1 << 9, 1 << 14, 1 << 16, 1 << 17


class TripleFault(Exception):  # noqa: N818 - the processor's name for it
    """A fault while #DF was being delivered: the processor shuts down.  `first` is the vector that began it."""

    def __init__(self, first: int) -> None:
        super().__init__(f"triple fault, begun by {NAMES.get(first, first)}")
        self.first = first


class _Fault(Exception):  # noqa: N818
    def __init__(self, vector: int, code: int, address: int | None = None) -> None:
        super().__init__()
        self.vector, self.code, self.address = vector, code, address


@dataclass
class Event:
    """What is delivered: `soft` marks INT n, INT3 and INTO, which check the gate's DPL, `external` an interrupt."""

    vector: int
    error_code: int | None
    address: int | None
    soft: bool
    return_rip: int
    external: bool = False


class Delivery:
    """Delivers events to one vCPU."""

    def __init__(self, engine: Engine, walker: Walker, arena: Arena) -> None:
        self._engine, self._walker, self._arena = engine, walker, arena

    def exception(self, vector: int, error_code: int | None = None, address: int | None = None) -> None:
        """Raise exception `vector` at the current RIP; `address` is what CR2 gets for #PF.  Raises TripleFault."""
        if error_code is None and vector in HAS_ERROR_CODE:
            error_code = 0
        self._deliver(Event(vector, error_code, address, False, self._engine.q[env.RIP]))

    def interrupt(self, vector: int) -> None:
        """An interrupt from outside the processor, before the instruction at the current RIP.  Raises TripleFault."""
        self._deliver(Event(vector, None, None, False, self._engine.q[env.RIP], external=True))

    def software(self, vector: int, return_rip: int) -> None:
        """INT `vector`, which lies at the current RIP and returns to `return_rip`.  Raises TripleFault."""
        self._deliver(Event(vector, None, None, True, return_rip))

    def _deliver(self, event: Event) -> None:
        first = event.vector
        while True:
            if event.vector == PF and not event.soft and not event.external:
                self._engine.q[env.CR2] = event.address or 0
            try:
                self._through_gate(event)
                return
            except _Fault as fault:
                second = fault
            except PageFault as fault:
                second = _Fault(PF, fault.code, fault.address)
            if event.vector == DF and not event.soft:  # INT 8 is no double fault
                raise TripleFault(first)
            both = event.vector in _CONTRIBUTORY or event.vector == PF
            if not event.soft and both and (second.vector in _CONTRIBUTORY or
                                            (second.vector == PF and event.vector == PF)):
                event = Event(DF, 0, None, False, self._engine.q[env.RIP])
            else:
                event = Event(second.vector, second.code, second.address, False, self._engine.q[env.RIP])

    def _through_gate(self, event: Event) -> None:
        q = self._engine.q
        if not q[env.CR0] & CR0_PE:
            self._real_mode(event)
        elif q[env.EFER] & EFER_LMA:
            self._long_mode(event)
        else:
            self._protected_mode(event)

    # -- memory, with the processor's own rights

    def _read(self, address: int, size: int, *, user: bool = False) -> int:
        data = b""
        while size:
            here = min(size, 4096 - (address & 0xFFF))
            machine = self._walker.machine(address, write=False, user=user)
            data += b"\xff" * here if machine is None else self._arena.read(machine, here)
            address, size = address + here, size - here
        return int.from_bytes(data, "little")

    def _write_all(self, words: list[int], top: int, width: int, user: bool) -> int:
        """Push `words` (first word first) below `top`; nothing is stored unless all of it can be.  The new top."""
        data = b"".join((word & (1 << 8 * width) - 1).to_bytes(width, "little") for word in reversed(words))
        bottom, pieces, at = top - len(data), [], 0
        while at < len(data):
            address = bottom + at & 0xFFFFFFFFFFFFFFFF
            here = min(len(data) - at, 4096 - (address & 0xFFF))
            pieces.append((self._walker.machine(address, write=True, user=user), at, here))
            at += here
        for machine, at, here in pieces:
            if machine is not None:
                self._arena.write(machine, data[at:at + here])
        return bottom

    def _descriptor(self, selector: int, vector: int, code: int) -> int:
        """The 8 bytes of the descriptor that `selector` names; faults with `vector` beyond its table."""
        table = segments.read(self._engine, env.LDT if selector & 4 else env.GDT)
        if (selector | 7) > table.limit:
            raise _Fault(vector, code)
        return self._read(table.base + (selector & ~7), 8)

    def _code_segment(self, selector: int, ext: int, cpl: int) -> tuple[Segment, int]:
        """The handler's code segment and the privilege level that it runs at."""
        if not selector & 0xFFFC:
            raise _Fault(GP, ext)
        code = selector & 0xFFFC | ext
        segment = segments.from_descriptor(selector, self._descriptor(selector, GP, code))
        if segment.flags & 0x1800 != 0x1800 or segment.dpl > cpl:
            raise _Fault(GP, code)
        if not segment.flags & segments.FLAGS_P:
            raise _Fault(NP, code)
        new_cpl = cpl if segment.flags & 0x400 else segment.dpl
        return segment._replace(selector=selector & 0xFFFC | new_cpl), new_cpl

    # -- the three kinds of table

    def _long_mode(self, event: Event) -> None:
        engine, q = self._engine, self._engine.q
        idt, cpl = segments.read(engine, env.IDT), segments.read(engine, env.SS).dpl
        ext = 0 if event.soft else 1
        code = event.vector << 3 | 2 | ext
        if event.vector * 16 + 15 > idt.limit:
            raise _Fault(GP, code)
        gate = self._read(idt.base + event.vector * 16, 16)
        kind = gate >> 40 & 0x1F
        if kind not in (0xE, 0xF):
            raise _Fault(GP, code)
        if event.soft and gate >> 45 & 3 < cpl:
            raise _Fault(GP, code)
        if not gate >> 47 & 1:
            raise _Fault(NP, code)
        segment, new_cpl = self._code_segment(gate >> 16 & 0xFFFF, ext, cpl)
        if segment.flags & (segments.FLAGS_L | segments.FLAGS_B) != segments.FLAGS_L:
            raise _Fault(GP, segment.selector & 0xFFFC | ext)
        ist = gate >> 32 & 7
        if ist:
            top = self._tss64(0x24 + 8 * (ist - 1))
        elif new_cpl < cpl:
            top = self._tss64(4 + 8 * new_cpl)
        else:
            top = q[env.RSP]
        if top >> 47 not in (0, 0x1FFFF):
            raise _Fault(SS, ext)
        flags = engine.rflags()
        words = [segments.read(engine, env.SS).selector, q[env.RSP], self._pushed(event, flags),
                 segments.read(engine, env.CS).selector, event.return_rip]
        if event.error_code is not None:
            words.append(event.error_code)
        q[env.RSP] = self._write_all(words, top & ~15, 8, new_cpl == 3)
        if new_cpl != cpl:
            segments.write(engine, env.SS, Segment(new_cpl, 0, 0, new_cpl << 13))
        self._enter(segment, gate & 0xFFFF | gate >> 32 & 0xFFFF0000 | gate >> 64 << 32 & 0xFFFFFFFF00000000, flags,
                    clear_if=kind == 0xE)

    def _tss64(self, offset: int) -> int:
        tss = segments.read(self._engine, env.TR)
        if offset + 7 > tss.limit:
            raise _Fault(TS, tss.selector & 0xFFFC)
        return self._read(tss.base + offset, 8)

    def _protected_mode(self, event: Event) -> None:
        engine, q = self._engine, self._engine.q
        idt, stack = segments.read(engine, env.IDT), segments.read(engine, env.SS)
        flags = engine.rflags()
        cpl = 3 if flags & VM else stack.dpl
        ext = 0 if event.soft else 1
        code = event.vector << 3 | 2 | ext
        if event.vector * 8 + 7 > idt.limit:
            raise _Fault(GP, code)
        gate = self._read(idt.base + event.vector * 8, 8)
        kind = gate >> 40 & 0x1F
        if kind not in (0x6, 0x7, 0xE, 0xF):  # a task gate (5) is not supported: see LIMITATIONS.md
            raise _Fault(GP, code)
        if event.soft and gate >> 45 & 3 < cpl:
            raise _Fault(GP, code)
        if not gate >> 47 & 1:
            raise _Fault(NP, code)
        segment, new_cpl = self._code_segment(gate >> 16 & 0xFFFF, ext, cpl)
        width = 4 if kind & 8 else 2
        words = [self._pushed(event, flags), segments.read(engine, env.CS).selector, event.return_rip]
        if event.error_code is not None:
            words.append(event.error_code)
        if new_cpl < cpl:
            inner, top = self._inner_stack(new_cpl, ext)
            words = [stack.selector, q[env.RSP], *words]
            if flags & VM:
                words = [segments.read(engine, index).selector for index in (env.GS, env.FS, env.DS, env.ES)] + words
                for index in (env.GS, env.FS, env.DS, env.ES):
                    segments.write(engine, index, Segment(0, 0, 0, 0))
        else:
            inner, top = stack, q[env.RSP]
        mask = 0xFFFFFFFF if inner.flags & segments.FLAGS_B else 0xFFFF
        bottom = self._write_all(words, inner.base + (top & mask), width, new_cpl == 3) - inner.base
        q[env.RSP] = q[env.RSP] & ~mask & 0xFFFFFFFF | bottom & mask
        segments.write(engine, env.SS, inner)
        offset = gate & 0xFFFF | (gate >> 32 & 0xFFFF0000 if width == 4 else 0)
        self._enter(segment, offset, flags, clear_if=not kind & 1)

    def _inner_stack(self, cpl: int, ext: int) -> tuple[Segment, int]:
        """Stack segment and pointer of privilege level `cpl` from the 32-bit TSS."""
        tss = segments.read(self._engine, env.TR)
        if 4 + 8 * cpl + 5 > tss.limit:
            raise _Fault(TS, tss.selector & 0xFFFC | ext)
        pointer = self._read(tss.base + 4 + 8 * cpl, 4)
        selector = self._read(tss.base + 8 + 8 * cpl, 2)
        code = selector & 0xFFFC | ext
        if not selector & 0xFFFC:
            raise _Fault(TS, ext)
        segment = segments.from_descriptor(selector, self._descriptor(selector, TS, code))
        if selector & 3 != cpl or segment.dpl != cpl or segment.flags & 0x1A00 != 0x1200:
            raise _Fault(TS, code)
        if not segment.flags & segments.FLAGS_P:
            raise _Fault(SS, code)
        return segment, pointer

    def _real_mode(self, event: Event) -> None:
        engine, q = self._engine, self._engine.q
        idt = segments.read(engine, env.IDT)
        if event.vector * 4 + 3 > idt.limit:
            raise _Fault(GP, 0)
        gate = self._read(idt.base + event.vector * 4, 4)
        flags, stack, code = engine.rflags(), segments.read(engine, env.SS), segments.read(engine, env.CS)
        bottom = self._write_all([flags, code.selector, event.return_rip], stack.base + (q[env.RSP] & 0xFFFF), 2, False)
        q[env.RSP] = q[env.RSP] & ~0xFFFF | bottom - stack.base & 0xFFFF
        self._enter(code._replace(selector=gate >> 16, base=gate >> 16 << 4), gate & 0xFFFF, flags, clear_if=True)

    def _pushed(self, event: Event, flags: int) -> int:
        """RFLAGS as it is pushed: faults set RF, so that the instruction's breakpoint does not strike again."""
        return flags if event.soft or event.external or event.vector in _NOT_FAULTS else flags | RF

    def _enter(self, code: Segment, rip: int, flags: int, *, clear_if: bool) -> None:
        engine = self._engine
        segments.write(engine, env.CS, code)
        engine.set_rflags(flags & ~(TF | NT | RF | VM | (IF if clear_if else 0)))
        engine.q[env.RIP] = rip
        engine.d[env.HFLAGS] &= ~segments.HF_INHIBIT_IRQ
        segments.update_hflags(engine)
