"""The port space of each domain: which ports exist; getting, joining, raising one, and giving it back."""

from collections.abc import Callable, Sequence

from abi.errno import Errno, XenError
from abi.types import Domid, Port, VcpuId, VcpuRow
from abi.xen import NR_VIRQS, PER_VCPU_VIRQS
from hypervisor.event_channel_abi import EventAbi
from hypervisor.event_channel_tables import (
    NO_PORT,
    PORTS,
    PORTS_PER_BUCKET,
    ChannelState,
    EventAbiNumber,
    EventChannelTable,
    PortSpaceTable,
    VirqTable,
    channel_row,
)
from hypervisor.tables import DomainTable


class PortSpaces:
    """`abis` is indexed by EventAbiNumber.  Behaviour: struct evtchn_port_ops and port allocation of Xen's core."""

    def __init__(self, channels: EventChannelTable, virqs: VirqTable, spaces: PortSpaceTable,
                 domains: DomainTable, abis: Sequence[EventAbi]) -> None:
        self.channels, self.virqs, self.spaces, self.domains, self.abis = channels, virqs, spaces, domains, abis
        self.loosened: Callable[[Domid], None] = lambda domid: None
        """Told of every domain that gives up its end of an interdomain channel."""

    def open(self, domid: Domid) -> None:
        """Give a new domain its port space: one bucket, of which port 0 is reserved."""
        self.close(domid)
        self.spaces.valid[domid] = PORTS_PER_BUCKET
        self.channels.state[channel_row(domid, Port(0))] = ChannelState.RESERVED

    def close(self, domid: Domid) -> None:
        """Take the port space away; its ports are closed already."""
        for port in range(self.spaces.valid[domid]):
            self.channels.clear(channel_row(domid, Port(port)))
        self.spaces.valid[domid] = 0
        self.spaces.abi[domid] = EventAbiNumber.TWO_LEVEL

    def abi(self, domid: Domid) -> EventAbi:
        """The operations of the layout that the domain uses."""
        return self.abis[self.spaces.abi[domid]]

    def row(self, domid: Domid, port: Port) -> int:
        """The channel's row.  Raises XenError(EINVAL) where the port does not exist."""
        if port >= self.spaces.valid[domid]:
            raise XenError(Errno.EINVAL)
        return channel_row(domid, port)

    def vcpu_row(self, domid: Domid, vcpu_id: int) -> VcpuRow:
        """The vCPU's row.  Raises XenError(ENOENT) where the domain has no such vCPU."""
        if vcpu_id >= self.domains.vcpu_count[domid]:
            raise XenError(Errno.ENOENT)
        return VcpuRow(self.domains.vcpu_base[domid] + vcpu_id)

    def limit(self, domid: Domid) -> int:
        """Ports from here on cannot be allocated: the domain's own limit, or the layout's if that is lower."""
        return min(self.domains.evtchn_limit[domid], self.abi(domid).max_ports(domid), PORTS)

    def allocate(self, domid: Domid, port: Port = NO_PORT) -> Port:
        """A free port, the lowest or the given one; it stays free until its state is set.

        Raises XenError(ENOSPC) where there is none, EBUSY where the given one is taken.
        """
        limit, abi = self.limit(domid), self.abi(domid)
        first = channel_row(domid, Port(0))
        if port == NO_PORT:
            states = self.channels.state[first:first + limit].tobytes()
            found = states.find(ChannelState.FREE)
            while found >= 0 and abi.is_busy(domid, Port(found)):
                found = states.find(ChannelState.FREE, found + 1)
            port = Port(found if found >= 0 else limit)
        if port >= limit:
            raise XenError(Errno.ENOSPC)
        if self.channels.state[first + port] != ChannelState.FREE or abi.is_busy(domid, port):
            raise XenError(Errno.EBUSY)
        abi.prepare(domid, port)
        if port >= self.spaces.valid[domid]:
            self.spaces.valid[domid] = (port // PORTS_PER_BUCKET + 1) * PORTS_PER_BUCKET
        return port

    def _free(self, domid: Domid, port: Port) -> None:
        """Give a port back.  A pending event goes with it, so that who gets the port next has none; the mask stays."""
        row = channel_row(domid, port)
        if self.usable(row):
            self.abi(domid).clear_pending(domid, port)
        self.channels.clear(row)

    def usable(self, row: int) -> bool:
        """Can the port be pending?  Not one that is closed, and not the hypervisor's own end."""
        return self.channels.state[row] > ChannelState.RESERVED and not self.channels.consumer[row]

    def set_pending(self, domid: Domid, port: Port, vcpu_id: VcpuId | None = None) -> None:
        """Raise an event at a port that exists, for `vcpu_id` or for whom the port notifies."""
        row = channel_row(domid, port)
        if self.usable(row):
            notified = self.channels.notify_vcpu[row] if vcpu_id is None else vcpu_id
            vcpu = VcpuRow(self.domains.vcpu_base[domid] + notified)
            self.abi(domid).set_pending(domid, vcpu, port)

    def peer_row(self, row: int) -> int:
        """The row of the other end of an interdomain channel."""
        return channel_row(self.channels.remote_dom[row], self.channels.remote_port[row])

    def connect(self, domid: Domid, remote_dom: Domid, remote_port: Port, port: Port = NO_PORT, consumer: int = 0
                ) -> Port:
        """Join a new port of `domid` to a port of `remote_dom`, and raise it: events may have been lost until now.

        Raises XenError(EINVAL) where the remote port does not wait for `domid`, and what `allocate` raises.
        """
        channels = self.channels
        port = self.allocate(domid, port)
        remote_row = self.row(remote_dom, remote_port)
        if channels.state[remote_row] != ChannelState.UNBOUND or channels.remote_dom[remote_row] != domid:
            raise XenError(Errno.EINVAL)
        row = channel_row(domid, port)
        channels.consumer[row] = consumer
        channels.state[row] = channels.state[remote_row] = ChannelState.INTERDOMAIN
        channels.remote_dom[row], channels.remote_port[row] = remote_dom, remote_port
        channels.remote_dom[remote_row], channels.remote_port[remote_row] = domid, port
        self.set_pending(domid, port)
        return port

    def disconnect(self, domid: Domid, port: Port) -> None:
        """Undo whatever the port is and give it back; a peer waits for `domid` again.

        Raises XenError(EINVAL) where the port is free or reserved.
        """
        channels = self.channels
        row = channel_row(domid, port)
        match channels.state[row]:
            case ChannelState.FREE | ChannelState.RESERVED:
                raise XenError(Errno.EINVAL)
            case ChannelState.VIRQ:
                virq = channels.virq[row]
                vcpu_id = channels.notify_vcpu[row] if virq in PER_VCPU_VIRQS else 0
                self.virqs.port[(self.domains.vcpu_base[domid] + vcpu_id) * NR_VIRQS + virq] = NO_PORT
            case ChannelState.INTERDOMAIN:
                self.loosened(domid)
                peer = self.peer_row(row)  # whose remote_dom is this domain already
                channels.state[peer] = ChannelState.UNBOUND
                channels.remote_port[peer] = NO_PORT
        self._free(domid, port)
