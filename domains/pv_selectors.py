"""Segment registers of PV guests: descriptors of the GDT and the LDT, as they are when a selector is loaded.

The guest loads most of them itself, natively; here are those that Xen loads for it: on return to the guest and on entry
to its kernel.
"""

from abi.types import VcpuRow
from abi.x86 import FIRST_RESERVED_GDT_PAGE
from domains import envlayout as env
from domains import segments
from domains.engine import Engine
from domains.segments import Segment, from_descriptor, update_hflags
from hypervisor.hypervisor import Hypervisor
from hypervisor.pv_slots import gdt_address, ldt_address
from hypervisor.pv_tables import DESCRIPTOR_FRAMES, GdtFrameTable, LdtFrameTable, PvHostTable

_GDT_BYTES = (FIRST_RESERVED_GDT_PAGE + 2) * 4096
_CODE, _WRITABLE_DATA, _TYPE_MASK, _SYSTEM = 0x1800, 0x1200, 0x1A00, 0x1000
_READABLE = 0x200
NULL = Segment(0, 0, 0, 0)


class BadSelector(Exception):  # noqa: N818
    """The processor would refuse to load this selector."""


class Selectors:
    """The descriptor tables of the vCPU at `row`, for `engine`."""

    def __init__(self, hv: Hypervisor, row: VcpuRow, engine: Engine) -> None:
        self._hv, self._row, self._engine, self._u64 = hv, row, engine, hv.arena.u64
        self._gdt, self._ldt = hv.state.table(GdtFrameTable).mfn, hv.state.table(LdtFrameTable).mfn
        self._vcpu_id = hv.vcpus.vcpu_id[row]
        shared = hv.state.table(PvHostTable)
        self._reserved = shared.gdt32 if hv.domains.width[hv.vcpus.domid[row]] == 32 else shared.gdt64

    def load_tables(self) -> None:
        """Point the processor at the vCPU's GDT and LDT, which lie in Xen's part of its address space."""
        segments.write(self._engine, env.GDT, Segment(0, gdt_address(self._vcpu_id), _GDT_BYTES - 1, 0))
        self.load_ldt()

    def load_ldt(self) -> None:
        """The vCPU has another LDT."""
        entries = self._hv.pv_vcpus.ldt_ents[self._row]
        ldt = Segment(8, ldt_address(self._vcpu_id), 8 * entries - 1, 0x8200) if entries else NULL
        segments.write(self._engine, env.LDT, ldt)

    def descriptor(self, selector: int) -> int:
        """The descriptor that a selector names.  Raises BadSelector beyond its table."""
        offset, first = selector & ~7, self._row * DESCRIPTOR_FRAMES
        page = offset >> 12
        if selector & 4:
            if offset >> 3 >= self._hv.pv_vcpus.ldt_ents[self._row]:
                raise BadSelector
            mfn = self._ldt[first + page]
            if not mfn:
                if not self._hv.pv.descriptors.map_ldt_page(self._row, offset):
                    raise BadSelector
                mfn = self._ldt[first + page]
        else:
            mfn = self._reserved[0] if page == FIRST_RESERVED_GDT_PAGE else self._gdt[first + page]
            if not mfn:
                raise BadSelector
        return self._u64[(mfn << 12 | offset & 0xFFF) >> 3]

    def code(self, selector: int) -> Segment:
        """The hidden state for CS; its privilege is the selector's.  Raises BadSelector."""
        segment = from_descriptor(selector, self.descriptor(selector))
        if segment.flags & _CODE != _CODE or not segment.flags & segments.FLAGS_P:
            raise BadSelector
        rpl = selector & 3
        if segment.dpl > rpl if segment.flags & 0x400 else segment.dpl != rpl:
            raise BadSelector
        return segment

    def stack(self, selector: int) -> Segment:
        """The hidden state for SS.  Raises BadSelector."""
        segment = from_descriptor(selector, self.descriptor(selector))
        if segment.flags & _TYPE_MASK != _WRITABLE_DATA or not segment.flags & segments.FLAGS_P or (
                segment.dpl != selector & 3):
            raise BadSelector
        return segment

    def data(self, selector: int, cpl: int) -> Segment:
        """The hidden state for DS, ES, FS or GS.  Raises BadSelector."""
        if not selector & 0xFFFC:
            return NULL._replace(selector=selector)
        segment = from_descriptor(selector, self.descriptor(selector))
        flags = segment.flags
        if not flags & _SYSTEM or (flags & 0x800 and not flags & _READABLE) or not flags & segments.FLAGS_P:
            raise BadSelector
        if flags & 0xC00 != 0xC00 and segment.dpl < max(cpl, selector & 3):
            raise BadSelector
        return segment

    def set_code_and_stack(self, code: Segment, stack: Segment) -> None:
        """Run in these segments."""
        segments.write(self._engine, env.CS, code)
        segments.write(self._engine, env.SS, stack)
        update_hflags(self._engine)
