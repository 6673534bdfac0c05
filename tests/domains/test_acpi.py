"""The ACPI tables of a PVH domain, read as a guest reads them: from the root pointer on."""

import struct
from itertools import pairwise

import pytest

from domains.acpi import RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT, acpi_tables

BASE = 0xFC000000
PORT = struct.Struct("<BBBBQ")


class Memory:
    """A guest's view of its tables."""

    def __init__(self, vcpus: int) -> None:
        self.data = acpi_tables(BASE, vcpus)

    def number(self, address: int, size: int) -> int:
        return int.from_bytes(self.data[address - BASE:address - BASE + size], "little")

    def table(self, address: int) -> bytes:
        """A table by its own length, with the right sum."""
        table = self.data[address - BASE:address - BASE + self.number(address + 4, 4)]
        assert sum(table) & 0xFF == 0
        return table

    def tables(self) -> dict[bytes, bytes]:
        """Those that the root names, and the one that the FADT names, by signature."""
        xsdt = self.table(self.number(BASE + 24, 8))
        found = {table[:4]: table for table in (
            self.table(address) for (address,) in struct.iter_unpack("<Q", xsdt[36:]))}
        dsdt, same = struct.unpack_from("<I", found[b"FACP"], 40)[0], struct.unpack_from("<Q", found[b"FACP"], 140)[0]
        assert dsdt == same
        return found | {b"XSDT": xsdt, b"DSDT": self.table(dsdt)}


@pytest.fixture
def memory() -> Memory:
    return Memory(1)


def test_the_root_pointer_has_both_its_sums(memory):
    root = memory.data[:36]
    assert root[:8] == b"RSD PTR "
    assert sum(root[:20]) & 0xFF == sum(root) & 0xFF == 0
    assert (root[15], struct.unpack_from("<I", root, 20)[0]) == (2, 36)


def test_every_table_is_there_with_its_sum(memory):
    assert set(memory.tables()) == {b"XSDT", b"FACP", b"APIC", b"DSDT"}


def test_no_two_tables_share_a_byte(memory):
    places = sorted(memory.data.index(table) for table in memory.tables().values())
    lengths = {memory.data.index(table): len(table) for table in memory.tables().values()}
    assert places[0] >= 36
    assert all(place + lengths[place] <= following for place, following in pairwise(places))


def test_the_machine_has_no_fixed_hardware(memory):
    fadt = memory.tables()[b"FACP"]
    flags = struct.unpack_from("<I", fadt, 112)[0]
    assert (len(fadt), fadt[8]) == (268, 5)
    assert flags >> 20 & 1, "HW_REDUCED_ACPI"
    assert set(fadt[46:109]) == set(fadt[148:244]) == {0}, "no SCI, no blocks of registers"


def test_it_says_how_to_switch_off_and_to_start_anew(memory):
    fadt = memory.tables()[b"FACP"]
    assert struct.unpack_from("<I", fadt, 112)[0] >> 10 & 1, "RESET_REG_SUP"
    assert (PORT.unpack_from(fadt, 116), fadt[128]) == ((1, 8, 0, 1, RESET_PORT), RESET_VALUE)
    assert [PORT.unpack_from(fadt, at) for at in (244, 256)] == [
        (1, 8, 0, 1, SLEEP_CONTROL_PORT), (1, 8, 0, 1, SLEEP_STATUS_PORT)]


def test_soft_off_is_the_one_sleep_state(memory):
    name, package, four = b"\x08_S5_", b"\x12\x07", b"\x04\x0a\x00\x00\x00\x00"
    assert memory.tables()[b"DSDT"][36:] == name + package + four


@pytest.mark.parametrize("vcpus", [1, 2, 32])
def test_each_vcpu_has_an_apic_with_xens_number(vcpus):
    madt = Memory(vcpus).tables()[b"APIC"]
    assert struct.unpack_from("<II", madt, 36) == (0xFEE00000, 0)
    assert list(struct.iter_unpack("<BBBBI", madt[44:])) == [(0, 8, vcpu, 2 * vcpu, 1) for vcpu in range(vcpus)]


def test_they_fit_into_their_page_however_many_vcpus_there_are():
    assert len(Memory(128).data) <= 4096
