"""Building a PV domain: kernel, ramdisk, P2M, start_info and page tables into its frames, and its first vCPU's state.

As libxenguest does (xc_dom_x86.c, xc_dom_boot.c): what goes where is `pv_layout`'s affair, the first page tables are
`pv_page_tables`'; here it is written, and the hypervisor is asked to take the tables for what they are.
"""

import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy

from abi import x86_32, x86_64
from abi.errno import XenError
from abi.hvm import HvmParam
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Gfn, VcpuRow
from abi.xen import (
    MAX_GUEST_CMDLINE,
    SIF_MOD_START_PFN,
    SIF_VIRT_P2M_4TOOLS,
    START_INFO,
    VCPU_INFO,
    XEN_LEGACY_MAX_VCPUS,
    VmAssist,
)
from domains.elf import Elf, ImageError
from domains.hypercall_page import pv_page
from domains.pv_image import PvImage, pv_image
from domains.pv_layout import PvLayout, lay_out
from domains.pv_page_tables import page_tables
from hypervisor.domain import set_rings
from hypervisor.memory import MemoryTable
from hypervisor.pv_tables import PageType, VcpuFlag

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor

_BELOW_4G = 1 << 32 - PAGE_SHIFT
_PORTS = {32: 1024, 64: 4096}
_MOST_RAMDISK = 1 << 30
_INFO = VCPU_INFO.at(64)  # its size and mask are the same in either width, and it comes first in shared_info


class PvStartState(NamedTuple):
    """How the first vCPU begins, in kernel mode with IF set and upcalls masked; all other registers are 0."""

    width: int
    rip: int
    rsi: int
    """The virtual address of start_info."""
    rsp: int
    """The end of the boot stack; also where the kernel's stack is until stack_switch says otherwise."""
    cr3: int
    """The frame of the top-level page table, pinned."""


class PvBuilt(NamedTuple):
    """A domain's memory as it was built."""

    start: PvStartState
    elf: Elf
    layout: PvLayout
    first: int
    """The frame of page 0; page n is frame `first` + n."""


def build_pv(hv: "Hypervisor", domid: Domid, kernel: bytes, cmdline: str = "", ramdisk: bytes | None = None) -> PvBuilt:
    """Build a created PV domain, whose RAM holds zeros and lies in a row.

    Raises ImageError, before anything is written.
    """
    image = pv_image(kernel)
    first, total = hv.state.table(MemoryTable).first[domid], hv.domains.tot_pages[domid]
    if ramdisk is not None:
        ramdisk = _unzipped(ramdisk)
    layout = lay_out(image, total, None if ramdisk is None else len(ramdisk))
    encoded = cmdline.encode("utf-8", "surrogateescape")  # as the user's shell gave it
    if len(encoded) >= MAX_GUEST_CMDLINE or b"\0" in encoded:
        raise ImageError(f"a command line of {len(encoded)} bytes; expected less than {MAX_GUEST_CMDLINE}"
                         if b"\0" not in encoded else "the command line of the domain contains a zero byte")
    top = first + next(layout.tables()).pfn
    if image.width == 32 and not image.extended_cr3 and top >= _BELOW_4G:
        raise ImageError("it wants its top-level page table below 4 GiB, where the host has no memory for it")
    if image.hypercall_page is not None and not 0 <= image.hypercall_page - image.virt_base >> PAGE_SHIFT < total:
        raise ImageError(f"its hypercall page {image.hypercall_page:#x} lies outside the domain's memory")
    _Builder(hv, domid, image, layout, first).build(encoded, ramdisk)
    start = PvStartState(image.width, image.entry, layout.start_info.at, layout.stack.end, top)
    return PvBuilt(start, image.elf, layout, first)


