"""From a kernel file to a vCPU that is ready to run."""

from dataclasses import dataclass, field
from pathlib import Path

from abi.start_info import MemmapType
from abi.types import PAGE_SHIFT, Domid, VcpuRow
from domains.native import BlockMeter
from domains.pvh import Module, PvhImage, Region, build_pvh
from domains.pvh_vcpu import PvhVcpu
from domains.vcpu import Vcpu
from hypervisor.hypervisor import Hypervisor


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


def load(hv: Hypervisor, domid: Domid, image: Image) -> PvhImage:
    """Put a PVH domain's image into its memory.  Raises ImageError."""
    regions = [Region(start, size, MemmapType(kind)) for start, size, kind in hv.memory.memory_map(domid)]
    modules = [Module(image.ramdisk.read_bytes())] if image.ramdisk is not None else []
    return build_pvh(image.kernel.read_bytes(), regions, GuestPhysical(hv, domid).write, cmdline=image.cmdline,
                     modules=modules)


def make_vcpu(hv: Hypervisor, row: VcpuRow, meter: BlockMeter, built: PvhImage) -> Vcpu:
    """The engine of a PVH domain's first vCPU, in its start state."""
    vcpu = PvhVcpu(hv, row, meter)
    vcpu.symbol = lambda address: built.elf.symbol_at(address) or ""
    vcpu.start(built.start)
    return vcpu
