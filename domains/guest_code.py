"""The bytes of the instruction that a vCPU is at, for what is decoded here."""

from domains import envlayout as env
from domains import segments
from domains.engine import Engine
from domains.paging import PageFault, Walker
from state.arena import Arena

_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3" + bytes(range(0x40, 0x50)))
_LONGEST = 15
OF_RDTSCP = b"\x01"
"""The second of its three bytes, 0F 01 F9; that of RDTSC is another."""


class GuestCode:
    """Of one vCPU, through its page tables."""

    def __init__(self, engine: Engine, walker: Walker, arena: Arena) -> None:
        self._q, self._d, self._machine, self._arena, self._u8 = engine.q, engine.d, walker.machine, arena, arena.u8

    def linear_rip(self) -> int:
        """CS base + RIP."""
        rip = self._q[env.RIP]
        if self._d[env.HFLAGS] & segments.HF_CS64:
            return rip
        return rip + self._q[env.SEGMENTS + 3 * env.CS + 1] & 0xFFFFFFFF

    def at(self, address: int, size: int) -> bytes:
        """Up to `size` bytes at guest-linear `address`; fewer where a page is not there."""
        data = b""
        while size:
            here = min(size, 4096 - (address & 0xFFF))
            try:
                machine = self._machine(address, write=False)
            except PageFault:
                break
            if machine is None:
                break
            data += self._arena.read(machine, here)
            address, size = address + here, size - here
        return data

    def here(self, size: int) -> bytes:
        """The bytes at CS:RIP."""
        return self.at(self.linear_rip(), size)

    def first_byte(self) -> int:
        """The byte at CS:RIP; 0 where it cannot be read (the processor did, a moment ago)."""
        try:
            machine = self._machine(self.linear_rip(), write=False)
        except PageFault:
            return 0
        return self._u8[machine] if machine is not None else 0

    def length(self, opcode: int) -> int:
        """The length of the instruction at RIP whose opcode takes `opcode` bytes, prefixes included."""
        if self.first_byte() not in _PREFIXES:
            return opcode
        count = 0
        code = self.here(_LONGEST)
        while count < len(code) and code[count] in _PREFIXES:
            count += 1
        return count + opcode
