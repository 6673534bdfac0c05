"""What both runtimes do: lay a plan's host out over bytes, create its domains, and report on them afterwards."""

import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from abi.errno import XenError
from abi.sched import ShutdownReason
from abi.types import PAGE_SHIFT, Domid, VcpuRow
from clock.source import Clock, HostClock, VirtualClock
from clock.wallclock import wallclock_base
from domains.builder import Image, load, make_vcpus
from domains.elf import ImageError
from domains.native import BlockMeter
from domains.runner import Outcome, vcpus_of
from domains.vcpu import Vcpu
from hypervisor.domain import DomainSpec, create_domain, create_host_seat, start_domain
from hypervisor.host_io import HostIo
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import GuestKind, vcpu_rows
from hypervisor.typed_input import TypedInput
from hypervisor.user_hypercalls import UserHypercallError, with_user_rows
from hypervisor.user_hypercalls import load as load_user_rows
from hypervisor.xen_version import XenVersion
from toolstack.errors import ConfigError, HostError, Problem
from toolstack.plan import DomainPlan, HostPlan
from toolstack.report import DomainReport
from toolstack.report import Outcome as RunOutcome
from toolstack.waiting import waiting
from xenstore.store import Introduced, Store

_PUNCH = 1 << 16
"""Bytes from which a hole costs less than zeros."""
OUTCOMES: dict[Outcome, RunOutcome] = {
    Outcome.FINISHED: "finished", Outcome.DEADLOCK: "deadlock", Outcome.STOPPED: "interrupted"}


def shape_of(plan: HostPlan) -> HostShape:
    """How large the plan's host is: domain 0's seat and its vCPU row come first."""
    domains = (*plan.domains, *plan.absent)
    return HostShape(domains=1 + max((domain.domid for domain in domains), default=0),
                     vcpus=vcpu_rows(1) + sum(vcpu_rows(domain.vcpus) for domain in domains),
                     memory=sum(domain.memory for domain in domains))


def scrubber(memory: mmap.mmap) -> Callable[[int, int], None]:
    """Clears freed machine memory: a large piece by giving it back to the system, which the next user gets as zeros."""
    words = memoryview(memory)

    def scrub(address: int, size: int) -> None:
        if size >= _PUNCH:
            memory.madvise(mmap.MADV_REMOVE, address, size)
        else:
            words[address:address + size] = bytes(size)

    return scrub


@contextmanager
def memory_file(name: str, size: int) -> Iterator[int]:
    """A new host's memory while it is needed: the descriptor of a file without a name, all zero and sparse."""
    descriptor = os.memfd_create(f"domus-{name}")
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


def make_hypervisor(plan: HostPlan, memory: mmap.mmap, io: HostIo, *, boot: int | None = None,
                    trace_sink: Callable[[Domid, bytes], object] | None = None) -> Hypervisor:
    """This process's hypervisor over the start of `memory`.

    Raises ConfigError for a hypercall file that does not load.
    """
    try:
        rows = with_user_rows(load_user_rows(path) for path in plan.hypercalls)
    except UserHypercallError as error:
        raise ConfigError(plan.name, [Problem(("hypercalls",), str(error))]) from None
    version = XenVersion(f"{plan.xen_version[0]}.{plan.xen_version[1]}")
    shape = shape_of(plan)
    hv = Hypervisor(HostState(memoryview(memory)[:shape.size], shape), make_clock(plan, boot), version,
                    wallclock_base(plan.clock.epoch_ns, 0), io, rows=rows, scrub=scrubber(memory),
                    trace_sink=trace_sink)
    hv.consoles.typed |= {Domid(domain.domid): TypedInput(domain.input) for domain in plan.domains if domain.input}
    Store(hv, {Domid(domain.domid): Introduced(domain.name, domain.memory, domain.vcpus)
               for domain in (*plan.domains, *plan.absent)})
    return hv


def make_clock(plan: HostPlan, boot: int | None) -> Clock:
    """The plan's clock.  `boot` is the host's monotonic clock at the start, now where it is None."""
    if plan.clock.mode == "virtual":
        return VirtualClock(plan.clock.frequency_hz)
    return HostClock(plan.clock.frequency_hz, time.monotonic_ns, boot)


def create_domains(hv: Hypervisor, plan: HostPlan) -> None:
    """Make the host and all of its domains, paused and empty.  Raises HostError."""
    hv.format()
    create_host_seat(hv)
    base = vcpu_rows(1)
    for domain in plan.domains:
        kind = GuestKind.PV if domain.type == "pv" else GuestKind.PVH
        try:
            create_domain(hv, DomainSpec(Domid(domain.domid), kind, domain.memory >> PAGE_SHIFT, domain.vcpus, base,
                                         domain.awaited))
        except XenError as error:
            raise HostError(f"domain {domain.name} cannot be created: {error.errno.name}") from error
        base += vcpu_rows(domain.vcpus)


def build_domain(hv: Hypervisor, plan_name: str, domain: DomainPlan, meter: BlockMeter) -> dict[VcpuRow, Vcpu]:
    """Load a created domain's image and make its vCPUs.  Raises ConfigError for an image that cannot be booted."""
    domid = Domid(domain.domid)
    try:
        built = load(hv, domid, Image(domain.kernel, domain.cmdline, domain.ramdisk))
    except ImageError as error:
        problem = Problem(("domains", domain.name, "kernel"), f"{domain.kernel}: {error}")
        raise ConfigError(plan_name, [problem]) from None
    return make_vcpus(hv, vcpus_of(hv, domid), meter, built)


def start_domains(hv: Hypervisor, plan: HostPlan) -> None:
    """Let every domain run."""
    for domain in plan.domains:
        start_domain(hv, Domid(domain.domid))


def domain_report(hv: Hypervisor, domain: DomainPlan, console: list[str], details: str,
                  vcpus: Iterable[Vcpu]) -> DomainReport:
    """The facts about one domain that ran in this process."""
    domid, table = Domid(domain.domid), hv.vcpus
    rows = vcpus_of(hv, domid)
    ended = bool(hv.domains.released[domid])
    typed = hv.consoles.typed.get(domid)
    return DomainReport(
        domain.name, domid, exit_name(hv.domains.shutdown_code[domid]) if ended else "running", details,
        None if ended else waiting(hv, domid), None if typed is None else typed.unfinished(),
        max(table.local_time[row] for row in rows),
        sum(table.work[row] for row in rows), sum(table.hypercalls[row] for row in rows),
        sum(table.events_sent[row] for row in rows), sum(table.events_received[row] for row in rows),
        hv.grants.mapped(domid)[1], sum(vcpu.host_seconds for vcpu in vcpus), console,
        hv.trace.digest(domid).hex())


def exit_name(code: int) -> str:
    """The name of a SHUTDOWN_* code, the number where Xen has none."""
    try:
        return ShutdownReason(code).name
    except ValueError:
        return f"shutdown code {code}"
