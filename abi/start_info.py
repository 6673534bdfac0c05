"""What a PVH guest finds at the address in EBX (arch-x86/hvm/start_info.h).  The same in either width."""

from enum import IntEnum

from abi.layout import U32, U64, Layout
from abi.naming import c_prefix

XEN_HVM_START_MAGIC_VALUE = 0x336EC578


@c_prefix("XEN_HVM_MEMMAP_TYPE_")
class MemmapType(IntEnum):
    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5
    DISABLED = 6
    PMEM = 7


HVM_START_INFO = Layout(
    "hvm_start_info",
    magic=U32, version=U32, flags=U32, nr_modules=U32, modlist_paddr=U64, cmdline_paddr=U64, rsdp_paddr=U64,
    memmap_paddr=U64, memmap_entries=U32, reserved=U32,
)
"""`flags` are the SIF_* of `abi.xen`; the memory map came with version 1."""
HVM_MODLIST_ENTRY = Layout("hvm_modlist_entry", paddr=U64, size=U64, cmdline_paddr=U64, reserved=U64)
HVM_MEMMAP_TABLE_ENTRY = Layout("hvm_memmap_table_entry", addr=U64, size=U64, type=U32, reserved=U32)