class _Builder:
    def __init__(self, hv: "Hypervisor", domid: Domid, image: PvImage, layout: PvLayout, first: int) -> None:
        self._hv, self._domid, self._image, self._layout, self._first = hv, domid, image, layout, first
        self._total = hv.domains.tot_pages[domid]
        self._memory = hv.arena.u8[first << PAGE_SHIFT:first + self._total << PAGE_SHIFT]

    def build(self, cmdline: bytes, ramdisk: bytes | None) -> None:
        image, layout = self._image, self._layout
        for at, data in image.pieces():
            self._write(at - image.virt_base, data)
        if ramdisk is not None and layout.ramdisk is not None:
            self._write(layout.ramdisk.pfn << PAGE_SHIFT, ramdisk)
        if image.hypercall_page is not None:
            self._write(image.hypercall_page - image.virt_base & -PAGE_SIZE, pv_page(layout.width))
        self._write_p2m()
        self._set_width()
        self._clear_shared_info()
        set_rings(self._hv, self._domid, Gfn(self._frame(layout.console.pfn)), Gfn(self._frame(layout.xenstore.pfn)))
        self._write(layout.start_info.pfn << PAGE_SHIFT, self._start_info(cmdline))
        for mfn, entries in page_tables(layout, self._first):
            self._hv.arena.write(mfn << PAGE_SHIFT, entries.tobytes())
        self._promote()

    def _write(self, at: int, data: bytes | memoryview) -> None:
        self._memory[at:at + len(data)] = data

    def _frame(self, pfn: int) -> int:
        return self._first + pfn

    def _write_p2m(self) -> None:
        """The P2M; the M2P agrees with it since the domain was created."""
        frames = numpy.arange(self._first, self._first + self._total,
                              dtype=numpy.uint32 if self._layout.width == 32 else numpy.uint64)
        self._write(self._layout.p2m.pfn << PAGE_SHIFT, frames.tobytes())

    def _set_width(self) -> None:
        """What depends on the guest's width (XEN_DOMCTL_set_address_size, and its vCPU's context)."""
        hv, domid, width = self._hv, self._domid, self._layout.width
        hv.domains.evtchn_limit[domid] = _PORTS[width]
        if width == 32:
            hv.pv.switch_compat(domid)
            if self._image.extended_cr3:
                hv.assists.bits[domid] |= 1 << VmAssist.pae_extended_cr3

    def _start_info(self, cmdline: bytes) -> bytes:
        hv, domid, layout, shape = self._hv, self._domid, self._layout, START_INFO.at(self._layout.width)
        magic = b"xen-3.0-x86_64" if layout.width == 64 else b"xen-3.0-x86_32p"
        ramdisk, mod_start, flags = layout.ramdisk, 0, SIF_VIRT_P2M_4TOOLS
        if ramdisk is not None:
            mod_start = ramdisk.at
            if not layout.ramdisk_mapped:
                mod_start, flags = ramdisk.pfn, flags | SIF_MOD_START_PFN
        console_mfn = self._frame(layout.console.pfn).to_bytes(layout.width // 8, "little")
        console_port = hv.params.get(domid, HvmParam.CONSOLE_EVTCHN).to_bytes(4, "little")
        return shape.pack(
            magic.ljust(32, b"\0"), self._total, hv.domains.shared_info[domid], flags,
            self._frame(layout.xenstore.pfn), hv.params.get(domid, HvmParam.STORE_EVTCHN),
            (console_mfn + console_port).ljust(shape.width["console"], b"\0"),
            layout.page_tables.at, layout.page_tables.pages, layout.p2m.at, mod_start,
            ramdisk.pages * PAGE_SIZE if ramdisk is not None else 0, cmdline.ljust(MAX_GUEST_CMDLINE, b"\0"),
            layout.p2m.pfn, layout.p2m.pages)

    def _clear_shared_info(self) -> None:
        """Every vCPU begins with its upcalls masked."""
        at = self._hv.domains.shared_info[self._domid]
        self._hv.arena.write(at, bytes(PAGE_SIZE))
        for vcpu in range(XEN_LEGACY_MAX_VCPUS):
            self._hv.arena.u8[at + vcpu * _INFO.size + _INFO.offset["evtchn_upcall_mask"]] = 1
        self._hv.write_wallclock(self._domid)

    def _promote(self) -> None:
        """Have the hypervisor take the tables for what they are: the top-level one is pinned, and the vCPU on it."""
        hv, domid, width = self._hv, self._domid, self._layout.width
        top, row = self._frame(self._layout.page_tables.pfn), VcpuRow(hv.domains.vcpu_base[self._domid])
        try:
            hv.pv.pin(domid, top, PageType.L4 if width == 64 else PageType.L3)
            hv.pv.new_baseptr(row, domid, top)
        except XenError as error:
            raise ImageError(f"its first page tables cannot be had: {error.errno.name}") from error
        vcpu = hv.pv.vcpu_table
        vcpu.flags[row] = VcpuFlag.KERNEL_MODE
        vcpu.kernel_ss[row] = x86_64.FLAT_KERNEL_SS if width == 64 else x86_32.FLAT_KERNEL_SS
        vcpu.kernel_sp[row] = self._layout.stack.end


def _unzipped(ramdisk: bytes) -> bytes:
    """A ramdisk that is one gzip stream goes in unpacked, which spares the guest the work."""
    if not ramdisk.startswith(b"\x1f\x8b"):
        return ramdisk
    decompressor = zlib.decompressobj(wbits=31)
    try:
        unpacked = decompressor.decompress(ramdisk, _MOST_RAMDISK)
    except zlib.error:
        return ramdisk
    return unpacked if decompressor.eof and not decompressor.unused_data else ramdisk
