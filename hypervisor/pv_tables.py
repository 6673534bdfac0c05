"""What the hypervisor keeps for paravirtual guests: frame types, and the virtual processor's state beyond registers.

Row of a `PvDomainTable` = domid, of a `PvVcpuTable` = vCPU row, of a `PageTypeTable` or `M2p32Table` = frame number;
`TrapTable`, `GdtFrameTable` and `LdtFrameTable` have TRAPS or DESCRIPTOR_FRAMES rows a vCPU.  Frame number 0 is
nobody's, hence 0 says "none" everywhere.
"""

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import ClassVar

from hypervisor.p2m import P2mTable
from state.table import Table

TRAPS = 256
"""Vectors of a trap table."""
DESCRIPTOR_FRAMES = 16
"""Frames of a GDT or of an LDT; those of the GDT from FIRST_RESERVED_GDT_PAGE on are Xen's."""


class PageType(IntEnum):
    """What a frame may be used for while its type count is not 0 (PGT_* of asm/mm.h)."""

    NONE = 0
    L1 = 1
    L2 = 2
    L3 = 3
    L4 = 4
    SEG_DESC = 5
    WRITABLE = 7


class TypeFlag(IntFlag):
    """In `PageTypeTable.flags`."""

    VALIDATED = 1
    """The contents were checked for the type (PGT_validated)."""
    PINNED = 2
    """One of the references is the guest's own wish (PGT_pinned)."""
    PAE_XEN_L2 = 4
    """A 32-bit guest's L2 of the top GiB, which has Xen's slots (PGT_pae_xen_l2)."""


class PageTypeTable(Table):
    """A row a frame: `u.inuse` of Xen's struct page_info.  A type reference goes with a reference in `FrameTable`."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"type": "B", "flags": "B", "count": "I", "linear": "i", "stamp": "I"}
    type: "memoryview[int]"
    """`PageType`; stays what it was when `count` falls to 0, until someone wants another type."""
    flags: "memoryview[int]"
    """`TypeFlag`."""
    count: "memoryview[int]"
    linear: "memoryview[int]"
    """Recursive entries: > 0 counts those that this table holds, < 0 those of others that name it (linear_pt_count)."""
    stamp: "memoryview[int]"
    """The owner's `PvDomainTable.flushes` when a writable mapping went away last (tlbflush_timestamp)."""


class M2p32Table(Table):
    """The M2P that 32-bit guests read at 0xF5800000; page aligned, since a table begins on a page."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"pfn": "I"}
    pfn: "memoryview[int]"


class PvHostTable(Table):
    """One row: page tables that all PV guests share, made with the first of them."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"m2p_l3": "I", "m2p32_l2": "I", "gdt64": "I", "gdt32": "I", "zero": "I"}
    m2p_l3: "memoryview[int]"
    """Frame of the L3 behind 0xFFFF800000000000."""
    m2p32_l2: "memoryview[int]"
    """Frame whose top entries go into the slots of Xen in a 32-bit guest's last L2."""
    gdt64: "memoryview[int]"
    gdt32: "memoryview[int]"
    """Frames of Xen's own descriptors, page 14 of every GDT, for guests of either width."""
    zero: "memoryview[int]"
    """A frame of zeroes: pages of a GDT that the guest did not give."""


class PvDomainTable(Table):
    """A row a domain."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"perdomain_l3": "I", "flushes": "I", "pirq_eoi": "I"}
    perdomain_l3: "memoryview[int]"
    """Frame of the L3 of slot 260, under which GDT and LDT of each vCPU lie (`pv_slots`)."""
    flushes: "memoryview[int]"
    """How often its translations were flushed."""
    pirq_eoi: "memoryview[int]"
    """Frame of the page of PHYSDEVOP_pirq_eoi_gmfn, held with its type."""


class PvNestedTable(P2mTable):
    """A row a domain: the nested page table of a PV guest, one to one.  Its `P2mTable` row says that it has no p2m."""


class VcpuFlag(IntFlag):
    """In `PvVcpuTable.flags`."""

    KERNEL_MODE = 1
    """The guest's kernel runs, not its user (TF_kernel_mode)."""
    FAILSAFE_DISABLES_EVENTS = 2
    SYSCALL_DISABLES_EVENTS = 4
    SYSCALL32_DISABLES_EVENTS = 8
    SYSENTER_DISABLES_EVENTS = 16
    I387_VALID = 32
    TASK_SWITCHED = 64
    """CR0.TS as the guest sees it."""


