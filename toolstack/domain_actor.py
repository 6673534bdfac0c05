"""A domain actor: runs some domains, often one."""

import ctypes
import os
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from abi.types import Domid, VcpuRow
from domains.lanes import Lanes
from domains.native import BlockMeter
from domains.runner import Runner, vcpus_of
from domains.selfcheck import proven_meter
from domains.vcpu import Vcpu
from hypervisor import local_state
from toolstack.actor import NOTHING, Attachment, Keep, Member
from toolstack.checkpoint_parts import DomainPart, restore_domain, save_domain
from toolstack.console import Console
from toolstack.errors import HostError
from toolstack.jobs import LOOK
from toolstack.node_setup import (
    publish_ring,
)
from toolstack.plan import DomainPlan, HostPlan
from toolstack.report import DomainReport
from toolstack.session import (
    build_domain,
    domain_report,
)
from toolstack.wire import LinkWire

_PATIENCE = 120.0
"""Seconds that its loop may take to end."""
_SMALL = 32 << 20
"""Bytes of a guest that has little code."""
_PR_SET_THP_DISABLE = 41


def without_huge_pages() -> None:
    """Have this process's memory in plain pages from now on.

    An engine asks for huge ones for the code that it makes, 2 MiB at a time, of which a small guest's fills a tenth.
    It makes guests with much code faster.
    """
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)  # where the system refuses, it only costs memory


class Result(NamedTuple):
    """What a domain actor gives back for each domain: its report, and its part of the trace where that is kept."""

    report: DomainReport
    pieces: list[bytes]


class DomainActor(Member):
    """Runs some domains, often one: loads their images, and takes its turns with the baton."""

    def __init__(self, meter: BlockMeter | None = None) -> None:
        self.meter = proven_meter() if meter is None else meter
        self._ended = threading.Event()

    def attach(self, plan: HostPlan, me: int, attachment: Attachment, keep: Keep = NOTHING,
               parts: Mapping[int, DomainPart] | None = None) -> None:
        """Map the host's memory, and load the domains of actor number `me` - 1 of the plan, or restore them.

        There is no such actor in the plan where domains move here.  Raises ConfigError, HostError.
        """
        try:
            self.file = os.open(attachment.path, os.O_RDWR | os.O_CLOEXEC)
            bell = os.open(attachment.bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC) if attachment.bell else -1
            super().__init__(plan, self.file, me, attachment.boot, keep, number=attachment.node, bell=bell)
        except OSError as error:
            raise HostError(f"a domain actor cannot map the host's memory: {error}") from error
        self._lanes: Lanes | None = None
        if self.node is not None:
            for column in (self.batons.port, self.batons.bell, self.batons.lane, self.batons.asleep):
                column[me] = 0  # somebody else may have been this process before
            self._lanes = Lanes(self.batons, me, self.hv.host, self.hv.state.arena.u8, self.node, LinkWire)
            self.baton.use(self._lanes)
        self._domains = [plan.domain(domid) for domid in plan.actors[me - 1].domids] if me <= len(plan.actors) else []
        if self._domains and max(domain.memory for domain in self._domains) <= _SMALL:
            without_huge_pages()
        self._vcpus: dict[VcpuRow, Vcpu] = {}
        for domain in self._domains:
            if parts is None:
                self._vcpus |= build_domain(self.hv, plan.name, domain, self.meter)
                if self.node is not None:
                    publish_ring(self.hv, Domid(domain.domid))
            else:
                pieces = self.pieces.setdefault(domain.domid, [])
                self._vcpus |= restore_domain(self.hv, domain, parts[domain.domid], self.io, pieces, self.meter)

    def save(self) -> dict[int, DomainPart]:
        """What this process keeps of its domains.  To be asked for by who holds still all others."""
        return {domain.domid: save_domain(self.hv, Domid(domain.domid), self._vcpus, self.io,
                                          self.pieces.get(domain.domid, [])) for domain in self._domains}

    def release(self, domid: int) -> DomainPart:
        """Give a domain away, which goes on in another process: what this one keeps of it.  All hold still."""
        part = save_domain(self.hv, Domid(domid), self._vcpus, self.io, self.pieces.get(domid, []))
        for row in vcpus_of(self.hv, Domid(domid)):
            del self._vcpus[row]
        local_state.forget_domain(self.hv, Domid(domid))
        for kept in (self.io.consoles, self.io.details, self.pieces):
            kept.pop(domid, None)
        self._domains = [domain for domain in self._domains if domain.domid != domid]
        return part

    def adopt(self, domid: int, part: DomainPart) -> None:
        """Go on with a domain that another process released, over the host's bytes of the same moment.

        Raises HostError.
        """
        domain = self.plan.domain(domid)
        pieces = self.pieces.setdefault(domid, [])
        self._vcpus |= restore_domain(self.hv, domain, part, self.io, pieces, self.meter)
        self._domains.append(domain)

    def retire(self) -> None:
        """Take no part in the run any more."""
        self.retired = True
        self.baton.wake(self._me)
        self._ended.wait(_PATIENCE)
        self.batons.pid[self._me] = 0

    def run(self) -> list[Result]:
        """Take turns until the run has ended."""
        try:
            Runner(self.hv, self._vcpus, self.baton, None, self._wait_until).run()
        finally:
            if self.retired and self._lanes is not None:  # else links stay: an end that is seen means that it died
                self._lanes.close()
            self._ended.set()
            self._leave()
        self.hv.trace.finish()
        return [Result(self._report(domain), self.pieces.get(domain.domid, [])) for domain in self._domains]

    def _report(self, domain: DomainPlan) -> DomainReport:
        domid = Domid(domain.domid)
        vcpus = [self._vcpus[row] for row in vcpus_of(self.hv, domid) if row in self._vcpus]
        return domain_report(self.hv, domain, self.io.consoles.setdefault(domid, Console()).lines,
                             self.io.details.get(domid, ""), vcpus)

    def _wait_until(self, time_ns: int) -> None:
        time.sleep(min(max(time_ns - self.hv.clock.now(), 0) / 1e9, LOOK))
