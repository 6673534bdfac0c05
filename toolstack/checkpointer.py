"""When checkpoints are taken, and how a host goes on from one: what both runtimes share.

A checkpoint is taken when no vCPU is before its time any more, and none has run beyond it.  In virtual time that is a
point of the run like any other: it is the same at each run, and the run is the same with checkpoints and without.
"""

import mmap
import time
from collections.abc import Callable, Mapping

from abi.types import NEVER, Domid
from hypervisor.domain_ranges import HOST, copy_ranges, domain_ranges, held
from hypervisor.host_state import HostState, HostTable
from hypervisor.hypervisor import Hypervisor
from hypervisor.place import PlaceTable
from hypervisor.tables import DomainState, DomainTable, VcpuTable
from toolstack import checkpoint
from toolstack.checkpoint import Checkpoint
from toolstack.checkpoint_parts import DomainPart, file_hashes
from toolstack.errors import HostError
from toolstack.plan import HostPlan
from toolstack.session import memory_file, shape_of

Collect = Callable[[], Mapping[int, DomainPart] | None]


class Checkpointer:
    """Takes the checkpoints that `plan` asks for, with the baton, in the hypervisor's process.

    `descriptor` is the open file that is the host's memory.  `collect()` gives what `checkpoint_parts.save_domain`
    gives for each domain, by domid; None where one cannot be had.  `done()` is called when nobody needs any more what
    it has made of the memory.
    """

    def __init__(self, hv: Hypervisor, plan: HostPlan, descriptor: int, collect: Collect, *,
                 traced: bool, done: Callable[[], None] = lambda: None) -> None:
        self._done = done
        self._hv, self._plan, self._descriptor, self._collect, self._traced = hv, plan, descriptor, collect, traced
        self._name = plan.name if not plan.absent else f"{plan.name}-{plan.domains[0].name}"
        """A part of a host must not write over what the whole host has written."""
        self._shape = shape_of(plan)
        self._memory = memoryview(mmap.mmap(descriptor, self._shape.size))
        self._files = file_hashes(plan) if plan.checkpoint is not None else {}

    def begin(self, saved: Checkpoint | None) -> None:
        """The host begins, or goes on from a checkpoint.  Raises HostError where none can be written."""
        wanted, now = self._plan.checkpoint, 0 if saved is None else saved.time
        self._hv.host.mark[0] = NEVER if wanted is None else (now // wanted.every_ns + 1) * wanted.every_ns
        if wanted is not None:
            try:
                checkpoint.check(wanted.directory)
            except OSError as error:
                raise HostError(f"no checkpoints can be written to {str(wanted.directory)!r}: "
                                f"{(error.strerror or str(error)).lower()}") from None

    def take(self) -> None:
        """`Runner`'s `marked`: write a checkpoint, and go on.  A failure is told in the log, and ends nothing."""
        wanted, hv = self._plan.checkpoint, self._hv
        assert wanted is not None
        now = self.now()
        hv.host.mark[0] = (now // wanted.every_ns + 1) * wanted.every_ns
        domains = self._collect()
        if domains is None:
            self._done()
            return  # somebody is lost, which is told, and the next one will be without him
        body = {
            "name": self._plan.name, "time": now, "layout": checkpoint.layout(self._shape),
            "plan": checkpoint.plan_data(self._plan), "files": self._files, "domains": {
                domain.domid: {**domains[domain.domid], "kernel": self._files.get(str(domain.kernel))}
                for domain in self._plan.domains},
            "traced": self._traced,
            "groups": {domain.domid: hv.groups.table.leader[domain.domid] for domain in self._plan.domains},
        }
        try:
            path, facts = checkpoint.write(wanted.directory, self._name, body, self._descriptor,
                                           self._memory)
            checkpoint.prune(wanted.directory, self._name, wanted.keep)
        except OSError as error:
            hv.io.log(f"no checkpoint at {now / 1e9:.6f} s: {error.strerror or error}")
            return
        finally:
            self._done()
        hv.io.log(f"checkpoint at {now / 1e9:.6f} s: {path.name}, {facts.content / 2**20:.1f} MiB")

    def now(self) -> int:
        """The time that the host has come to, in nanoseconds."""
        hv = self._hv
        if not hv.clock.virtual:
            return hv.clock.now()
        return min(hv.vcpus.due)


def restore_host(saved: Checkpoint, descriptor: int, *, traced: bool) -> int:
    """Fill a new host's memory, the open file `descriptor`, with that of a checkpoint.

    Gives when the host was booted, by this machine's monotonic clock.  Raises CheckpointError.
    """
    plan, shape = saved.plan, shape_of(saved.plan)
    now = file_hashes(plan)
    for path in plan.hypercalls:  # their code runs on, so it must be what it was
        if now.get(str(path)) != saved.body["files"].get(str(path)):
            raise checkpoint.unusable(saved.path, f"{str(path)!r} is not there any more, or has changed since")
    if traced and not saved.body["traced"]:
        raise checkpoint.unusable(saved.path, "no trace was kept until then, so none can be written")
    view = memoryview(mmap.mmap(descriptor, shape.size))
    if plan.absent:
        _load_present(saved, view)
    else:
        saved.load(view, shape)
    host = HostState(view, shape).table(HostTable)
    host.stop[0] = host.request[0] = host.outcome[0] = 0
    place = HostState(view, shape).table(PlaceTable)
    for column in (place.home.cast("B"), place.here):  # which node is whose is said anew
        column[:] = bytes(len(column))
    return time.monotonic_ns() - saved.time


def _load_present(saved: Checkpoint, target: memoryview) -> None:
    """Fill a new host's memory with what is the host's own, and the present domains'."""
    plan, shape = saved.plan, shape_of(saved.plan)
    after = HostState(target, shape)
    after.table(VcpuTable).due.cast("B")[:] = b"\xff" * (8 * shape.vcpus)
    with memory_file(plan.name, shape.size) as descriptor:
        source = memoryview(mmap.mmap(descriptor, shape.size))
        saved.load(source, shape)
        before = HostState(source, shape)
        for domid in (HOST, *(Domid(domain.domid) for domain in plan.domains)):
            copy_ranges(source, target, held(domain_ranges(before, domid), descriptor, shape.size))
    host, domains = after.table(HostTable), after.table(DomainTable)
    host.alive[0] = sum(domains.awaited[domain.domid] for domain in plan.domains
                        if domains.state[domain.domid] != DomainState.DEAD)
    host.round[0] = 0  # as for a new host: the end of the first round looks at what groups there are


def forget_absent(hv: Hypervisor, plan: HostPlan) -> None:
    """Whoever knows of domains that were not restored forgets them, as if they had ended."""
    for domain in plan.absent:
        for tell in hv.destroyed:
            tell(Domid(domain.domid))