class PvVcpuTable(Table):
    """A row a vCPU: `struct pv_vcpu` of asm/domain.h."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "flags": "I", "kernel_cr3": "I", "user_cr3": "I", "compat_l4": "I", "spare_l4": "I",
        "event_cs": "H", "failsafe_cs": "H", "syscall32_cs": "H", "sysenter_cs": "H", "kernel_ss": "H",
        "event_ip": "Q", "failsafe_ip": "Q", "syscall_ip": "Q", "syscall32_ip": "Q", "sysenter_ip": "Q",
        "kernel_sp": "Q", "gdt_ents": "H", "ldt_ents": "H", "ldt_base": "Q",
        "fs_base": "Q", "gs_base_kernel": "Q", "gs_base_user": "Q",
        "iopl": "B", "iobmp": "Q", "iobmp_limit": "I",
        "cr0": "Q", "cr4": "Q", "dr0": "Q", "dr1": "Q", "dr2": "Q", "dr3": "Q", "dr6": "Q", "dr7": "Q",
        "spun_at": "Q", "spins": "B", "nmi": "B",
    }
    flags: "memoryview[int]"
    """`VcpuFlag`."""
    kernel_cr3: "memoryview[int]"
    """Frame of the top-level table: an L4, or a 32-bit guest's L3.  The vCPU holds a reference and its type."""
    user_cr3: "memoryview[int]"
    """Frame of a 64-bit guest's user L4, 0 where it has none."""
    compat_l4: "memoryview[int]"
    """Frame of the L4 of Xen's own under which a 32-bit guest's L3 hangs."""
    spare_l4: "memoryview[int]"
    """The same frame, made at birth, when nobody knows the guest's width."""
    event_cs: "memoryview[int]"
    failsafe_cs: "memoryview[int]"
    syscall32_cs: "memoryview[int]"
    sysenter_cs: "memoryview[int]"
    kernel_ss: "memoryview[int]"
    event_ip: "memoryview[int]"
    failsafe_ip: "memoryview[int]"
    syscall_ip: "memoryview[int]"
    syscall32_ip: "memoryview[int]"
    sysenter_ip: "memoryview[int]"
    kernel_sp: "memoryview[int]"
    gdt_ents: "memoryview[int]"
    ldt_ents: "memoryview[int]"
    ldt_base: "memoryview[int]"
    """Guest-linear address; its pages are mapped when they are first used."""
    fs_base: "memoryview[int]"
    gs_base_kernel: "memoryview[int]"
    gs_base_user: "memoryview[int]"
    iopl: "memoryview[int]"
    """0 to 3."""
    iobmp: "memoryview[int]"
    """Guest-linear address of the I/O bitmap, for `iobmp_limit` ports."""
    iobmp_limit: "memoryview[int]"
    cr0: "memoryview[int]"
    cr4: "memoryview[int]"
    dr0: "memoryview[int]"
    dr1: "memoryview[int]"
    dr2: "memoryview[int]"
    dr3: "memoryview[int]"
    dr6: "memoryview[int]"
    dr7: "memoryview[int]"
    spun_at: "memoryview[int]"
    """Where its last PAUSE was, if it has not looked at the time since."""
    spins: "memoryview[int]"
    """How often in a row, up to what `PvVcpu` makes of it."""
    nmi: "memoryview[int]"
    """`pv_nmi.PENDING` and `IN_HANDLER`."""


class TrapTable(Table):
    """TRAPS rows a vCPU: set_trap_table's entries."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"cs": "H", "flags": "B", "address": "Q"}
    cs: "memoryview[int]"
    flags: "memoryview[int]"
    """Bits 0 and 1: the lowest ring that may raise it by software; bit 2: it masks events."""
    address: "memoryview[int]"


class GdtFrameTable(Table):
    """DESCRIPTOR_FRAMES rows a vCPU: the frames that the guest gave by set_gdt, each held with its type."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"mfn": "I"}
    mfn: "memoryview[int]"


class LdtFrameTable(Table):
    """DESCRIPTOR_FRAMES rows a vCPU: the LDT's pages that are mapped, each held with its type."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"mfn": "I"}
    mfn: "memoryview[int]"
