"""The guest's own page tables, walked as the processor walks them (AMD64 manual volume 2, chapter 5)."""

from collections.abc import Callable, Mapping

from domains import envlayout as env
from domains.engine import Engine
from domains.segments import CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, EFER_LMA, EFER_NXE
from hypervisor.p2m import EVERY_PAGE
from state.arena import Arena

P, W, U, ACCESSED, DIRTY, LARGE = 1, 2, 4, 0x20, 0x40, 0x80
ADDRESS = 0x000FFFFFFFFFF000
NX = 1 << 63
PF_PRESENT, PF_WRITE, PF_USER, PF_RESERVED = 1, 2, 4, 8
_BEYOND = ADDRESS & ~((1 << 40) - 1)
"""Bits of an address that this processor does not have: they must be zero."""
_AVAILABLE = 0x7FF << 52
"""The guest's own in long mode, to be zero with PAE."""
_LARGE_ZERO = 0x3FFFE000
"""Of an entry for a large page, those below the page's size must be zero."""
_PDE_ZERO = 1 << 21
_READ, _WRITTEN = P | ACCESSED, P | W | ACCESSED | DIRTY
_FRAME = (1 << 40) - 1
_CANONICAL = (0, 0x1FFFF)
_MOST_WALKS = 1024
CR0, CR3 = env.CR0, env.CR3
_LONG: tuple[int, ...] = (39, 30, 21, 12)
_PAE: tuple[int, ...] = (30, 21, 12)


class PageFault(Exception):  # noqa: N818 - the processor's name for it
    """The walk ends in a fault at `address` (guest-linear) with the #PF error code `code`."""

    def __init__(self, address: int, code: int) -> None:
        super().__init__(f"#PF at {address:#x}, error code {code:#x}")
        self.address, self.code = address, code


