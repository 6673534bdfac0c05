"""A machine of a few MiB for tests of memory: real tables over zero pages that cost nothing until they are touched."""

from collections.abc import Callable
from mmap import mmap
from typing import TypeVar

from abi.errno import Errno, XenError
from abi.types import PAGE_SIZE, Domid, Mfn, VcpuRow
from hypervisor.continuation import Continuation
from hypervisor.frames import Frames, FrameTable
from hypervisor.heap import Heap, HeapTable
from hypervisor.memory import Memory, MemoryTable
from hypervisor.memory_call import CMD_MASK
from hypervisor.memory_op import memory_op
from hypervisor.p2m import P2m, P2mTable
from hypervisor.tables import DomainState, DomainTable, GuestKind
from hypervisor.unimplemented import Unimplemented
from state.arena import Arena
from state.table import Table

T = TypeVar("T", bound=Table)
FIRST, POOL = 256, 256
"""The first frame of memory, and the frames of the pool; extents begin at a multiple of 2 MiB."""
DOMAINS = 8


def zeros(size: int) -> memoryview:
    """Zero bytes that take no memory until they are written."""
    return memoryview(mmap(-1, size))


def table(kind: type[T], rows: int) -> T:
    return kind(zeros(kind.size(rows)), rows)


class Machine:
    """Arena, frames and p2m without domains."""

    def __init__(self, frames: int = 4096, pool: int = POOL, scrub: Callable[[int, int], None] | None = None) -> None:
        self.arena = Arena(zeros(frames * PAGE_SIZE))
        self.domains = table(DomainTable, DOMAINS)
        self.rows, self.heap_row = table(FrameTable, frames), table(HeapTable, 1)
        self.heap = Heap(self.arena, self.rows, self.heap_row, scrub)
        self.frames = Frames(self.rows, self.heap, self.domains)
        self.frames.format(FIRST, pool)
        self.flushed: list[int] = []
        self.p2m = P2m(self.arena, table(P2mTable, DOMAINS), self.frames, lambda domid, gfn: self.flushed.append(domid))

    def pool_frames_in_use(self) -> int:
        return sum(map(bool, self.rows.kind[FIRST:self.heap.start]))

    def free_extents(self) -> list[tuple[int, int]]:
        """First frame and length of the extents in the heap's lists, in order."""
        found = []
        for head in (self.heap_row.small[0], self.heap_row.large[0]):
            before = 0
            while head:
                assert self.rows.previous[head] == before
                found.append((head, self.rows.extent[head]))
                before, head = head, self.rows.next[head]
        return sorted(found)


class GrantFrames:
    """Two frames of a grant table for each domain that asks."""

    def __init__(self) -> None:
        self.memory: Memory
        self.frames: dict[tuple[Domid, int], Mfn] = {}

    def shared_frame(self, domid: Domid, index: int) -> Mfn:
        if index > 1:
            raise XenError(Errno.EINVAL)
        if (domid, index) not in self.frames:
            self.frames[domid, index] = self.memory.allocate_xen_frame(domid)
        return self.frames[domid, index]


class GuestBytes:
    """A guest's memory from address 0, without page tables; its last page cannot be written."""

    SIZE, READ_ONLY = 0x80000, 0x1000

    def __init__(self) -> None:
        self.bytes = bytearray(self.SIZE)

    def read(self, address: int, size: int) -> bytes:
        if address + size > self.SIZE:
            raise XenError(Errno.EFAULT)
        return bytes(self.bytes[address:address + size])

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) > self.SIZE - self.READ_ONLY:
            raise XenError(Errno.EFAULT)
        self.bytes[address:address + len(data)] = data


class Caller:
    def __init__(self, domid: int, width: int) -> None:
        self.domid, self.vcpu, self.width = Domid(domid), VcpuRow(domid), width
        self.memory = GuestBytes()


class MemoryMachine(Machine):
    """A machine with domains: 0 is the host's seat, 1 and 2 are PVH guests, 3 a PV guest, 4 a privileged PVH guest."""

    def __init__(self, pages: int = 64, frames: int = 4096, width: int = 64) -> None:
        super().__init__(frames)
        self.log_lines: list[str] = []
        self.crashed: list[int] = []
        self.unimplemented = Unimplemented(lambda domid, text: self.log_lines.append(text))
        self.memory = Memory(self.arena, self.domains, table(MemoryTable, DOMAINS), self.frames, self.p2m,
                             lambda domid, reason: self.crashed.append(domid))
        self.grants = GrantFrames()
        self.grants.memory = self.memory
        kinds = (GuestKind.HOST, GuestKind.PVH, GuestKind.PVH, GuestKind.PV, GuestKind.PVH)
        for domid, kind in enumerate(kinds):
            self.domains.state[domid], self.domains.kind[domid] = DomainState.RUNNING, kind
            self.domains.width[domid] = width
            if domid and pages:
                self.memory.allocate_domain(Domid(domid), pages)
        self.domains.privileged[0] = self.domains.privileged[4] = 1
        self.callers = [Caller(domid, width) for domid in range(len(kinds))]

    def __call__(self, cmd: int, arg: int = 0, domid: int = 1) -> int:
        """memory_op by a domain, again and again while it wants to be continued."""
        while True:
            try:
                return memory_op(self, self.callers[domid], cmd, arg)
            except Continuation as more:
                rest = more.arguments
            assert rest[0] & CMD_MASK == cmd & CMD_MASK
            assert rest[0] > cmd
            cmd, arg = rest

    def mfn(self, domid: int, gfn: int) -> Mfn:
        """The frame at a page, which must be there."""
        found = self.memory.find(Domid(domid), gfn)
        assert found is not None
        return found[0]

    def grant(self, granter: int, gfn: int, grantee: int, at: int, readonly: bool = False) -> Mfn:
        """What the grant tables do to map a page."""
        mfn = self.mfn(granter, gfn)
        assert self.memory.get_page(mfn, Domid(granter))
        self.memory.map_grant(Domid(grantee), at, mfn, readonly)  # type: ignore[arg-type]
        return mfn
