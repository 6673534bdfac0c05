"""The CPUID policy: an AMD processor with just what the engine really has, and Xen's leaves (arch-x86/cpuid.h)."""

import struct
from dataclasses import dataclass

from abi import cpuid as abi
from abi.types import VcpuRow
from hypervisor.apic import apic_id
from hypervisor.hypervisor import Hypervisor

VENDOR = b"AuthenticAMD"
"""AMD's name makes guests issue hypercalls by VMMCALL, which the engine can intercept."""
BRAND = b"Domus virtual CPU".ljust(48, b"\0")
SIGNATURE = 0x00800F12  # family 23, model 1, stepping 2

LEAF1_EDX = 0x078BFBFD & ~(1 << 7 | 1 << 9 | 1 << 12 | 1 << 14)
"""Without MCE, MTRR and MCA, and for PV guests without APIC: guests would go and use them."""
LEAF1_ECX = 1 << 0 | 1 << 1 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 25 | 1 << 31
"""SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES and the hypervisor bit; no XSAVE, AVX, MONITOR, RDRAND."""
LEAF7_EBX = 1 << 0 | 1 << 3 | 1 << 7 | 1 << 8 | 1 << 19 | 1 << 20 | 1 << 23
"""FSGSBASE BMI1 SMEP BMI2 ADX SMAP CLFLUSHOPT; no RDSEED (its randomness would be the host's), no ERMS."""
EXT1_ECX = 1 << 0 | 1 << 5 | 1 << 6
"""LAHF/SAHF, LZCNT and SSE4A; no SVM: the engine uses it itself."""
APIC_EDX, X2APIC_ECX = 1 << 9, 1 << 21
"""What PVH guests have beside that: a local APIC (in leaf 0x80000001, too), in x2APIC mode."""
EXT1_EDX = 0x2DD3FBFD & ~(1 << 7 | 1 << 9 | 1 << 12 | 1 << 14 | 1 << 25)

ENGINE_FEATURES = {0: LEAF1_EDX | APIC_EDX, 1: LEAF1_ECX, 2: LEAF7_EBX, 3: 0, 6: EXT1_EDX, 7: EXT1_ECX}
"""What the engine is told that it has, by word of its feature table, so that a hidden instruction raises #UD."""

EXT8_EBX = 1 << 29
"""BTC_NO: returns are not mispredicted as other branches, for nothing is predicted."""
EXT21_EAX = 1 << 29
"""SRSO_NO: nor by what others left behind.  Without both, kernels take every return through a thunk."""

PV_HIDDEN_EDX = 1 << 1 | 1 << 3 | 1 << 13 | 1 << 17
"""VME, PSE, PGE and PSE36, in leaf 1 and in leaf 0x80000001: page tables are Xen's affair, and hold no large pages."""
PV_HIDDEN_LEAF7_EBX = 1 << 7 | 1 << 20
"""SMEP and SMAP."""
PV_HIDDEN_EXT1_EDX = PV_HIDDEN_EDX | 1 << 26
"""And pages of 1 GiB."""

TOPOLOGY_LEAF = 0xB

Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""


@dataclass(frozen=True)
class XenLeaves:
    """What Xen's leaves tell one vCPU: `version` is major << 16 | minor, `tsc_khz` the TSC's frequency in kHz."""

    version: int
    tsc_khz: int
    tsc_mul: int
    tsc_shift: int
    domid: int
    vcpu_id: int
    hvm: bool
    several: bool = False
    """The domain has more than one vCPU."""


def xen_leaves(hv: Hypervisor, row: VcpuRow, *, hvm: bool) -> XenLeaves:
    """The leaves for the vCPU at `row`."""
    mul, shift = hv.clock.scale
    return XenLeaves(hv.version.number, hv.clock.frequency // 1000, mul, shift, hv.vcpus.domid[row],
                     hv.vcpus.vcpu_id[row], hvm, hv.domains.vcpu_count[hv.vcpus.domid[row]] > 1)