class Walker:
    """Translates guest-linear addresses of one vCPU.

    `frame(gfn, write)` gives the machine address of a guest frame's first byte, or None where the guest has no memory
    there (or, for `write`, may not write it).  `known` and `writable` are what it remembers, by gfn.
    """

    def __init__(self, engine: Engine, arena: Arena, frame: Callable[[int, bool], int | None],
                 known: Mapping[int, int], writable: Mapping[int, int]) -> None:
        self._q = engine.q
        self._u64, self._u32 = arena.u64, arena.u32
        self._frame, self._known, self._writable = frame, known, writable
        self._walks: dict[int, tuple[int, ...]] = {}
        self._walked: set[int] = set()

    def machine(self, address: int, *, write: bool, user: bool = False) -> int | None:
        """The machine address of guest-linear `address`, or None where its guest-physical frame is not memory.

        Sets accessed and dirty bits as the processor does.  Raises PageFault.
        """
        if not user:
            found = self.quick(address, write)
            if found:
                return found
        physical = self.physical(address, write=write, user=user)
        base = self._frame(physical >> 12, write)
        return None if base is None else base | physical & 0xFFF

    def quick(self, address: int, write: bool) -> int:
        """As `machine` for a supervisor in long mode, where no bit is to be set and every frame is known; else 0.

        Nearly every argument of a hypercall comes this way.  A walk that was made before is not made again while every
        entry that it read still says the same, which gives the same answer in a fifth of the time.
        """
        q, u64 = self._q, self._u64
        walk = self._walks.get((address >> 12 << 1 | write) ^ q[CR3])  # kernels go to and fro between two trees
        if walk is not None:
            base, cr3, cr0, at4, entry4, at3, entry3, at2, entry2, at1, entry1 = walk
            if (q[CR3] == cr3 and u64[at4] == entry4 and u64[at3] == entry3 and u64[at2] == entry2
                    and u64[at1] == entry1 and q[CR0] == cr0):
                return base | address & 0xFFF
        return self._walk(address, write)

    def _walk(self, address: int, write: bool) -> int:
        q, u64, known = self._q, self._u64, self._known
        if not q[env.EFER] & EFER_LMA or address >> 47 not in _CANONICAL:
            return 0
        wanted = _WRITTEN if write else _READ
        upper = wanted & ~DIRTY
        gfns = [q[CR3] >> 12 & _FRAME]
        steps: list[int] = []
        try:
            for shift in (36, 27, 18, 9):
                at = (known[gfns[-1]] | address >> shift & 0xFF8) >> 3
                entry = u64[at]
                steps += at, entry
                if entry & upper != upper or (entry & NX and not q[env.EFER] & EFER_NXE):
                    return 0
                large = entry & LARGE and shift != 9
                if large and shift != 18:
                    return 0
                if large:
                    if entry & _LARGE_ZERO & 0x1FFFFF:
                        return 0
                    steps += at, entry
                    gfns.append(entry >> 12 & _FRAME & ~511 | address >> 12 & 511)
                    break
                gfns.append(entry >> 12 & _FRAME)
            if entry & wanted != wanted:
                return 0
            base = (self._writable if write else known)[gfns[-1]]
        except KeyError:
            return 0
        if len(self._walks) >= _MOST_WALKS:
            self.forget(EVERY_PAGE)
        self._walks[(address >> 12 << 1 | write) ^ q[CR3]] = (base, q[CR3], q[CR0], *steps)
        self._walked.update(gfns)
        return base | address & 0xFFF

    def forget(self, gfn: int) -> None:
        """The frame behind guest page `gfn` changed, or of any page (EVERY_PAGE): forget walks that led through it."""
        if gfn == EVERY_PAGE or gfn in self._walked:
            self._walks.clear()
            self._walked.clear()

    def physical(self, address: int, *, write: bool, user: bool = False) -> int:
        """The guest-physical address of guest-linear `address`.  Raises PageFault."""
        q = self._q
        cr0 = q[env.CR0]
        if not cr0 & CR0_PG:
            return address & 0xFFFFFFFF
        code = (PF_WRITE if write else 0) | (PF_USER if user else 0)
        if q[env.EFER] & EFER_LMA:
            if address >> 47 not in (0, 0x1FFFF):  # not canonical
                raise PageFault(address, code)
            table, shifts = q[env.CR3] & ADDRESS, _LONG
        elif q[env.CR4] & CR4_PAE:
            address &= 0xFFFFFFFF
            table, shifts = q[env.CR3] & 0xFFFFFFE0, _PAE
        else:
            return self._physical32(address & 0xFFFFFFFF, write, user, code)
        u64, frame = self._u64, self._frame
        allowed = P | W | U
        reserved = _BEYOND | (0 if q[env.EFER] & EFER_NXE else NX) | (_AVAILABLE if shifts is _PAE else 0)
        for shift in shifts:
            base = frame(table >> 12, False)
            if base is None:
                raise PageFault(address, code)
            at = (base | table & 0xFFF | (address >> shift & 0x1FF) << 3) >> 3
            entry = u64[at]
            if not entry & P:
                raise PageFault(address, code)
            directory_pointer = shifts is _PAE and shift == 30
            leaf = shift == 12 or (entry & LARGE and shift != 39 and not directory_pointer)
            if entry & reserved or (leaf and entry & _LARGE_ZERO & (1 << shift) - 1) or (
                    entry & LARGE and shift == 39) or (directory_pointer and entry & NX):
                raise PageFault(address, code | PF_PRESENT | PF_RESERVED)
            if directory_pointer:
                entry |= W | U | ACCESSED  # a PAE page-directory pointer has no such bits
            elif not leaf and not entry & ACCESSED:
                u64[at] = entry | ACCESSED
            allowed &= entry
            if leaf:
                if (user and not allowed & U) or (write and not allowed & W and (user or cr0 & CR0_WP)):
                    raise PageFault(address, code | PF_PRESENT)
                wanted = ACCESSED | DIRTY if write else ACCESSED
                if entry & wanted != wanted:
                    u64[at] = entry | wanted
                mask = (1 << shift) - 1
                return entry & ADDRESS & ~mask | address & mask
            table = entry & ADDRESS
        raise AssertionError("the last level is a leaf")

    def _physical32(self, address: int, write: bool, user: bool, code: int) -> int:
        """Two-level paging with 4-byte entries."""
        q, u32 = self._q, self._u32
        base = self._frame(q[env.CR3] >> 12 & 0xFFFFF, False)
        if base is None:
            raise PageFault(address, code)
        at = (base | (address >> 22) << 2) >> 2
        entry = u32[at]
        if not entry & P:
            raise PageFault(address, code)
        allowed, shift = entry, 22
        if not (entry & LARGE and q[env.CR4] & CR4_PSE):
            u32[at] = entry | ACCESSED
            base = self._frame(entry >> 12, False)
            if base is None:
                raise PageFault(address, code)
            at, shift = (base | (address >> 12 & 0x3FF) << 2) >> 2, 12
            entry = u32[at]
            if not entry & P:
                raise PageFault(address, code)
            allowed &= entry
        elif entry & _PDE_ZERO:
            raise PageFault(address, code | PF_PRESENT | PF_RESERVED)
        if (user and not allowed & U) or (write and not allowed & W and (user or q[env.CR0] & CR0_WP)):
            raise PageFault(address, code | PF_PRESENT)
        u32[at] = entry | (ACCESSED | DIRTY if write else ACCESSED)
        mask = (1 << shift) - 1
        high = (entry >> 13 & 0xFF) << 32 if shift == 22 else 0  # PSE-36
        return high | entry & 0xFFFFFFFF & ~mask | address & mask
