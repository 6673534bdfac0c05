"""What all actors of the Ray runtime have: the host's shared memory, and their end of the baton.

The actors are plain classes, `toolstack.hypervisor_actor`, `domain_actor` and `node_actor`; `ray_runtime` makes them
actors.  The hypervisor actor owns the host's memory: a file without a name, which the others open through /proc, so
that nothing is left behind whoever dies.  A domain actor attaches to it, loads its domains, and takes part in handing
the baton round.  Ray carries none of that: it places, starts and supervises the actors, and carries what they print.
"""

import mmap
import os
from dataclasses import dataclass

from abi.types import PAGE_SIZE, Domid
from domains.baton import Baton
from domains.node import AskTable, Node
from domains.runner import vcpus_of
from domains.seat import HYPERVISOR, BatonTable
from domains.teams import GroupRows
from domains.window import Window
from hypervisor.hypervisor import Hypervisor
from hypervisor.place import PlaceTable
from toolstack.actor_io import ActorIo, Output
from toolstack.node_setup import (
    join_node,
    process_rows,
    seat_processes,
)
from toolstack.plan import HostPlan
from toolstack.session import (
    make_hypervisor,
    shape_of,
)


@dataclass(frozen=True)
class Attachment:
    """How another process of this machine gets at the host's memory."""

    path: str
    boot: int
    node: int = 0
    """Which node of the host's it is."""
    bell: str = ""
    """The pipe of the node's agent; empty on a host of one node."""


def attachment(file: int, boot: int, number: int, bell: int) -> Attachment:
    """How others get at the memory that this process has as `file`."""
    folder = f"/proc/{os.getpid()}/fd"
    return Attachment(f"{folder}/{file}", boot, number, "" if bell < 0 else f"{folder}/{bell}")


@dataclass(frozen=True)
class Keep:
    """What an actor does with what it sees, beside giving it back."""

    trace: bool = False
    """Keep the trace."""
    logs: bool = False
    """Print consoles, and the hypervisor's log, to standard output, which is the log of the actor's Ray worker."""
    metrics: bool = False
    """Tell Ray's metrics how much the domains do (`toolstack.ray_metrics`)."""


NOTHING = Keep()


def buffer_size(plan: HostPlan) -> int:
    """Bytes of a host's shared memory with the baton's table behind the rest."""
    processes = process_rows(plan)
    size = shape_of(plan).size + BatonTable.size(processes) + AskTable.size(processes)
    return size + -size % PAGE_SIZE


class Member:
    """What every actor has: the shared memory, a hypervisor over it, and its end of the baton."""

    def __init__(self, plan: HostPlan, file: int, me: int, boot: int, keep: Keep, *,
                 number: int = 0, bell: int = -1) -> None:
        """`number` and `bell` are the node's and the writing end of its agent's pipe, on a host of several nodes."""
        memory = mmap.mmap(file, buffer_size(plan))
        self.plan, self._me, self.file, self.memory = plan, me, file, memory
        self.retired = False
        """It takes no part in the run any more, which goes on."""
        self.output = Output()
        labels = {domain.domid: f"{domain.name} |" for domain in plan.domains} | {ActorIo.LOG: "(XEN)"}
        self.io = ActorIo(self.output, labels if keep.logs else None)
        self.pieces: dict[int, list[bytes]] = {}
        sink = (lambda domid, data: self.pieces.setdefault(domid, []).append(data)) if keep.trace else None
        view, size = memoryview(memory), shape_of(plan).size
        self.hv: Hypervisor = make_hypervisor(plan, memory, self.io, boot=boot, trace_sink=sink)
        table = BatonTable(view[size:], process_rows(plan))
        hv = self.hv
        groups = GroupRows(hv.groups, hv.domains, hv.vcpus)
        self.node = None
        if plan.nodes > 1:
            asks = AskTable(view[size + BatonTable.size(table.rows):], table.rows)
            self.node = Node(number, me, asks, hv.state.table(PlaceTable), bell,
                             lambda: bool(hv.host.outcome[0]))
            if me != HYPERVISOR:  # who owns the memory has to create the domains first
                join_node(hv, self.node)
        window = None if plan.nodes > 1 or not hv.clock.virtual else Window(
            table, hv.host, hv.vcpus, hv.rounds.most, plan.pcpus)
        self.baton = Baton(table, me, file, lambda: self.retired or bool(hv.host.outcome[0]), hv.vcpus.process,
                           groups.processes, lambda: hv.host.topology[0], plan.pcpus, self.node, window)
        self.batons = table

    def _seat_domains(self) -> None:
        """Say of each domain which process runs it, and where."""
        for index, actor in enumerate(self.plan.actors):
            for domid in actor.domids:
                self.hv.state.table(PlaceTable).home[domid] = actor.node
                for row in vcpus_of(self.hv, Domid(domid)):
                    self.hv.vcpus.process[row] = index + 1
        if self.node is not None:
            seat_processes(self.plan, self.node.number, self.batons)
            join_node(self.hv, self.node)

    def domids_of(self, process: int) -> list[Domid]:
        """The domains that a process runs, or ran when they ended."""
        rows = ((Domid(domain.domid), self.hv.domains.vcpu_base[domain.domid]) for domain in self.plan.domains)
        return [domid for domid, row in rows if self.hv.vcpus.process[row] == process]

    def _leave(self) -> None:
        """The run has ended: let everybody see that, and close the output."""
        if not self.retired:
            self.baton.wake_all()
        if self.node is not None and not self.retired:
            self.node.ring()
        for domid in self.io.consoles:
            self.io.flush(domid)
        self.output.close()

    def lines(self) -> list[tuple[int, str]] | None:
        """The next lines of output (domid or -1, text), waiting for them; None when there are no more."""
        return self.output.take()
