"""Domain 0's user-level programs: hypercalls and facts for who is not a guest.  `xenctrl` is what they use.

As privcmd does, a call copies its buffers to where the hypervisor can reach them and back.  It is made in domain 0's
name, by its vCPU row that never runs, through the same dispatcher as every guest's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from abi.errno import Errno, XenError
from abi.sched import ShutdownReason
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, VcpuRow
from hypervisor.crash import GuestCrash
from hypervisor.domain import HOST
from hypervisor.hypervisor import Hypervisor
from hypervisor.sched import PAUSES, SHUTDOWN_CODE_INVALID
from hypervisor.tables import DomainState, GuestKind, RunState
from hypervisor.xen_version import domain_handle
from toolstack.errors import MigrationError
from toolstack.jobs import Jobs
from toolstack.report import MigrationReport

Argument = int | bytes | bytearray
"""A register's value, or a buffer whose address is passed.  What is written to a bytearray comes back."""
_FIRST = 0x10000000
_MASK = (1 << 64) - 1


class Reply(NamedTuple):
    """What a hypercall did: its result, signed; the content of each argument that is a bytearray, None for others."""

    result: int
    buffers: list[bytes | None]
    crash: str = ""
    """Not empty where a guest would have been crashed; then the rest means nothing."""


@dataclass(frozen=True)
class DomainInfo:
    """A domain; names as in libxenctrl's xc_dominfo_t."""

    domid: int
    dying: bool
    """It has been destroyed, but others still map pages of it."""
    crashed: bool
    shutdown: bool
    paused: bool
    blocked: bool
    running: bool
    hvm: bool
    """PVH counts as HVM."""
    shutdown_reason: int | None
    """SHUTDOWN_* of xen/sched.h; None while it has not shut down."""
    nr_pages: int
    max_memkb: int
    shared_info_frame: int
    cpu_time: int
    """Nanoseconds that its vCPUs have run."""
    nr_online_vcpus: int
    max_vcpu_id: int
    handle: bytes
    """Its UUID."""


class Running(Protocol):
    """A host that runs, as outsiders see it.  Both raise `toolstack.jobs.RunOverError` where it does no longer."""

    def hypercall(self, number: int, arguments: Sequence[Argument]) -> Reply:
        """Make a hypercall as domain 0."""

    def domain_getinfo(self, first: int, most: int) -> list[DomainInfo]:
        """Up to `most` domains from domid `first` on."""

    def migrate(self, domid: int, node: int) -> MigrationReport:
        """Move a running domain to another node.  Raises `toolstack.errors.MigrationError`."""


class FromAfar:
    """Implements `Running` where the hypervisor is another process's."""

    def call(self, method: str, *arguments: object) -> Any:
        """What a method of its actor gives."""
        raise NotImplementedError

    def hypercall(self, number: int, arguments: Sequence[Argument]) -> Reply:
        """See `Running`."""
        # On the way buffers become what they were not.
        plain = [given if isinstance(given, int) else (bytes(given), isinstance(given, bytearray))
                 for given in arguments]
        reply: Reply = self.call("hypercall", number, plain)
        return reply

    def domain_getinfo(self, first: int, most: int) -> list[DomainInfo]:
        """See `Running`."""
        found: list[DomainInfo] = self.call("domain_getinfo", first, most)
        return found

    def migrate(self, domid: int, node: int) -> MigrationReport:
        """See `Running`."""
        report: MigrationReport = self.call("migrate", domid, node)
        return report


class Outside:
    """The outsiders' way in, in the process that the hypervisor is in."""

    def __init__(self, hv: Hypervisor, jobs: Jobs, before: Callable[[], None] = lambda: None) -> None:
        """`before()` is called before each hypercall."""
        self._hv, self._jobs, self._before = hv, jobs, before

    def hypercall(self, number: int, arguments: Sequence[Argument]) -> Reply:
        """See `Running`."""
        def job() -> Reply:
            self._before()
            return _hypercall(self._hv, number, arguments)

        return self._jobs.do(job)

    def migrate(self, domid: int, node: int) -> MigrationReport:
        """See `Running`."""
        raise MigrationError("the host lies on one node: nothing can move to another")

    def domain_getinfo(self, first: int, most: int) -> list[DomainInfo]:
        """See `Running`."""
        return self._jobs.do(lambda: domain_getinfo(self._hv, first, most))


