"""From a kernel file to a vCPU that is ready to run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from abi.start_info import MemmapType
from abi.types import PAGE_SHIFT, Domid, VcpuRow
from domains.acpi import acpi_tables
from domains.native import BlockMeter
from domains.pv_builder import PvBuilt, build_pv
from domains.pv_start import start_first
from domains.pv_turns import Turns
from domains.pv_vcpu import PvVcpu
from domains.pvh import Module, PvhImage, Region, build_pvh
from domains.pvh_vcpus import make_pvh_vcpus
from domains.vcpu import Vcpu
from hypervisor.hypervisor import Hypervisor
from hypervisor.pvh_layout import ACPI_TABLES
from hypervisor.tables import GuestKind


@dataclass(frozen=True)
class Image:
    """What a domain boots: `kernel` and `ramdisk` are files that exist."""

    kernel: Path
    cmdline: str = ""
    ramdisk: Path | None = None
    modules: tuple[Path, ...] = field(default=())


class GuestPhysical:
    """Writes a new domain's memory by guest-physical address."""

    def __init__(self, hv: Hypervisor, domid: Domid) -> None:
        self._hv, self._domid = hv, domid

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Store `data`.  Raises XenError(ENOENT) where the domain has no memory."""
        view, done = memoryview(data), 0
        while done < len(view):
            here = min(len(view) - done, 4096 - (address & 0xFFF))
            machine = self._hv.memory.machine_address(self._domid, address >> PAGE_SHIFT) | address & 0xFFF
            self._hv.arena.write(machine, view[done:done + here])
            address, done = address + here, done + here


def load(hv: Hypervisor, domid: Domid, image: Image) -> PvhImage | PvBuilt:
    """Put a domain's image into its memory.  Raises ImageError."""
    if hv.domains.kind[domid] == GuestKind.PV:
        return build_pv(hv, domid, image.kernel.read_bytes(), image.cmdline,
                        image.ramdisk.read_bytes() if image.ramdisk is not None else None)
    regions = [Region(start, size, MemmapType(kind)) for start, size, kind in hv.memory.memory_map(domid)]
    rsdp = ACPI_TABLES << PAGE_SHIFT
    GuestPhysical(hv, domid).write(rsdp, acpi_tables(rsdp, hv.domains.vcpu_count[domid]))
    modules = [Module(image.ramdisk.read_bytes())] if image.ramdisk is not None else []
    return build_pvh(image.kernel.read_bytes(), regions, GuestPhysical(hv, domid).write, cmdline=image.cmdline,
                     modules=modules, rsdp=rsdp)


def make_vcpus(hv: Hypervisor, rows: Sequence[VcpuRow], meter: BlockMeter,
               built: PvhImage | PvBuilt) -> dict[VcpuRow, Vcpu]:
    """The engines of a domain's vCPUs, the first of them in its start state."""
    vcpus: dict[VcpuRow, Vcpu] = {}
    if isinstance(built, PvBuilt):
        turns = Turns()
        pv_vcpus = [PvVcpu(hv, row, meter, turns) for row in rows]
        start_first(pv_vcpus[0], built.start)
        vcpus.update(zip(rows, pv_vcpus, strict=True))
    else:
        pvh_vcpus = make_pvh_vcpus(hv, rows, meter)
        pvh_vcpus[0].start(built.start)
        vcpus.update(zip(rows, pvh_vcpus, strict=True))
    elf = built.elf
    for each in vcpus.values():
        each.symbol = lambda address: elf.symbol_at(address) or ""
    return vcpus
