"""What refers to each frame, counted anew from the facts: what a reference count has to be.

`FrameTable.refs` and the counts of `PageTypeTable` are kept up by every operation that takes or gives back a reference.
Here they are derived from what the references are held for: mapped grants, grant table frames, shared_info, registered
vcpu_infos, foreign mappings, and of PV guests the entries of validated page tables, pins, CR3s, GDTs and LDTs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from abi.grant_table import GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid
from grants.interfaces import P2mType
from grants.tables import (
    ActiveTable,
    GrantDomainTable,
    GrantFrameTable,
    GrantStatusTable,
    MaptrackTable,
    status_frames,
)
from hypervisor.frames import FrameKind, FrameTable
from hypervisor.memory import MemoryTable
from hypervisor.p2m import P2m
from hypervisor.pte import FIRST_XEN_L2_32, FIRST_XEN_L4, LAST_XEN_L4, MFN, PRESENT, WRITABLE
from hypervisor.pv_tables import (
    DESCRIPTOR_FRAMES,
    GdtFrameTable,
    LdtFrameTable,
    PageType,
    PageTypeTable,
    PvVcpuTable,
    TypeFlag,
)
from hypervisor.tables import DomainState, DomainTable, GuestKind, VcpuTable

if TYPE_CHECKING:
    from hypervisor.host_state import HostState

Column = Any
"""A numpy array of integers."""
_ENDED = (int(DomainState.FREE), int(DomainState.DEAD))
_ENTRIES = PAGE_SIZE // 8


def column(view: "memoryview[Any]", dtype: Any) -> Column:
    """A table's column as an array."""
    return numpy.frombuffer(view.cast("B"), dtype)


