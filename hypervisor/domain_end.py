"""The end of domains: a crash or a shutdown, what a dead domain's things become, and the death of whole processes."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from abi.grant_table import GNTMAP_readonly
from abi.hvm import HvmParam
from abi.sched import ShutdownReason
from abi.types import Domid, VcpuId, VcpuRow
from hypervisor.repair import Repair, Wrong
from hypervisor.tables import DomainState, GuestKind
from hypervisor.vcpu_info import release_vcpu_infos

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor


class DomainEnds:
    """How domains of `hv` end."""

    def __init__(self, hv: "Hypervisor") -> None:
        self._hv = hv
        self.details: dict[Domid, str] = {}
        """Why domains crash that have not been destroyed yet."""
        self.to_destroy: list[Domid] = []
        """Domains that shut down since the runner last looked."""
        self.lost: set[Domid] = set()
        """Domains whose memory is gone, and with it what only they themselves needed: their node is lost."""
        self.destroyed: list[Callable[[Domid], None]] = []
        """Told of every domain whose resources go."""

    def crash(self, domid: Domid, reason: str, details: Iterable[str] = ()) -> None:
        """Crash a domain, as Xen's domain_crash, with a report."""
        self.details.setdefault(domid, "\n".join((reason, *details)))
        self._hv.io.log(f"domain {domid} crashed: {reason}")
        for line in details:
            self._hv.io.log("    " + line)
        self._hv.sched.shutdown(domid, ShutdownReason.crash)

    def internal_error(self, domid: Domid, text: str) -> None:
        """A fault of this program that a domain pays for: its traceback, for the log."""
        for line in text.rstrip().splitlines():
            self._hv.io.log(f"internal error while d{domid} ran: {line}")

    def triple_fault(self, domid: Domid, detail: str) -> None:
        """The processor shut down: the domain ends as HVM_PARAM_TRIPLE_FAULT_REASON says."""
        reason = self._hv.params.get(domid, HvmParam.TRIPLE_FAULT_REASON)
        self.details.setdefault(domid, detail)
        self._hv.io.log(f"d{domid}: {detail}: shutdown with reason {reason}")
        self._hv.sched.shutdown(domid, reason)

    def shut_down(self, domid: Domid, reason: int) -> None:
        """The scheduler has stopped a domain: the runner is to look after what it leaves, with domain 0 to the host."""
        if self._hv.domains.kind[domid] == GuestKind.HOST:  # what outsiders do with domain 0, they do to the machine
            self._hv.io.log(f"domain {domid} shut down: the host stops")
            self._hv.host.stop[0] = 1
        else:
            self.to_destroy.append(domid)

    def reap(self) -> None:
        """Release what the domains have that have shut down: their ports close, their grants go, their memory is free.

        The runner calls it between slices, when no engine is inside a guest.  The rest is done at the end of the round.
        """
        while self.to_destroy:
            domid = self.to_destroy.pop()
            if self._hv.groups.reach is not None:
                self._hv.groups.reach(domid)
            self._last_words(domid)
            self.release(domid)
            self._tell_end(domid)

    def lose(self, lost: Mapping[Domid, str]) -> Wrong:
        """The processes that ran these domains died, in the middle of anything: they crash, for the reasons given.

        For who holds still all others.  Gives how much had to be put right for those.
        """
        dead = [domid for domid in lost if self._hv.domains.state[domid] != DomainState.FREE]
        for domid in dead:
            if self._hv.domains.state[domid] in (DomainState.BUILDING, DomainState.RUNNING):
                self.crash(domid, lost[domid])
        ending = [domid for domid in dead if not self._hv.domains.released[domid]]
        for domid in ending:  # or it had shut down, and died before its things were taken from it
            self._last_words(domid)
            self._hv.domains.released[domid] = 1
        self.to_destroy[:] = [domid for domid in self.to_destroy if domid not in dead]
        wrong = Repair(self._hv.state, self._hv.frames, self._hv.memory.p2m, self._hv.groups, self._hv.sched.timers,
                       self._hv.sched.wake).run(dead)
        for domid in ending:
            self._tell_end(domid)
        for domid in dead:  # others hear of it as of any end
            if self._hv.domains.state[domid] != DomainState.DEAD and not self._hv.groups.table.ended[domid]:
                self._hv.groups.table.ended[domid] = self._hv.later()
        self._hv.recover_store()
        self._hv.rounds.look_round()
        return wrong

    def _last_words(self, domid: Domid) -> None:
        """Show what a domain that has shut down still had to say."""
        self._hv.consoles.drain(domid)
        self._hv.console_lines.flush(domid)
        row = VcpuRow(self._hv.domains.vcpu_base[domid])
        self._hv.trace.stop(domid, self._hv.vcpus.local_time[row], VcpuId(0), self._hv.domains.shutdown_code[domid])

    def _tell_end(self, domid: Domid) -> None:
        self._hv.io.ended(domid, self._hv.domains.shutdown_code[domid], self.details.pop(domid, ""))

    def destroy(self, domid: Domid) -> None:
        """Take everything from a domain that does not run any more, at once; for who holds still all others."""
        self.release(domid)
        self._hv.groups.table.ended[domid] = 0
        self.bury(domid)

    def release(self, domid: Domid) -> None:
        """Take from a domain that has shut down what is its own, or its group's."""
        self._hv.domains.state[domid] = DomainState.SHUTDOWN
        self._hv.domains.released[domid] = 1
        self._hv.groups.table.ended[domid] = self._hv.later()
        self._hv.events.close_all(domid)
        self._hv.grants.destroy(domid)
        if domid in self.lost:
            self._hv.domains.tot_pages[domid] = 0
            return
        release_vcpu_infos(self._hv, domid)
        self._hv.pv.destroy(domid)
        self._hv.memory.free_domain(domid)

    def bury(self, domid: Domid) -> None:
        """The end of a released domain, which everybody may know.  Who dies while he does it is followed by another."""
        for tell in self.destroyed:
            tell(domid)
        self._hv.domains.state[domid] = DomainState.DEAD
        self._hv.host.alive[0] -= self._hv.domains.awaited[domid]

    def lose_node(self, domid: Domid) -> None:
        """A domain's node is lost: from now on its books say what those of the others say."""
        self.lost.add(domid)
        mappings = self._hv.grants.mappings
        mappings.recount(domid)
        if self._hv.domains.kind[domid] == GuestKind.PV:  # its page tables held what they mapped, once more
            for mfn, flags in mappings.held(domid):
                if not flags & GNTMAP_readonly:
                    self._hv.pv.types.put_type(mfn)
                self._hv.frames.put_page(mfn)
