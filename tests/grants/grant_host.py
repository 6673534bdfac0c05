"""A host for tests of the grant tables: real tables and arena, and the simplest memory manager that keeps its word."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from mmap import mmap
from typing import TypeVar

import pytest

from abi.errno import Errno, XenError
from abi.grant_table import GNTMAP_host_map, GrantStatus, GTF_permit_access
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Gfn, GrantHandle, GrantRef, Mfn
from grants.errors import GrantError
from grants.grant_table import GrantTables
from grants.host_mapping import NoHostMapping, PhysmapMapping
from grants.interfaces import P2mType
from grants.tables import ActiveTable, GrantDomainTable, GrantFrameTable, GrantStatusTable, MaptrackTable
from state.arena import Arena
from state.table import Table

T = TypeVar("T", bound=Table)
PVH, PV = 0, 1
MAX_FRAMES = 4


def table(kind: type[T], rows: int) -> T:
    """A table over zero pages, which cost nothing until they are touched."""
    return kind(memoryview(mmap(-1, kind.size(rows))), rows)


@dataclass
class Frame:
    owner: Domid
    refs: int = 1


@dataclass
class FakeMemory:
    """Frames by number; a domain's allocation counts as one reference."""

    arena: Arena
    frames: dict[Mfn, Frame] = field(default_factory=dict)
    p2m: dict[Domid, dict[Gfn, tuple[Mfn, P2mType]]] = field(default_factory=dict)
    free: list[int] = field(default_factory=lambda: list(range(255, 0, -1)))
    last_gfn: int = 0xFFFFF
    most: dict[Domid, int] = field(default_factory=dict)
    """The pages that a domain may have; any number, if nothing is said."""

    def lookup(self, domid: Domid, gfn: Gfn) -> tuple[Mfn, P2mType]:
        try:
            return self.p2m[domid][gfn]
        except KeyError:
            raise XenError(Errno.ENOENT) from None

    def owner(self, mfn: Mfn) -> Domid:
        return self.frames[mfn].owner

    def get_page(self, mfn: Mfn, domid: Domid) -> bool:
        frame = self.frames.get(mfn)
        if frame is None or frame.owner != domid:
            return False
        frame.refs += 1
        return True

    def put_page(self, mfn: Mfn) -> None:
        frame = self.frames[mfn]
        frame.refs -= 1
        assert frame.refs >= 0
        if not frame.refs:
            del self.frames[mfn]
            self.free.append(mfn)

    def references(self, mfn: Mfn) -> int:
        return self.frames[mfn].refs

    def map_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        _, there = self.p2m[domid].get(gfn, (0, P2mType.INVALID))
        if gfn > self.last_gfn or there in (P2mType.GRANT_MAP_RO, P2mType.GRANT_MAP_RW):
            raise XenError(Errno.EINVAL)
        self.p2m[domid][gfn] = mfn, P2mType.GRANT_MAP_RO if readonly else P2mType.GRANT_MAP_RW

    def unmap_grant(self, domid: Domid, gfn: Gfn, mfn: Mfn) -> None:
        found, kind = self.p2m[domid].get(gfn, (0, P2mType.INVALID))
        if found != mfn or kind not in (P2mType.GRANT_MAP_RO, P2mType.GRANT_MAP_RW):
            raise XenError(Errno.EINVAL)
        del self.p2m[domid][gfn]

    def gfn_of(self, domid: Domid, mfn: Mfn) -> Gfn | None:
        return next((gfn for gfn, (frame, _) in self.p2m[domid].items() if frame == mfn), None)

    def allocate_xen_frame(self, owner: Domid) -> Mfn:
        if not self.free:
            raise XenError(Errno.ENOMEM)
        mfn = Mfn(self.free.pop())
        self.frames[mfn] = Frame(owner)
        self.arena.zero(mfn)
        return mfn


    # -- pages that change hands

    def givable(self, domid: Domid, page: Gfn) -> Mfn:
        mfn, kind = self.lookup(domid, page)
        if kind != P2mType.RAM_RW or self.frames[mfn] != Frame(domid):
            raise XenError(Errno.EINVAL)
        return mfn

    def has_room(self, domid: Domid) -> bool:
        return sum(kind == P2mType.RAM_RW for _, kind in self.p2m[domid].values()) < self.most.get(domid, 99)

    def move(self, mfn: Mfn, taker: Domid, page: Gfn) -> int | None:
        frame = self.allocate_xen_frame(taker)
        self.arena.page(frame)[:] = self.arena.page(mfn)
        self.p2m[taker][page] = frame, P2mType.RAM_RW
        return None if taker else frame  # domain 0 names frames

    def take_away(self, mfn: Mfn) -> None:
        owner = self.frames[mfn].owner
        page = self.gfn_of(owner, mfn)
        assert page is not None
        del self.p2m[owner][page]
        self.put_page(mfn)


