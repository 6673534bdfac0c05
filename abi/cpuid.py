"""What CPUID says of Xen, and the MSR it names (arch-x86/cpuid.h)."""

XEN_CPUID_FIRST_LEAF = 0x40000000
"""Moves up in steps of 0x100 behind other hypervisors' leaves."""
XEN_CPUID_MAX_NUM_LEAVES = 5
XEN_CPUID_SIGNATURE_EBX = 0x566E6558
XEN_CPUID_SIGNATURE_ECX = 0x65584D4D
XEN_CPUID_SIGNATURE_EDX = 0x4D4D566E

XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD = 1 << 0
"""Leaf 2, ECX."""

XEN_HVM_CPUID_APIC_ACCESS_VIRT = 1 << 0
XEN_HVM_CPUID_X2APIC_VIRT = 1 << 1
XEN_HVM_CPUID_IOMMU_MAPPINGS = 1 << 2
XEN_HVM_CPUID_VCPU_ID_PRESENT = 1 << 3
XEN_HVM_CPUID_DOMID_PRESENT = 1 << 4
XEN_HVM_CPUID_EXT_DEST_ID = 1 << 5
XEN_HVM_CPUID_UPCALL_VECTOR = 1 << 6
"""The seven above: leaf 4, EAX."""
XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK = 0xFF
"""Leaf 5, EBX, PV guests."""

XEN_HYPERCALL_MSR = 0x40000000
"""Leaf 2, EBX: a write of a page's guest-physical address plus its number fills it with the hypercall entries."""
