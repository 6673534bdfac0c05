"""The ACPI tables of a PVH domain: what kind of machine it is, its processors, and how it is switched off.

As libxl's for PVH (tools/libacpi), of ACPI 5.0, they describe a machine without fixed hardware ("hardware-reduced"):
no SCI, no PM timer, no legacy devices.  It is switched off by its sleep control register, and started anew by its reset
register, both in ports (ACPI 5.0, 4.8.3.7 and 4.8.3.6).
"""

import struct

from hypervisor.apic import APIC_BASE_ADDRESS, apic_id

SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT, RESET_PORT = 0xB004, 0xB005, 0xCF9
POWER_PORTS = frozenset((SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT, RESET_PORT))
SLP_TYP_SHIFT, SLP_EN = 2, 1 << 5
"""In the sleep control register: which state, and go there."""
S5_TYPE = 0
"""What _S5 says of soft-off, the one state that there is."""
RESET_VALUE = 6

_WBINVD, _PROC_C1, _NO_POWER_BUTTON, _NO_SLEEP_BUTTON, _RESET_REG_SUP, _HW_REDUCED = (
    1 << 0, 1 << 2, 1 << 4, 1 << 5, 1 << 10, 1 << 20)
_NO_VGA, _NO_CMOS_RTC = 1 << 2, 1 << 5
_SYSTEM_IO, _BYTE_ACCESS = 1, 1
_NO_REGISTER = bytes(12)
_LOCAL_APIC, _ENABLED = 0, 1
_HEADER, _RSDP = struct.Struct("<4sIBB6s8sI4sI"), struct.Struct("<8sB6sBIIQB3x")
_FADT_HEAD, _FADT_REST = struct.Struct("<IIBBH"), struct.Struct("<HxI12sBHBQQ")
_FADT_SIZE = 268
_OEM, _MODEL, _CREATOR = b"Xen\0\0\0", b"HVM\0\0\0\0\0", b"HVML"

_S5 = bytes((0x08, *b"_S5_", 0x12, 0x07, 0x04, 0x0A, S5_TYPE, 0, 0, 0))
"""In ACPI's machine language: Name(_S5, Package(4) {type, 0, 0, 0})."""


def acpi_tables(address: int, vcpus: int) -> bytes:
    """All of them, for guest-physical `address`, which is a multiple of 64; the RSDP comes first."""
    madt, dsdt = _madt(vcpus), _table(b"DSDT", 2, _S5)
    places, at = [], address + 64
    for size in (len(dsdt), _FADT_SIZE, len(madt)):
        places.append(at)
        at += size + 63 & ~63
    tables = {places[0]: dsdt, places[1]: _fadt(places[0]), places[2]: madt,
              at: _table(b"XSDT", 1, struct.pack("<2Q", *places[1:])), address: _rsdp(at)}
    memory = bytearray(max(place + len(table) for place, table in tables.items()) - address)
    for place, table in tables.items():
        memory[place - address:place - address + len(table)] = table
    return bytes(memory)


def _checksum(data: bytes) -> int:
    """What makes the sum of all bytes zero."""
    return -sum(data) & 0xFF


def _rsdp(xsdt: int) -> bytes:
    """It has two sums: of the first 20 bytes, which is the structure of ACPI 1.0, and of all."""
    def with_sums(first: int, second: int) -> bytes:
        return _RSDP.pack(b"RSD PTR ", first, _OEM, 2, 0, _RSDP.size, xsdt, second)

    first = _checksum(with_sums(0, 0)[:20])
    return with_sums(first, _checksum(with_sums(first, 0)))


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    def with_sum(checksum: int) -> bytes:
        size = _HEADER.size + len(body)
        return _HEADER.pack(signature, size, revision, checksum, _OEM, _MODEL, 0, _CREATOR, 0) + body

    return with_sum(_checksum(with_sum(0)))


def _port(port: int) -> bytes:
    """A register of one byte, as a generic address structure."""
    return struct.pack("<BBBBQ", _SYSTEM_IO, 8, 0, _BYTE_ACCESS, port)


def _fadt(dsdt: int) -> bytes:
    flags = _WBINVD | _PROC_C1 | _NO_POWER_BUTTON | _NO_SLEEP_BUTTON | _RESET_REG_SUP | _HW_REDUCED
    head = _FADT_HEAD.pack(0, dsdt, 0, 0, 0)
    rest = _FADT_REST.pack(_NO_VGA | _NO_CMOS_RTC, flags, _port(RESET_PORT), RESET_VALUE, 0, 0, 0, dsdt)
    blocks = bytes(109 - _HEADER.size - len(head))  # the fixed hardware that there is not
    return _table(b"FACP", 5, head + blocks + rest + 8 * _NO_REGISTER +
                  _port(SLEEP_CONTROL_PORT) + _port(SLEEP_STATUS_PORT))


def _madt(vcpus: int) -> bytes:
    return _table(b"APIC", 3, struct.pack("<II", APIC_BASE_ADDRESS, 0) + b"".join(
        struct.pack("<BBBBI", _LOCAL_APIC, 8, vcpu, apic_id(vcpu), _ENABLED) for vcpu in range(vcpus)))
