"""Event channels: what EVTCHNOP_* do, and the hypervisor's own ends.

Behaviour, error codes and the order of the checks are those of Xen 4.17 (ABI: xen/event_channel.h).  Domids may be
DOMID_SELF wherever the ABI takes one; XenError(ESRCH) where there is no such domain, EPERM where the caller may not
act on it.  A port that does not exist is EINVAL.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy

from abi.errno import Errno, XenError
from abi.event_channel import EvtchnStatus
from abi.types import Domid, Port, VcpuId, VcpuRow
from abi.xen import DOMID_SELF, NR_VIRQS, PER_VCPU_VIRQS
from hypervisor.event_channel_2l import TwoLevel
from hypervisor.event_channel_abi import EventAbi, EventTrace, Upcalls
from hypervisor.event_channel_fifo import Fifo, FifoTables
from hypervisor.event_channel_ports import PortSpaces
from hypervisor.event_channel_tables import (
    NO_PORT,
    PORTS,
    ChannelState,
    EventAbiNumber,
    EventChannelTable,
    PortSpaceTable,
    VirqTable,
    channel_row,
)
from hypervisor.tables import DomainState, DomainTable, VcpuTable
from state.arena import Arena

HOST = Domid(0)
"""Where back ends sit."""
_ALIVE = frozenset({DomainState.BUILDING, DomainState.RUNNING, DomainState.SHUTDOWN})
_INTERDOMAIN = int(ChannelState.INTERDOMAIN)


class PortStatus(NamedTuple):
    """What EVTCHNOP_status tells.  Fields that the kind of port does not have are 0."""

    status: EvtchnStatus
    vcpu: VcpuId
    dom: Domid = Domid(0)
    port: Port = NO_PORT
    virq: int = 0


class EventChannels:
    """All event channels of the host.

    `wake` makes a vCPU runnable; `trace` sees every port that becomes pending.  `consumers` holds, by number, the
    functions that receive what is sent to the hypervisor's own ends; every process that attaches registers the same.
    A consumer is given the sender's domain and port, since a back end in domain 0 has to know whom to serve.
    """

    def __init__(self, channels: EventChannelTable, virqs: VirqTable, spaces: PortSpaceTable, domains: DomainTable,
                 vcpus: VcpuTable, arena: Arena, wake: Callable[[VcpuRow], None],
                 trace: EventTrace | None = None, fifo: FifoTables | None = None) -> None:
        self.channels, self.virqs, self.domains, self.vcpus = channels, virqs, domains, vcpus
        self.consumers: dict[int, Callable[[Domid, Port], None]] = {}
        self.upcalls = Upcalls(domains, vcpus, arena, wake)
        self.mark_events_pending = self.upcalls.mark_events_pending
        self.vcpu_info_moved = self.upcalls.vcpu_info_moved
        self.fifo = None if fifo is None else Fifo(domains, fifo, arena, self.upcalls, trace)
        abis: list[EventAbi] = [TwoLevel(domains, arena, self.upcalls, trace)]
        abis += [] if self.fifo is None else [self.fifo]
        self.ports = PortSpaces(channels, virqs, spaces, domains, abis)
        self.require: Callable[[Domid, int], None] = lambda domid, other: None
        """Called with a domain that acts and another before anything of the other's is looked at: `Groups.require`."""
        self._state, self._consumer, self._notify_vcpu = channels.state, channels.consumer, channels.notify_vcpu
        self._remote_dom, self._remote_port = channels.remote_dom, channels.remote_port
        self._abi, self._abis, self._vcpu_base = spaces.abi, self.ports.abis, domains.vcpu_base

    # A domain's life.

    def init(self, domid: Domid) -> None:
        """Prepare a new domain; `width` and `evtchn_limit` may still be set later."""
        self.ports.open(domid)

    def close_all(self, domid: Domid) -> None:
        """The domain dies: close every port, the hypervisor's ends too, and the back ends' ends that served it."""
        for port in range(1, self.ports.spaces.valid[domid]):
            if self._state[channel_row(domid, Port(port))] != ChannelState.FREE:
                self.ports.disconnect(domid, Port(port))
        self._leave_fifo(domid)
        self.ports.close(domid)
        mine = slice(0, self.ports.spaces.valid[HOST])
        waiting = ((numpy.frombuffer(self._remote_dom.cast("B"), numpy.uint16)[mine] == domid)
                   & (numpy.frombuffer(self._state, numpy.uint8)[mine] == ChannelState.UNBOUND)
                   & (numpy.frombuffer(self._consumer, numpy.uint8)[mine] != 0))
        for port in numpy.flatnonzero(waiting).tolist():
            self.ports.disconnect(HOST, Port(port))

    # What guests ask for.

    def alloc_unbound(self, caller: Domid, dom: Domid, remote_dom: Domid, port: Port = NO_PORT) -> Port:
        """A port of `dom` that `remote_dom` may bind.  ENOSPC, EPERM; `remote_dom` need not exist."""
        domid = self._domain(caller, dom)
        port = self.ports.allocate(domid, port)
        self._check_privilege(caller, domid)
        row = channel_row(domid, port)
        self._state[row] = ChannelState.UNBOUND
        self._remote_dom[row] = caller if remote_dom == DOMID_SELF else remote_dom
        return port

    def bind_interdomain(self, caller: Domid, remote_dom: Domid, remote_port: Port, port: Port = NO_PORT) -> Port:
        """Connect a new port to an unbound one that waits for the caller; EINVAL where it does not.  ENOSPC."""
        return self.ports.connect(caller, self._domain(caller, remote_dom), remote_port, port)

    def bind_virq(self, caller: Domid, virq: int, vcpu_id: VcpuId, port: Port = NO_PORT) -> Port:
        """A port for a virtual interrupt.  EINVAL: no such VIRQ, or a global one not on vCPU 0.  ENOENT, EEXIST."""
        if virq >= NR_VIRQS or (vcpu_id != 0 and virq not in PER_VCPU_VIRQS):
            raise XenError(Errno.EINVAL)
        virq_row = self.ports.vcpu_row(caller, vcpu_id) * NR_VIRQS + virq
        if self.virqs.port[virq_row]:
            raise XenError(Errno.EEXIST)
        port = self.ports.allocate(caller, port)
        row = channel_row(caller, port)
        self._state[row] = ChannelState.VIRQ
        self._notify_vcpu[row] = vcpu_id
        self.channels.virq[row] = virq
        self.virqs.port[virq_row] = port
        return port

    def bind_ipi(self, caller: Domid, vcpu_id: VcpuId) -> Port:
        """A port through which the domain notifies its own vCPU.  ENOENT, ENOSPC."""
        self.ports.vcpu_row(caller, vcpu_id)
        port = self.ports.allocate(caller)
        row = channel_row(caller, port)
        self._state[row] = ChannelState.IPI
        self._notify_vcpu[row] = vcpu_id
        return port

    def bind_vcpu(self, caller: Domid, port: Port, vcpu_id: VcpuId) -> None:
        """Let a port notify another vCPU.  ENOENT; EINVAL for IPIs, per-vCPU VIRQs and the hypervisor's ends."""
        self.ports.vcpu_row(caller, vcpu_id)
        row = self.ports.row(caller, port)
        state = self._state[row]
        movable = (state in (ChannelState.UNBOUND, ChannelState.INTERDOMAIN)
                   or (state == ChannelState.VIRQ and self.channels.virq[row] not in PER_VCPU_VIRQS))
        if self._consumer[row] or not movable:
            raise XenError(Errno.EINVAL)
        self._notify_vcpu[row] = vcpu_id

    def send(self, caller: Domid, port: Port) -> None:
        """Notify the other end; nobody is told while there is none.  EINVAL for VIRQs and the hypervisor's ends."""
        # The hot path: a port that is not valid is free, so its bound here is the table's.
        if port >= PORTS:
            raise XenError(Errno.EINVAL)
        row = caller * PORTS + port
        state = self._state[row]
        if self._consumer[row]:
            raise XenError(Errno.EINVAL)
        if state == _INTERDOMAIN:
            remote_dom, remote_port = self._remote_dom[row], self._remote_port[row]
            row = remote_dom * PORTS + remote_port
            consumer = self._consumer[row]
            if consumer:
                self.consumers[consumer](caller, port)
                return
        elif state == ChannelState.IPI:
            remote_dom, remote_port = caller, port
        elif state == ChannelState.UNBOUND:
            return
        else:
            raise XenError(Errno.EINVAL)
        vcpu = VcpuRow(self._vcpu_base[remote_dom] + self._notify_vcpu[row])
        self._abis[self._abi[remote_dom]].set_pending(remote_dom, vcpu, remote_port)

    def unmask(self, caller: Domid, port: Port) -> None:
        """Clear a port's mask and give the notification that it held back.  Nothing happens to a closed port."""
        row = self.ports.row(caller, port)
        if self.ports.usable(row):
            vcpu = VcpuRow(self._vcpu_base[caller] + self._notify_vcpu[row])
            self.ports.abi(caller).unmask(caller, vcpu, port)

    def set_priority(self, caller: Domid, port: Port, priority: int) -> None:
        """ENOSYS: the 2-level ABI has no priorities."""
        self.ports.row(caller, port)
        self.ports.abi(caller).set_priority(caller, port, priority)

    def status(self, caller: Domid, dom: Domid, port: Port) -> PortStatus:
        """What a port is.  EINVAL comes before EPERM."""
        domid = self._domain(caller, dom)
        row = self.ports.row(domid, port)
        self._check_privilege(caller, domid)
        vcpu_id = VcpuId(self._notify_vcpu[row])
        remote_dom = self._remote_dom[row]
        match self._state[row]:
            case ChannelState.UNBOUND:
                return PortStatus(EvtchnStatus.unbound, vcpu_id, dom=remote_dom)
            case ChannelState.INTERDOMAIN:
                return PortStatus(EvtchnStatus.interdomain, vcpu_id, remote_dom, self._remote_port[row])
            case ChannelState.VIRQ:
                return PortStatus(EvtchnStatus.virq, vcpu_id, virq=self.channels.virq[row])
            case ChannelState.IPI:
                return PortStatus(EvtchnStatus.ipi, vcpu_id)
        return PortStatus(EvtchnStatus.closed, vcpu_id)

    def close(self, caller: Domid, port: Port) -> None:
        """Give a port up; its peer waits for this domain again.  EINVAL: closed already, or the hypervisor's end."""
        if self._consumer[self.ports.row(caller, port)]:
            raise XenError(Errno.EINVAL)
        self.ports.disconnect(caller, port)

    def reset(self, caller: Domid, dom: Domid) -> None:
        """Close every port of `dom` but the hypervisor's ends.  EPERM; EINVAL for another domain that is not paused."""
        domid = self._resettable(caller, dom)
        for port in range(1, self.ports.spaces.valid[domid]):
            row = channel_row(domid, Port(port))
            if self._state[row] > ChannelState.RESERVED and not self._consumer[row]:
                self.ports.disconnect(domid, Port(port))
        self._leave_fifo(domid)

    def reset_cont(self, caller: Domid, dom: Domid) -> None:
        """Continue a reset.  None is ever left unfinished here, so after reset's checks it is always EBUSY."""
        self._resettable(caller, dom)
        raise XenError(Errno.EBUSY)

    # What the hypervisor itself does.

    def is_pending(self, domid: Domid, port: Port) -> bool:
        """Is there an event at the port?  What SCHEDOP_poll asks; EINVAL where the port does not exist."""
        row = self.ports.row(domid, port)
        return self.ports.usable(row) and self.ports.abi(domid).is_pending(domid, port)

    def send_virq(self, row: VcpuRow, virq: int) -> None:
        """Raise a per-vCPU VIRQ on one vCPU, if that bound it."""
        port = self.virqs.port[row * NR_VIRQS + virq]
        if port:
            self.ports.set_pending(Domid(self.vcpus.domid[row]), port, VcpuId(self.vcpus.vcpu_id[row]))

    def send_global_virq(self, domid: Domid, virq: int) -> None:
        """Raise a global VIRQ on the vCPU that its port notifies, if the domain bound it."""
        if self.domains.vcpu_count[domid]:
            port = self.virqs.port[self._vcpu_base[domid] * NR_VIRQS + virq]
            if port:
                self.ports.set_pending(domid, port)

    def alloc_unbound_xen(self, dom: Domid, vcpu_id: VcpuId, consumer: int, remote_dom: Domid) -> Port:
        """A port of `dom` that `remote_dom` may bind, and whose events `consumer` receives.  ENOSPC.

        The guest cannot send through it, close it or move it.
        """
        port = self.ports.allocate(dom)
        row = channel_row(dom, port)
        self._state[row] = ChannelState.UNBOUND
        self._consumer[row] = consumer
        self._notify_vcpu[row] = vcpu_id
        self._remote_dom[row] = remote_dom
        return port

    def connect_backend(self, dom: Domid, port: Port, consumer: int) -> Port:
        """Bind a guest's port that waits for domain 0, as the daemon there would; what comes is given to `consumer`.

        Gives the port of domain 0.  EINVAL where the guest's port does not wait for domain 0; ENOSPC.  The consumer is
        called at once: the guest may have sent while nobody listened.
        """
        local_port = self.ports.connect(HOST, dom, port, consumer=consumer)
        self.consumers[consumer](dom, port)
        return local_port

    def notify_guest(self, dom: Domid, port: Port) -> None:
        """Raise a guest's port from the back end that is connected to it; nothing happens where none is."""
        if port < self.ports.spaces.valid[dom]:
            row = channel_row(dom, port)
            if self._state[row] == ChannelState.INTERDOMAIN and self._consumer[self.ports.peer_row(row)]:
                self.ports.set_pending(dom, port)

    # Shared steps.

    def _domain(self, caller: Domid, dom: Domid) -> Domid:
        if dom == DOMID_SELF:
            return caller
        self.require(caller, dom)
        if dom >= self.domains.rows or self.domains.state[dom] not in _ALIVE:
            raise XenError(Errno.ESRCH)
        return dom

    def _leave_fifo(self, domid: Domid) -> None:
        if self.fifo is not None and self._abi[domid] == EventAbiNumber.FIFO:
            self.fifo.destroy(domid)
            self._abi[domid] = EventAbiNumber.TWO_LEVEL

    def _check_privilege(self, caller: Domid, target: Domid) -> None:
        if caller != target and not self.domains.privileged[caller]:
            raise XenError(Errno.EPERM)

    def _resettable(self, caller: Domid, dom: Domid) -> Domid:
        domid = self._domain(caller, dom)
        self._check_privilege(caller, domid)
        # Xen asks whether the toolstack paused the domain; it also creates domains paused.
        first = self._vcpu_base[domid]
        paused = (self.domains.state[domid] == DomainState.BUILDING
                  or all(self.vcpus.paused[first:first + self.domains.vcpu_count[domid]]))
        if domid != caller and not paused:
            raise XenError(Errno.EINVAL)
        return domid
