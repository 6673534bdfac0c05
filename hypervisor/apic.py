"""The local APIC of an x86 processor, as its MSRs in x2APIC mode show it (Intel's manual volume 3, chapter 11)."""

from enum import IntEnum

MSR_APIC_BASE = 0x1B
APIC_BASE_ADDRESS = 0xFEE00000
APIC_BASE_BSP, APIC_BASE_EXTD, APIC_BASE_EN = 1 << 8, 1 << 10, 1 << 11
"""In MSR_APIC_BASE: the processor that boots; x2APIC mode; the APIC is on."""

X2APIC_MSRS = range(0x800, 0x900)


class ApicRegister(IntEnum):
    """Registers by number: the MSR is 0x800 more, the offset in xAPIC's page sixteen times that."""

    ID = 0x02
    VERSION = 0x03
    TPR = 0x08
    PPR = 0x0A
    EOI = 0x0B
    LDR = 0x0D
    SVR = 0x0F
    ISR = 0x10
    """The first of eight, of 32 vectors each; so are TMR and IRR."""
    TMR = 0x18
    IRR = 0x20
    ESR = 0x28
    ICR = 0x30
    LVT_TIMER = 0x32
    LVT_THERMAL = 0x33
    LVT_PERFORMANCE = 0x34
    LVT_LINT0 = 0x35
    LVT_LINT1 = 0x36
    LVT_ERROR = 0x37
    TIMER_INITIAL = 0x38
    TIMER_CURRENT = 0x39
    TIMER_DIVIDE = 0x3E
    SELF_IPI = 0x3F


class DeliveryMode(IntEnum):
    """Bits 8 to 10 of the ICR and of LVT entries."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTINT = 7


class Shorthand(IntEnum):
    """Bits 18 and 19 of the ICR: for whom it is."""

    NONE = 0
    """For the destination in the upper half."""
    SELF = 1
    ALL = 2
    OTHERS = 3


SVR_ENABLED = 1 << 8
LVT_MASKED, LVT_PERIODIC = 1 << 16, 1 << 17
ICR_LOGICAL, ICR_ASSERT, ICR_LEVEL = 1 << 11, 1 << 14, 1 << 15
ESR_SEND_ILLEGAL_VECTOR, ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 5, 1 << 6
FIRST_LEGAL_VECTOR = 16
BROADCAST = 0xFFFFFFFF


def apic_id(vcpu_id: int) -> int:
    """Xen gives vCPUs even numbers."""
    return 2 * vcpu_id


def logical_id(vcpu_id: int) -> int:
    """Of the processor, in x2APIC mode: its cluster of sixteen << 16, and its bit there."""
    number = apic_id(vcpu_id)
    return number >> 4 << 16 | 1 << (number & 15)
