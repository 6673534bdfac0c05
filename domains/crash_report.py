"""What a report of a crashed guest says of its processor."""

from domains import envlayout as env
from domains import segments
from domains.engine import Engine

_GENERAL = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
_CONTROL = (("cr0", env.CR0), ("cr2", env.CR2), ("cr3", env.CR3), ("cr4", env.CR4))


def registers(engine: Engine) -> list[str]:
    """The registers, in lines of four."""
    q = engine.q
    values = [f"{name:>3} {q[index]:016x}" for index, name in enumerate(_GENERAL)]
    values += [f"rip {q[env.RIP]:016x}", f"efl {engine.rflags():016x}",
               f"cs  {segments.read(engine, env.CS).selector:016x}",
               f"ss  {segments.read(engine, env.SS).selector:016x}",
               *(f"{name} {q[index]:016x}" for name, index in _CONTROL)]
    return ["  ".join(values[at:at + 4]) for at in range(0, len(values), 4)]