class _Buffers:
    """The caller's buffers, each on pages of its own with a hole behind; implements `hypervisor.call.GuestMemory`."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, bytes | bytearray]] = []
        self._next = _FIRST

    def add(self, data: bytes | bytearray) -> int:
        """Put `data` somewhere, and give its address."""
        address = self._next
        self._pieces.append((address, data))
        self._next += len(data) + -len(data) % PAGE_SIZE + PAGE_SIZE
        return address

    def read(self, address: int, size: int) -> bytes:
        for start, data in self._pieces:
            if start <= address and address + size <= start + len(data):
                return bytes(data[address - start:address - start + size])
        raise XenError(Errno.EFAULT)

    def write(self, address: int, data: bytes) -> None:
        for start, piece in self._pieces:
            if start <= address and address + len(data) <= start + len(piece) and isinstance(piece, bytearray):
                piece[address - start:address - start + len(data)] = data
                return
        raise XenError(Errno.EFAULT)


class _Domain0:
    """The caller of one hypercall; implements `hypervisor.call.Call`."""

    domid, vcpu, width = HOST, VcpuRow(0), 64

    def __init__(self, memory: _Buffers) -> None:
        self.memory = memory

    def event_deliverable(self) -> bool:
        return False


def _hypercall(hv: Hypervisor, number: int, arguments: Sequence[Argument]) -> Reply:
    memory = _Buffers()
    copies = [bytearray(given) if isinstance(given, bytearray) else given for given in arguments]
    registers = [given & _MASK if isinstance(given, int) else memory.add(given) for given in copies]
    sched, times = hv.sched, hv.vcpus.local_time
    before = sched.current
    # What happens now happens at the time that the host has reached, and to nobody before.
    times[0] = max(times) if hv.clock.virtual else hv.clock.now()
    sched.current = VcpuRow(0)
    try:
        result = hv.dispatcher.dispatch(_Domain0(memory), number & _MASK, *registers)
    except GuestCrash as crash:
        return Reply(0, [], str(crash))
    finally:
        sched.current = before
    hv.console_lines.flush(HOST)
    return Reply(result - (result >> 63 << 64),
                 [bytes(copy) if isinstance(copy, bytearray) else None for copy in copies])


def domain_getinfo(hv: Hypervisor, first: int, most: int) -> list[DomainInfo]:
    """Up to `most` domains from domid `first` on."""
    found: list[DomainInfo] = []
    for domid in range(max(first, 0), hv.domains.rows):
        if len(found) >= most:
            break
        state, pages = hv.domains.state[domid], hv.domains.tot_pages[domid]
        if state not in (DomainState.FREE, DomainState.DEAD) or (state == DomainState.DEAD and pages):
            found.append(_info(hv, Domid(domid)))
    return found


def _info(hv: Hypervisor, domid: Domid) -> DomainInfo:
    domains, vcpus = hv.domains, hv.vcpus
    first, count = domains.vcpu_base[domid], domains.vcpu_count[domid]
    rows = range(first, first + count)
    ended = domains.state[domid] in (DomainState.SHUTDOWN, DomainState.DEAD)
    reason = domains.shutdown_code[domid]
    paused = domains.state[domid] == DomainState.BUILDING or any(vcpus.paused[row] & PAUSES for row in rows)
    states = {vcpus.runstate[row] for row in rows if hv.sched.is_up(VcpuRow(row))}
    # A vCPU that could run does so on a processor of its own, as far as domains can see: the baton is our affair.
    running = domid == HOST or (not ended and not paused and bool(states & {RunState.RUNNING, RunState.RUNNABLE}))
    return DomainInfo(
        domid, dying=domains.state[domid] == DomainState.DEAD, crashed=ended and reason == ShutdownReason.crash,
        shutdown=ended, paused=paused, blocked=not (ended or paused or running), running=running,
        hvm=domains.kind[domid] == GuestKind.PVH,
        shutdown_reason=reason if ended and reason != SHUTDOWN_CODE_INVALID else None,
        nr_pages=domains.tot_pages[domid], max_memkb=domains.max_pages[domid] << PAGE_SHIFT - 10,
        shared_info_frame=domains.shared_info[domid] >> PAGE_SHIFT,
        cpu_time=sum(hv.sched.runstates.get(row, vcpus.local_time[row]).running for row in rows),
        nr_online_vcpus=sum(hv.sched.is_up(VcpuRow(row)) for row in rows), max_vcpu_id=count - 1,
        handle=domain_handle(domid))