class Cpuid:
    """Answers CPUID for one vCPU."""

    def __init__(self, xen: XenLeaves) -> None:
        self._xen = xen

    def read(self, leaf: int, subleaf: int) -> Registers:
        """The four registers for `leaf` (EAX) and `subleaf` (ECX): always the same, for the native front keeps them."""
        if 0x40000000 <= leaf < 0x40000100:
            return self._hypervisor(leaf - 0x40000000, subleaf)
        if leaf & 0x80000000:
            return self._extended(leaf)
        last = TOPOLOGY_LEAF if self._xen.hvm and self._xen.several else 7
        if leaf > last:  # beyond the last basic leaf AMD answers with zeros
            return (0, 0, 0, 0)
        if leaf == 0:
            return (last, *_vendor())
        number = apic_id(self._xen.vcpu_id) if self._xen.hvm else self._xen.vcpu_id
        if leaf == TOPOLOGY_LEAF:  # as Xen: the APIC's id, and no levels, so every processor is a package of its own
            return (0, 0, subleaf & 0xFF, number)
        if leaf == 1:
            ebx = number << 24 | 1 << 16 | 8 << 8  # APIC id, one logical CPU, CLFLUSH of 64 bytes
            if self._xen.hvm:
                return (SIGNATURE, ebx, LEAF1_ECX | X2APIC_ECX, LEAF1_EDX | APIC_EDX)
            return (SIGNATURE, ebx, LEAF1_ECX, LEAF1_EDX & ~PV_HIDDEN_EDX)
        if leaf == 7 and subleaf == 0:
            return (0, LEAF7_EBX if self._xen.hvm else LEAF7_EBX & ~PV_HIDDEN_LEAF7_EBX, 0, 0)
        return (0, 0, 0, 0)

    def _extended(self, leaf: int) -> Registers:
        if leaf == 0x80000000:
            return (0x80000021, *_vendor())
        if leaf == 0x80000001:
            edx = EXT1_EDX | APIC_EDX if self._xen.hvm else EXT1_EDX & ~PV_HIDDEN_EXT1_EDX
            return (SIGNATURE, 0, EXT1_ECX, edx)
        if 0x80000002 <= leaf <= 0x80000004:
            return struct.unpack_from("<4I", BRAND, 16 * (leaf - 0x80000002))
        if leaf == 0x80000005:
            return (0x01FF01FF, 0x01FF01FF, 0x40020140, 0x40020140)
        if leaf == 0x80000006:
            return (0, 0x42004200, 0x02008140, 0)
        if leaf == 0x80000007:
            return (0, 0, 0, 1 << 8)  # the TSC is invariant
        if leaf == 0x80000008:
            return (0x3027, EXT8_EBX, 0, 0)  # 39 physical (what the p2m has) and 48 linear address bits
        if leaf == 0x80000021:
            return (EXT21_EAX, 0, 0, 0)
        return (0, 0, 0, 0)

    def _hypervisor(self, index: int, subleaf: int) -> Registers:
        xen = self._xen
        if index == 0:
            last = abi.XEN_CPUID_FIRST_LEAF + (4 if xen.hvm else 5)
            return (last, abi.XEN_CPUID_SIGNATURE_EBX, abi.XEN_CPUID_SIGNATURE_ECX, abi.XEN_CPUID_SIGNATURE_EDX)
        if index == 1:
            return (xen.version, 0, 0, 0)
        if index == 2:
            return (1, abi.XEN_HYPERCALL_MSR, 0 if xen.hvm else abi.XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0)
        if index == 3 and subleaf == 0:
            return (1 << 0 | 1 << 2, 1, xen.tsc_khz, 0)  # emulated TSC, RDTSCP there; tsc_mode always_emulate
        if index == 3 and subleaf == 1:
            return (0, 0, xen.tsc_mul, xen.tsc_shift & 0xFFFFFFFF)
        if index == 3 and subleaf == 2:
            return (xen.tsc_khz, 0, 0, 0)
        if index == 4 and xen.hvm and subleaf == 0:
            return (abi.XEN_HVM_CPUID_VCPU_ID_PRESENT | abi.XEN_HVM_CPUID_DOMID_PRESENT, xen.vcpu_id, xen.domid, 0)
        if index == 5 and not xen.hvm and subleaf == 0:
            return (0, 40, 0, 0)  # machine address width
        return (0, 0, 0, 0)


def _vendor() -> tuple[int, int, int]:
    first, second, third = struct.unpack("<3I", VENDOR)
    return first, third, second
