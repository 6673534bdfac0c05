"""The state that VCPUOP_initialise gives a vCPU of a PVH domain: struct vcpu_hvm_context (arch_set_info_hvm_guest).

In mode 32B the caller gives segments, as hidden registers have them; in mode 64B they are flat, and the vCPU begins in
long mode.  All checks are those of Xen 4.17.  FS, GS, LDTR and the descriptor tables are as at boot.
"""

from typing import Any

from abi.errno import Errno, XenError
from abi.hvm import VCPU_HVM_CONTEXT, VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, VCPU_HVM_X86_32, VCPU_HVM_X86_64
from domains import envlayout as env
from domains.cpuid import EXT1_EDX, LEAF1_ECX, LEAF1_EDX, LEAF7_EBX
from domains.msr import EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE
from domains.pvh_start import CR0_ET
from domains.segments import CR0_PG, CR4_PAE, FLAGS_G, FLAGS_P, Segment, Words, flat, update_hflags
from domains.segments import write as write_segment

SIZE = VCPU_HVM_CONTEXT.at(64).size
_HEAD, _REGS32, _REGS64 = VCPU_HVM_CONTEXT.at(64), VCPU_HVM_X86_32.at(64), VCPU_HVM_X86_64.at(64)
_EFER_FFXSE, _FFXSR = 1 << 14, 1 << 25
_EFER_VALID = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | (_EFER_FFXSE if EXT1_EDX & _FFXSR else 0)
_CR4_PCE = 1 << 8
_CR4_BITS = (
    (LEAF1_EDX, 1, 1 << 0 | 1 << 1), (LEAF1_EDX, 4, 1 << 2), (LEAF1_EDX, 2, 1 << 3), (LEAF1_EDX, 3, 1 << 4),
    (LEAF1_EDX, 6, 1 << 5), (LEAF1_EDX, 7, 1 << 6), (LEAF1_EDX, 13, 1 << 7), (LEAF1_EDX, 24, 1 << 9),
    (LEAF1_EDX, 25, 1 << 10), (LEAF7_EBX, 0, 1 << 16), (LEAF1_ECX, 17, 1 << 17), (LEAF1_ECX, 26, 1 << 18),
    (LEAF7_EBX, 7, 1 << 20), (LEAF7_EBX, 20, 1 << 21))
"""A word of the CPUID policy, a bit there, and the bits of CR4 that come with it."""
_CR4_VALID = _CR4_PCE | sum(bits for word, bit, bits in _CR4_BITS if word >> bit & 1)
_RFLAGS = 0x3F7FD7
_CANONICAL = (0, 0x1FFFF)
_CODE, _WRITABLE_OR_READABLE, _ACCESSED, _BUSY, _SYSTEM = 8, 2, 1, 2, 1 << 4
_BUSY_TSS = 11
_PRESENT = 1 << 7
_ORDER = (env.RAX, env.RCX, env.RDX, env.RBX, env.RSP, env.RBP, env.RSI, env.RDI, env.RIP)
_SEGMENTS = {"cs": env.CS, "ds": env.DS, "ss": env.SS, "es": env.ES, "tr": env.TR}


def load_context(words: Words, data: bytes) -> None:
    """Put a vcpu_hvm_context into a processor that is in its boot state.  Raises XenError(EINVAL)."""
    mode, pad, registers = _HEAD.unpack(data)
    if pad:
        raise XenError(Errno.EINVAL)
    if mode == VCPU_HVM_MODE_32B:
        values, segments = _protected_mode(_REGS32.named(registers[:_REGS32.size]))
    elif mode == VCPU_HVM_MODE_64B:
        values, segments = _long_mode(_REGS64.named(registers[:_REGS64.size]))
    else:
        raise XenError(Errno.EINVAL)
    *general, flags, cr0, cr3, cr4, efer = values
    if cr4 & ~_CR4_VALID or efer & ~_EFER_VALID or (efer & EFER_LMA and not efer & EFER_LME):
        raise XenError(Errno.EINVAL)
    q = words.q
    for register, value in zip(_ORDER, general, strict=True):
        q[register] = value
    q[env.CR0], q[env.CR3], q[env.CR4] = cr0 | CR0_ET, cr3, cr4
    q[env.EFER] = efer & ~EFER_LMA | (EFER_LMA if efer & EFER_LME and cr0 & CR0_PG else 0)
    for name, segment in segments.items():
        write_segment(words, _SEGMENTS[name], segment)
    env.put_rflags(q, words.d, flags & _RFLAGS)
    update_hflags(words)


def _long_mode(regs: Any) -> tuple[list[int], dict[str, Segment]]:
    if not (regs.rip >> 47 in _CANONICAL and regs.cr0 & CR0_PG and regs.cr4 & CR4_PAE and regs.efer & EFER_LME):
        raise XenError(Errno.EINVAL)
    data = flat(0, 0xC93)
    return list(regs), {"cs": flat(0, 0xA9B), "ds": data, "ss": data, "es": data,
                        "tr": flat(0, 0x8B)._replace(limit=0x67)}


def _protected_mode(regs: Any) -> tuple[list[int], dict[str, Segment]]:
    if regs.pad1 or any(regs.pad2):
        raise XenError(Errno.EINVAL)
    found = {name: _segment(name, getattr(regs, f"{name}_base"), getattr(regs, f"{name}_limit"),
                            getattr(regs, f"{name}_ar")) for name in _SEGMENTS}
    code = found["cs"]
    present = [found[name] for name in ("ds", "es") if found[name].flags & FLAGS_P]
    if regs.eip > code.limit or found["ss"].dpl != code.dpl or any(segment.dpl > code.dpl for segment in present):
        raise XenError(Errno.EINVAL)
    if regs.efer & EFER_LMA and not regs.efer & EFER_LME:
        raise XenError(Errno.EINVAL)
    flags = (regs.eflags, regs.cr0, regs.cr3, regs.cr4, regs.efer)
    return [regs.eax, regs.ecx, regs.edx, regs.ebx, regs.esp, regs.ebp, regs.esi, regs.edi, regs.eip, *flags], found


def _segment(name: str, base: int, limit: int, attributes: int) -> Segment:
    """A hidden segment register, of which Xen's check_segment thinks well.  Raises XenError(EINVAL)."""
    if attributes >> 12:
        raise XenError(Errno.EINVAL)
    if attributes & _PRESENT:
        attributes |= _BUSY if name == "tr" else _ACCESSED
    kind, ordinary = attributes & 0xF, bool(attributes & _SYSTEM)
    readable = not kind & _CODE or bool(kind & _WRITABLE_OR_READABLE)
    fits = {
        "cs": ordinary and bool(kind & _CODE),
        "ss": ordinary and kind & (_CODE | _WRITABLE_OR_READABLE) == _WRITABLE_OR_READABLE,
        "tr": not ordinary and kind == _BUSY_TSS,
    }.get(name, ordinary and readable)
    empty = not attributes and name in ("ds", "es")
    if not empty and not (fits and attributes & _PRESENT):
        raise XenError(Errno.EINVAL)
    segment = flat(0, attributes)._replace(base=base)
    return segment._replace(limit=(limit << 12 | 0xFFF) & 0xFFFFFFFF if segment.flags & FLAGS_G else limit)