class GrantHost:
    """Domains 0 (PV) and 1 to 4 (PVH) with four pages each, at gfn 0 to 3."""

    def __init__(self, domains: int = 5, pages: int = 4, handles: int = 512) -> None:
        self.arena = Arena(memoryview(mmap(-1, 256 * PAGE_SIZE)))
        self.memory = FakeMemory(self.arena)
        self.domains = table(GrantDomainTable, domains)
        self.active = table(ActiveTable, domains * MAX_FRAMES * 512)
        self.maptrack = table(MaptrackTable, domains * handles)
        self.frames = table(GrantFrameTable, domains * MAX_FRAMES)
        self.status = table(GrantStatusTable, domains)
        self.handles = handles
        self.grants = self.attach()
        for domid in range(domains):
            self.boot(Domid(domid), pages)

    def attach(self) -> GrantTables:
        """What another process would build over the same bytes."""
        physmap, none = PhysmapMapping(self.memory), NoHostMapping()
        return GrantTables(self.domains, self.frames, self.status, self.active, self.maptrack, self.arena, self.memory,
                           self.memory, (physmap, none, none))

    def boot(self, domid: Domid, pages: int = 4) -> None:
        self.memory.p2m[domid] = {}
        for gfn in range(pages):
            mfn = self.memory.allocate_xen_frame(domid)
            self.memory.p2m[domid][Gfn(gfn)] = mfn, P2mType.RAM_RW
        self.grants.create(domid, PVH if domid else PV, MAX_FRAMES, self.handles // 256)

    def die(self, domid: Domid) -> None:
        own = [mfn for mfn, kind in self.memory.p2m[domid].values() if kind == P2mType.RAM_RW]
        self.grants.destroy(domid)
        self.memory.p2m[domid] = {}
        for mfn in own:
            self.memory.put_page(mfn)

    def entry_address(self, domid: int, ref: int) -> int:
        size = 16 if self.domains.version[domid] == 2 else 8
        return self.frames.mfn[domid * MAX_FRAMES + ref * size // PAGE_SIZE] * PAGE_SIZE + ref * size % PAGE_SIZE

    def grant(self, granter: int, ref: int, to: int, gfn: int = 0, flags: int = GTF_permit_access,
              part: tuple[int, int] = (0, 0)) -> None:
        """What a guest does: frame and domid first, then the flags.  `part` is of version 2, the first byte and the
        length; of a transitive entry it is the domain, and `gfn` its reference."""
        address = self.entry_address(granter, ref)
        if self.domains.version[granter] == 2:
            self.arena.u16[address // 2 + 2], self.arena.u16[address // 2 + 3] = part
            self.arena.u64[address // 8 + 1] = gfn
        else:
            self.arena.u32[address // 4 + 1] = gfn
        self.arena.u16[address // 2 + 1] = to
        self.arena.u16[address // 2] = flags

    def frame_named(self, domid: int, ref: int) -> int:
        """The frame that an entry names."""
        address = self.entry_address(domid, ref)
        return (self.arena.u64[address // 8 + 1] if self.domains.version[domid] == 2
                else self.arena.u32[address // 4 + 1])

    def set_version(self, domid: int, version: int) -> None:
        self.grants.set_version(Domid(domid), version)

    def revoke(self, granter: int, ref: int) -> None:
        self.arena.u16[self.entry_address(granter, ref) // 2] = 0

    def flags(self, granter: int, ref: int) -> int:
        """The flags that the granter sees in its entry, and in version 2 in the status word."""
        flags = self.arena.u16[self.entry_address(granter, ref) // 2]
        return flags | self.status_word(granter, ref) if self.domains.version[granter] == 2 else flags

    def status_word(self, granter: int, ref: int) -> int:
        """What version 2 says of an entry's use."""
        return self.arena.u16[self.status.mfn[granter + ref // 2048] * PAGE_SIZE // 2 + ref % 2048]

    def map(self, mapper: int, granter: int, ref: int, at: int = 0x100, flags: int = GNTMAP_host_map) -> GrantHandle:
        """Map at guest page `at`."""
        handle, bus = self.grants.mappings.map_grant_ref(
            Domid(mapper), at << PAGE_SHIFT, flags, GrantRef(ref), Domid(granter))
        assert bus >> PAGE_SHIFT == self.active.mfn[granter * MAX_FRAMES * 512 + ref]
        return handle

    def unmap(self, mapper: int, handle: int, at: int = 0x100, bus: int = 0, new: int = 0) -> None:
        self.grants.mappings.unmap_grant_ref(Domid(mapper), at << PAGE_SHIFT, bus, GrantHandle(handle), new)

    def mfn(self, domid: int, gfn: int) -> Mfn:
        return self.memory.p2m[Domid(domid)][Gfn(gfn)][0]

    def page(self, domid: int, gfn: int) -> memoryview:
        return self.arena.page(self.mfn(domid, gfn))

    def refs(self, mfn: Mfn) -> int:
        """References to a frame, its owner's among them; 0 where it is free."""
        frame = self.memory.frames.get(mfn)
        return frame.refs if frame else 0


def raises(errno: Errno, call, *arguments) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(XenError) as error:
        call(*arguments)
    assert error.value.errno == errno


@contextmanager
def refused(status: GrantStatus) -> Iterator[None]:
    """What happens inside is refused with `status`."""
    with pytest.raises(GrantError) as error:
        yield
    assert error.value.status == status
