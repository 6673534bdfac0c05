"""map_grant_ref, unmap_grant_ref, unmap_and_replace, and what a dying domain leaves mapped.

The order of checks, the status codes and the oddities are those of Xen 4.17's map_grant_ref and unmap_common.  Two of
the oddities: DOMID_SELF is no domain here, and an entry that its granter revoked while it is mapped stays active, so
that its grantee may even map it again.
"""

from collections.abc import Callable, Mapping, Sequence

from abi.grant_table import (
    GNTMAP_application_map,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GrantStatus,
    GTF_reading,
    GTF_writing,
)
from abi.types import PAGE_SHIFT, Domid, GrantHandle, GrantRef, Mfn
from grants.entries import Entries
from grants.errors import GrantError
from grants.interfaces import HostMapping, MemoryManager
from grants.maptrack import Maptrack
from grants.page import frame_to_map
from grants.pins import FULL, INCREMENT, KIND_MASK, WRITERS
from grants.tables import ActiveTable, GrantDomainTable, MaptrackTable

_NOT_IN_HVM = GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte
_MAPPED = GNTMAP_device_map | GNTMAP_host_map


class GrantMappings:
    """`entries` are by version, `hosts` by the number in `GrantDomainTable.kind`."""

    def __init__(self, domains: GrantDomainTable, active: ActiveTable, maptrack: MaptrackTable,
                 entries: Mapping[int, Entries], memory: MemoryManager, hosts: Sequence[HostMapping]) -> None:
        self._entries, self._memory, self._hosts = entries, memory, hosts
        self._rows, self._kind, self._version = domains.rows, domains.kind, domains.version
        self._nr_entries, self._limit, self._lingering = domains.nr_entries, domains.maptrack_limit, domains.lingering
        self._mapped, self._unmapped = domains.mapped, domains.unmapped
        self._pin, self._grantee, self._frame = active.pin, active.domid, active.mfn
        self._refs = active.rows // domains.rows
        self._flags, self._granter, self._ref = maptrack.flags, maptrack.domid, maptrack.ref
        self._address = maptrack.address
        self._handles = maptrack.rows // domains.rows
        self._maptrack = Maptrack(domains, maptrack)
        self.require: Callable[[Domid, int], None] = lambda domid, other: None
        """See `grants.grant_table.Require`."""
        self.loosened: Callable[[Domid], None] = lambda domid: None
        """Told of every domain that has unmapped a grant."""
        self.fetch: Callable[[Domid, Mfn], None] | None = None
        """See `GrantTables.set_fetch`."""

    def map_grant_ref(self, mapper: Domid, host_addr: int, flags: int, ref: GrantRef,
                      granter: Domid) -> tuple[GrantHandle, int]:
        """Map `granter`'s entry `ref` for `mapper`: handle and `dev_bus_addr`.  Raises GrantError."""
        increment = INCREMENT[flags & KIND_MASK]
        if not increment:
            raise GrantError(GrantStatus.bad_gntref)
        host = self._hosts[self._kind[mapper]]
        if host.external and flags & _NOT_IN_HVM:
            raise GrantError(GrantStatus.general_error)
        self.require(mapper, granter)
        if granter >= self._rows or not self._version[granter]:
            raise GrantError(GrantStatus.bad_domain)
        handle = self._maptrack.take(mapper)
        try:
            mfn = self._activate(mapper, flags, ref, granter, increment)
            if flags & GNTMAP_host_map:
                self._map_for_host(host, mapper, host_addr, flags, ref, granter, mfn)
        except GrantError:
            self._maptrack.put(mapper, handle)
            raise
        row = mapper * self._handles + handle
        self._granter[row] = granter
        self._ref[row] = ref
        self._address[row] = host_addr
        self._flags[row] = flags & 0xFFFF
        self._mapped[mapper] += 1
        if self.fetch is not None:
            self.fetch(granter, mfn)
        return handle, mfn << PAGE_SHIFT

    def _activate(self, mapper: Domid, flags: int, ref: GrantRef, granter: Domid, increment: int) -> Mfn:
        """Count the mapping in the active entry, fill that if it is the first, and take a reference to the frame."""
        if ref >= self._nr_entries[granter]:
            raise GrantError(GrantStatus.bad_gntref)
        row = granter * self._refs + ref
        pin = self._pin[row]
        readonly = flags & GNTMAP_readonly != 0
        if not pin:
            entries = self._entries[self._version[granter]]
            gfn = entries.claim(granter, ref, mapper, readonly, False)
            try:
                mfn = frame_to_map(self._memory, granter, gfn, readonly)
            except GrantError:
                entries.clear(granter, ref, GTF_reading if readonly else GTF_reading | GTF_writing)
                raise
            self._frame[row] = mfn
            self._grantee[row] = mapper
            self._pin[row] = increment
            return mfn
        if self._grantee[row] != mapper or pin & increment << FULL:
            raise GrantError(GrantStatus.general_error)
        if not readonly and not pin & WRITERS:
            self._entries[self._version[granter]].claim(granter, ref, mapper, False, True)
        mfn = self._frame[row]
        self._pin[row] = pin + increment
        if not self._memory.get_page(mfn, granter):
            self._release(granter, ref, flags)
            raise GrantError(GrantStatus.general_error)
        return mfn

    def _map_for_host(self, host: HostMapping, mapper: Domid, host_addr: int, flags: int, ref: GrantRef,
                      granter: Domid, mfn: Mfn) -> None:
        """Make the host mapping of an active entry; where that fails, the entry is as before `_activate`."""
        references = 1
        try:
            if flags & GNTMAP_device_map:
                if not self._memory.get_page(mfn, granter):
                    raise GrantError(GrantStatus.general_error)
                references = 2
            host.create(mapper, host_addr, mfn, flags)
        except GrantError:
            for _ in range(references):
                self._memory.put_page(mfn)
            self._release(granter, ref, flags)
            raise

    def _release(self, granter: Domid, ref: GrantRef, flags: int) -> None:
        """Take one mapping out of the active entry, and GTF_reading and GTF_writing off the shared one after the last.

        A granter that died has no shared entries any more; its active ones stay until nobody maps them.
        """
        row = granter * self._refs + ref
        pin = self._pin[row] - INCREMENT[flags & KIND_MASK]
        self._pin[row] = pin
        version = self._version[granter]
        if not version:
            if not pin:
                self._lingering[granter] -= 1
        elif not pin:
            self._entries[version].clear(
                granter, ref, GTF_reading if flags & GNTMAP_readonly else GTF_reading | GTF_writing)
        elif not flags & GNTMAP_readonly and not pin & WRITERS:
            self._entries[version].clear(granter, ref, GTF_writing)

    def unmap_grant_ref(self, mapper: Domid, host_addr: int, dev_bus_addr: int, handle: GrantHandle,
                        new_addr: int = 0) -> None:
        """Undo the host mapping at `host_addr`, the device mapping at `dev_bus_addr`, or both; 0 means not that one.

        With `new_addr` it is unmap_and_replace.  The handle is free when neither is left.  Raises GrantError.
        """
        if handle >= self._limit[mapper]:
            raise GrantError(GrantStatus.bad_handle)
        row = mapper * self._handles + handle
        flags = self._flags[row]
        if not flags:
            raise GrantError(GrantStatus.bad_handle)
        self.require(mapper, self._granter[row])
        mfn = self._frame[self._granter[row] * self._refs + self._ref[row]]
        done = 0
        if dev_bus_addr and flags & GNTMAP_device_map:
            if dev_bus_addr != mfn << PAGE_SHIFT:
                raise GrantError(GrantStatus.bad_dev_addr)
            done = GNTMAP_device_map
        if host_addr and flags & GNTMAP_host_map:
            self._hosts[self._kind[mapper]].replace(mapper, host_addr, mfn, new_addr, flags)
            done |= GNTMAP_host_map
        if done:
            self._settle(mapper, handle, row, flags, done, mfn)

    def _settle(self, mapper: Domid, handle: GrantHandle, row: int, flags: int, done: int, mfn: Mfn) -> None:
        """The books after the mappings in `done` are gone."""
        granter, ref = self._granter[row], self._ref[row]
        if flags & _MAPPED & ~done:
            self._flags[row] = flags & ~done
        else:
            self._flags[row] = 0
            self._maptrack.put(mapper, handle)
            self._unmapped[mapper] += 1
            self.loosened(mapper)
        self._release(granter, ref, done | flags & GNTMAP_readonly)
        self._memory.put_page(mfn)
        if done == _MAPPED:
            self._memory.put_page(mfn)

    def has_mapped(self, mapper: Domid, mfn: Mfn) -> bool:
        """Whether `mapper` has a grant of this frame mapped (grant_map_exists)."""
        first = mapper * self._handles
        return self._mapped[mapper] != self._unmapped[mapper] and any(
            self._flags[row] and self._frame[self._granter[row] * self._refs + self._ref[row]] == mfn
            for row in range(first, first + self._limit[mapper]))

    def recount(self, granter: Domid) -> None:
        """What the granter's active entries said is lost: say what its grants' mappers know."""
        first = granter * self._refs
        for row in range(first, first + self._nr_entries[granter]):
            self._pin[row] = 0
        for mapper in range(self._rows):
            for row in range(mapper * self._handles, mapper * self._handles + self._limit[mapper]):
                if self._flags[row] and self._granter[row] == granter and mapper != granter:
                    active = first + self._ref[row]
                    self._pin[active] += INCREMENT[self._flags[row] & KIND_MASK]
                    self._grantee[active] = Domid(mapper)

    def held(self, mapper: Domid) -> list[tuple[Mfn, int]]:
        """The frames that a domain has mapped for itself to use, each with its GNTMAP_*, once a mapping."""
        found = []
        for row in range(mapper * self._handles, mapper * self._handles + self._limit[mapper]):
            if self._flags[row] & GNTMAP_host_map:
                self.require(mapper, self._granter[row])
                found.append((self._frame[self._granter[row] * self._refs + self._ref[row]], self._flags[row]))
        return found

    def release_mappings(self, mapper: Domid) -> None:
        """Undo all that `mapper` has mapped: it dies (gnttab_release_mappings)."""
        host = self._hosts[self._kind[mapper]]
        for handle in range(self._limit[mapper]):
            if self._mapped[mapper] == self._unmapped[mapper]:
                return
            row = mapper * self._handles + handle
            flags = self._flags[row]
            if flags:
                self.require(mapper, self._granter[row])
                mfn = self._frame[self._granter[row] * self._refs + self._ref[row]]
                if flags & GNTMAP_host_map:
                    host.release(mapper, self._address[row], mfn, flags)
                self._settle(mapper, GrantHandle(handle), row, flags, flags & _MAPPED, mfn)