class References:
    """The counts of one host, as they should be now, by frame number.

    `refs` are references, `writable` those type references that are for writing, `tables` those of other types.
    """

    def __init__(self, state: "HostState", p2m: P2m) -> None:
        table = state.table
        self._domains, self._vcpus, self._grants = table(DomainTable), table(VcpuTable), table(GrantDomainTable)
        self._memory, self._pv, self._p2m = table(MemoryTable), table(PvVcpuTable), p2m
        self._entries = numpy.frombuffer(state.arena.u64, numpy.uint64)
        frames, types = table(FrameTable), table(PageTypeTable)
        self._kinds, self._owners = column(frames.kind, numpy.uint8), column(frames.owner, numpy.uint16)
        self._types, self._flags = column(types.type, numpy.uint8), column(types.flags, numpy.uint8)
        self._counts = column(types.count, numpy.uint32)
        count = frames.rows
        self.refs, self.writable, self.tables = (numpy.zeros(count, numpy.int64) for _ in range(3))
        self._mapped_grants(table(ActiveTable), table(MaptrackTable))
        for domid in range(self._domains.rows):
            if self._domains.state[domid] not in _ENDED and not self._domains.released[domid]:
                self._of_grant_table(domid, table(GrantFrameTable), table(GrantStatusTable))
                self._of_domain(Domid(domid), table(GdtFrameTable), table(LdtFrameTable))

    def _mapped_grants(self, active: ActiveTable, track: MaptrackTable) -> None:
        domains = self._grants
        all_frames, all_flags = column(active.mfn, numpy.uint64), column(track.flags, numpy.uint16)
        all_granters, all_refs = column(track.domid, numpy.uint16), column(track.ref, numpy.uint32)
        share, handles = active.rows // domains.rows, track.rows // domains.rows
        for mapper in range(domains.rows):
            rows = slice(mapper * handles, mapper * handles + domains.maptrack_limit[mapper])
            used = numpy.flatnonzero(all_flags[rows])
            if not len(used):
                continue
            flags, granters = all_flags[rows][used], all_granters[rows][used].astype(numpy.int64)
            mfns = all_frames[granters * share + all_refs[rows][used]].astype(numpy.int64)
            hosts, devices = (flags & bit != 0 for bit in (GNTMAP_host_map, GNTMAP_device_map))
            numpy.add.at(self.refs, mfns, hosts.astype(numpy.int64) + devices)
            if self._domains.kind[mapper] == GuestKind.PVH:  # see TypedPhysmapMapping
                kinds = column(self._domains.kind, numpy.uint8)[self._owners[mfns]]
                numpy.add.at(self.writable, mfns[hosts & (flags & GNTMAP_readonly == 0) & (kinds == GuestKind.PV)], 1)

    def _of_grant_table(self, domid: int, frames: GrantFrameTable, status: GrantStatusTable) -> None:
        count = self._grants.nr_frames[domid]
        for table, number in ((frames, count), (status, status_frames(self._grants.version[domid], count))):
            first = domid * (table.rows // self._grants.rows)
            for mfn in table.mfn[first:first + number]:
                self.refs[mfn] += 1

    def _of_domain(self, domid: Domid, gdt: GdtFrameTable, ldt: LdtFrameTable) -> None:
        domains, vcpus = self._domains, self._vcpus
        for mfn in (domains.shared_info[domid] >> PAGE_SHIFT, self._memory.map_page[domid] >> PAGE_SHIFT):
            self.refs[mfn] += mfn != 0
        rows = range(domains.vcpu_base[domid], domains.vcpu_base[domid] + domains.vcpu_count[domid])
        for row in rows:
            if vcpus.info_registered[row]:
                self.refs[vcpus.info[row] >> PAGE_SHIFT] += 1
                self.writable[vcpus.info[row] >> PAGE_SHIFT] += 1
        if domains.privileged[domid]:
            for _, mfn, _, kind in self._p2m.extents(domid):
                self.refs[mfn] += kind == P2mType.MAP_FOREIGN
        if domains.kind[domid] == GuestKind.PV:
            self._of_pv(domid, rows)
            for row in rows:
                part = slice(row * DESCRIPTOR_FRAMES, (row + 1) * DESCRIPTOR_FRAMES)
                self._use([*gdt.mfn[part], *ldt.mfn[part], self._pv.kernel_cr3[row], self._pv.user_cr3[row]])

    def _use(self, mfns: Sequence[int]) -> None:
        """References with a type, 0 for none."""
        for mfn in mfns:
            if mfn:
                self.refs[mfn] += 1
                self.tables[mfn] += 1

    def _of_pv(self, domid: Domid, rows: range) -> None:
        mine = numpy.flatnonzero((self._owners == domid) & (self._kinds == FrameKind.RAM) & (self._counts != 0))
        flags, types = self._flags[mine], self._types[mine]
        self._use(mine[flags & TypeFlag.PINNED != 0].tolist())
        valid = flags & TypeFlag.VALIDATED != 0
        self._of_l1(self._contents(mine[valid & (types == PageType.L1)]).ravel())
        wide = self._domains.width[domid] == 64
        for level in (PageType.L2, PageType.L3, PageType.L4):
            for mfn in mine[valid & (types == level)].tolist():
                entries = self._contents([mfn])[0].copy()
                if level == PageType.L4:
                    entries[FIRST_XEN_L4:LAST_XEN_L4 + 1 if wide else None] = 0
                elif level == PageType.L2 and self._flags[mfn] & TypeFlag.PAE_XEN_L2:
                    entries[FIRST_XEN_L2_32:] = 0
                lower = self._frames_of(entries[entries & numpy.uint64(PRESENT) != 0])
                lower = lower[lower != mfn]  # a table that names itself holds nothing: see PageTypes.get_linear
                numpy.add.at(self.refs, lower, 1)
                numpy.add.at(self.tables, lower, 1)

    def _of_l1(self, entries: Column) -> None:
        entries = entries[entries & numpy.uint64(PRESENT) != 0]
        mfns = self._frames_of(entries)
        real = mfns < len(self.refs)
        mfns, entries = mfns[real], entries[real]
        real = self._kinds[mfns] != FrameKind.RESERVED
        mfns, entries = mfns[real], entries[real]
        numpy.add.at(self.refs, mfns, 1)
        numpy.add.at(self.writable, mfns[entries & numpy.uint64(WRITABLE) != 0], 1)

    def _contents(self, mfns: "Sequence[int] | Column") -> Column:
        """The entries of page tables, a row each."""
        first = numpy.asarray(mfns, numpy.int64)[:, None] * _ENTRIES
        return self._entries[first + numpy.arange(_ENTRIES)]

    def _frames_of(self, entries: Column) -> Column:
        return (entries >> numpy.uint64(PAGE_SHIFT) & numpy.uint64(MFN)).astype(numpy.int64)
