"""Grants after a process died in the middle of anything: what is mapped is what the maptracks of the living say."""

from typing import TYPE_CHECKING

import numpy

from abi.grant_table import GTF_permit_access, GTF_reading, GTF_type_mask, GTF_writing
from abi.types import Domid, GrantRef
from grants.entries import Entries
from grants.entry_v1 import EntriesV1
from grants.entry_v2 import EntriesV2
from grants.pins import INCREMENT, KIND_MASK, WRITERS
from grants.tables import (
    ENTRIES_PER_FRAME,
    ActiveTable,
    GrantDomainTable,
    GrantFrameTable,
    GrantStatusTable,
    MaptrackTable,
)
from hypervisor.references import Column, column

if TYPE_CHECKING:
    from hypervisor.host_state import HostState


class GrantRepair:
    """The grants of one host, for who holds still all of it."""

    def __init__(self, state: "HostState") -> None:
        table = state.table
        self._domains, self._frames, self._active = table(GrantDomainTable), table(GrantFrameTable), table(ActiveTable)
        self._track, self._words = table(MaptrackTable), state.arena.u32
        self._entries: dict[int, Entries] = {
            1: EntriesV1(self._domains, self._frames, state.arena),
            2: EntriesV2(self._domains, self._frames, table(GrantStatusTable), state.arena)}
        rows = self._domains.rows
        self._frame_share, self._share = self._frames.rows // rows, self._active.rows // rows
        self._handles = self._track.rows // rows

    def forget(self, domid: Domid) -> None:
        """The domain is dead: it has nothing mapped any more, and no grant table."""
        domains = self._domains
        rows = slice(domid * self._handles, domid * self._handles + domains.maptrack_limit[domid])
        column(self._track.flags, numpy.uint16)[rows] = 0
        domains.unmapped[domid] = domains.mapped[domid]
        domains.version[domid] = domains.nr_frames[domid] = domains.nr_entries[domid] = 0

    def run(self, ended: set[Domid]) -> int:
        """Put pins and the shared entries of the living right; how many grants were wrong."""
        wrong = 0
        pins = self._pins()
        for domid in range(self._domains.rows):
            if self._domains.max_frames[domid]:  # it lives, or has lived: then others may have pages of it
                wrong += self._set_pins(Domid(domid), self._domains.version[domid] != 0, pins.get(domid), ended)
        return wrong

    def _pins(self) -> dict[int, Column]:
        """By granter, the pin word of each of its entries."""
        increments = numpy.array(INCREMENT, numpy.uint32)
        flags, granters, refs = (column(self._track.flags, numpy.uint16), column(self._track.domid, numpy.uint16),
                                 column(self._track.ref, numpy.uint32))
        pins: dict[int, Column] = {}
        for mapper in range(self._domains.rows):
            rows = slice(mapper * self._handles, mapper * self._handles + self._domains.maptrack_limit[mapper])
            used = numpy.flatnonzero(flags[rows])
            for granter in set(granters[rows][used].tolist()):
                mine = used[granters[rows][used] == granter]
                words = pins.setdefault(granter, numpy.zeros(self._share, numpy.uint32))
                numpy.add.at(words, refs[rows][mine], increments[flags[rows][mine] & KIND_MASK])
        return pins

    def _set_pins(self, domid: Domid, alive: bool, due: "Column | None", ended: set[Domid]) -> int:
        entries = self._domains.nr_entries[domid] if alive else self._domains.max_frames[domid] * ENTRIES_PER_FRAME
        pins = column(self._active.pin, numpy.uint32)[domid * self._share:domid * self._share + entries]
        due = numpy.zeros(entries, numpy.uint32) if due is None else due[:entries]
        changed = pins != due
        pins[changed] = due[changed]
        if not alive:
            self._domains.lingering[domid] = int(numpy.count_nonzero(due))
            return 0
        suspects = changed | self._granted_to(domid, entries, ended)
        shared = self._entries[self._domains.version[domid]]
        for ref in numpy.flatnonzero(suspects).tolist():
            pin = int(due[ref])
            if not pin & WRITERS:
                shared.clear(domid, GrantRef(ref), GTF_writing if pin else GTF_reading | GTF_writing)
        return int(changed.sum())

    def _granted_to(self, domid: Domid, entries: int, grantees: set[Domid]) -> Column:
        """Which entries of a domain's table are grants to one of `grantees`."""
        words = numpy.frombuffer(self._words, numpy.uint32)
        first = domid * self._frame_share
        parts = []
        for mfn in self._frames.mfn[first:first + self._domains.nr_frames[domid]]:
            headers = words[mfn << 10:mfn + 1 << 10:4 if self._domains.version[domid] == 2 else 2]
            parts.append(numpy.isin(headers >> 16, list(grantees))
                         & (headers & GTF_type_mask == GTF_permit_access))
        return numpy.concatenate(parts)[:entries] if parts else numpy.zeros(0, bool)
