"""The consoles of a host's domains: what they write is shown, what is to be typed they get, and they hear of both."""

from typing import TYPE_CHECKING

from abi.hvm import HvmParam
from abi.types import NEVER, Domid, Port
from hypervisor.console import ConsoleRing
from hypervisor.tables import DomainState
from hypervisor.typed_input import TypedInput

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor


class Consoles:
    """Those of the domains that this process of `hv` runs, or looked at."""

    def __init__(self, hv: "Hypervisor") -> None:
        self._hv = hv
        self.rings: dict[Domid, ConsoleRing] = {}
        """The rings, once they have been looked at."""
        self.typed: dict[Domid, TypedInput] = {}
        """What is typed; each is used by the process that runs the domain, and by no other."""

    def poll(self, domid: Domid) -> None:
        """Drain the console of a domain that may have written without saying so (PV GRUB yields until it is empty)."""
        ring = self.rings.get(domid)
        if ring is None or ring.has_output or domid in self.typed:
            self.drain(domid)

    def drain(self, domid: Domid) -> None:
        """Take what a domain wrote to its console ring and show it, give it what is typed, and tell it of both."""
        page = self._hv.params.get(domid, HvmParam.CONSOLE_PFN)
        ring = self.rings.get(domid)
        if ring is None:
            found = self._hv.memory.find(domid, page)
            if found is None:
                return
            ring = self.open_ring(domid, found[0] << 12)
        data = ring.drain()
        if data:
            self._hv.io.console(domid, data)
        if (domid in self.typed and self._type(domid, ring, data)) or data:
            self._hv.events.notify_guest(domid, Port(self._hv.params.get(domid, HvmParam.CONSOLE_EVTCHN)))

    def open_ring(self, domid: Domid, page: int) -> ConsoleRing:
        """The ring of a domain's console, which is at machine address `page`."""
        ring = self.rings[domid] = ConsoleRing(self._hv.arena, page, lambda text: self._hv.log(domid, text))
        return ring

    def _type(self, domid: Domid, ring: ConsoleRing, data: bytes) -> bool:
        """Go on with the domain's input after it printed `data`.  Was anything typed?"""
        typed = self.typed[domid]
        typed.see(data)
        runs = self._hv.domains.state[domid] == DomainState.RUNNING
        fed = typed.advance(self._hv.vcpus.local_time[self._hv.vcpu_of(domid)], ring.feed if runs else lambda data: 0)
        if runs:
            self.arm_typing(domid)
        return fed

    def arm_typing(self, domid: Domid) -> None:
        """See to it that the domain gets its turn when it is time to type."""
        if domid in self.typed and self.typed[domid].due != (self._hv.sched.watchdogs.typing[domid] or NEVER):
            self._hv.sched.set_typing(domid, self.typed[domid].due)
