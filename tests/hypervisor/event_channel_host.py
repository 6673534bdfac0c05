"""A host with nothing but event channels, and what a guest does with its own shared_info, for the tests beside it."""

from dataclasses import dataclass, field

from abi.errno import Errno, XenError
from abi.types import PAGE_SHIFT
from abi.xen import NR_VIRQS, SHARED_INFO, VCPU_INFO
from hypervisor.event_channel import EventChannels
from hypervisor.event_channel_tables import PORTS, EventChannelTable, PortSpaceTable, VirqTable
from hypervisor.tables import DomainState, DomainTable, GuestKind, VcpuTable
from hypervisor.unimplemented import Unimplemented
from state.arena import private_arena

MAX_DOMAINS = 8
VCPUS = 3


def errno_of(call, *arguments):
    """The name of the error that a call raises; fails where it raises none."""
    try:
        result = call(*arguments)
    except XenError as error:
        return error.errno.name
    raise AssertionError(f"no error, but {result}")


class EventHost:
    """Domain 0's seat, and domains 1 to 3 with three vCPUs each: 1 is 64-bit, 2 is 32-bit, 3 is 64-bit and privileged.

    Frame `domid` is the domain's shared_info; frame 8 + vCPU row is for a vcpu_info to move to.
    """

    def __init__(self):
        self.arena = private_arena(8 + MAX_DOMAINS * VCPUS)
        self.domains = DomainTable.private(MAX_DOMAINS)
        self.vcpus = VcpuTable.private(MAX_DOMAINS * VCPUS)
        self.channels = EventChannelTable.private(MAX_DOMAINS * PORTS)
        self.virqs = VirqTable.private(MAX_DOMAINS * VCPUS * NR_VIRQS)
        self.spaces = PortSpaceTable.private(MAX_DOMAINS)
        self.woken = []
        self.became_pending = []
        self.events = self.attach()
        self.domains.state[0], self.domains.kind[0] = DomainState.RUNNING, GuestKind.HOST
        self.domains.privileged[0], self.domains.width[0], self.domains.evtchn_limit[0] = 1, 64, 4096
        self.events.init(0)
        for domid, width in ((1, 64), (2, 32), (3, 64)):
            self.start(domid, width)
        self.domains.privileged[3] = 1

    def attach(self):
        """Another process's view of the same state."""
        return EventChannels(self.channels, self.virqs, self.spaces, self.domains, self.vcpus, self.arena,
                             self.woken.append, lambda domid, port: self.became_pending.append((domid, port)))

    def start(self, domid, width):
        self.domains.state[domid] = DomainState.RUNNING
        self.domains.width[domid], self.domains.evtchn_limit[domid] = width, 4096
        self.domains.vcpu_base[domid], self.domains.vcpu_count[domid] = domid * VCPUS, VCPUS
        self.domains.shared_info[domid] = domid << PAGE_SHIFT
        for vcpu_id in range(VCPUS):
            row = self.row(domid, vcpu_id)
            self.vcpus.domid[row], self.vcpus.vcpu_id[row] = domid, vcpu_id
            self.vcpus.info[row] = (domid << PAGE_SHIFT) + vcpu_id * VCPU_INFO.at(width).size
        self.events.init(domid)

    def end(self, domid):
        self.events.close_all(domid)
        self.domains.state[domid] = DomainState.DEAD
        self.arena.zero(domid)

    def row(self, domid, vcpu_id):
        return domid * VCPUS + vcpu_id

    # What a guest sees and does in memory.

    def _bit(self, domid, which, port):
        shape = SHARED_INFO.at(self.domains.width[domid])
        return self.domains.shared_info[domid] + shape.offset[which] + port // 8, 1 << port % 8

    def pending(self, domid, port):
        at, bit = self._bit(domid, "evtchn_pending", port)
        return bool(self.arena.u8[at] & bit)

    def masked(self, domid, port):
        at, bit = self._bit(domid, "evtchn_mask", port)
        return bool(self.arena.u8[at] & bit)

    def take(self, domid, port):
        """Clear the pending bit, as a guest that handles the event."""
        at, bit = self._bit(domid, "evtchn_pending", port)
        self.arena.u8[at] &= ~bit

    def mask(self, domid, port):
        at, bit = self._bit(domid, "evtchn_mask", port)
        self.arena.u8[at] |= bit

    def _info(self, domid, vcpu_id):
        width = self.domains.width[domid]
        info = self.vcpus.info[self.row(domid, vcpu_id)]
        return info, info + VCPU_INFO.at(width).offset["evtchn_pending_sel"], width // 8

    def selector(self, domid, vcpu_id=0):
        _, at, size = self._info(domid, vcpu_id)
        return int.from_bytes(self.arena.read(at, size), "little")

    def upcall(self, domid, vcpu_id=0):
        return self.arena.u8[self._info(domid, vcpu_id)[0]]

    def move_info(self, domid, vcpu_id, offset=0):
        """Register a vcpu_info elsewhere, as VCPUOP_register_vcpu_info does; the old one's contents move along."""
        row = self.row(domid, vcpu_id)
        new = (8 + row << PAGE_SHIFT) + offset
        old = self.vcpus.info[row]
        self.arena.write(new, self.arena.read(old, 64) if old else bytes(64))
        self.vcpus.info[row] = new
        self.events.vcpu_info_moved(row)

    def upcall_handler(self, domid, vcpu_id):
        """What a guest's interrupt handler does: the ports found pending and not masked, which it clears."""
        info, at, size = self._info(domid, vcpu_id)
        if not self.arena.u8[info]:
            return []
        self.arena.u8[info] = 0
        words = self.selector(domid, vcpu_id)
        self.arena.write(at, bytes(size))
        width = size * 8
        found = [port for word in range(width) if words >> word & 1
                 for port in range(word * width, (word + 1) * width)
                 if self.pending(domid, port) and not self.masked(domid, port)]
        for port in found:
            self.take(domid, port)
        return found

    def connected(self, domid=1, remote=2):
        """An interdomain channel with nothing pending: (port of `domid`, port of `remote`)."""
        remote_port = self.events.alloc_unbound(remote, remote, domid)
        port = self.events.bind_interdomain(domid, remote, remote_port)
        self.upcall_handler(domid, 0)
        self.woken.clear()
        self.became_pending.clear()
        return port, remote_port


class Memory:
    """A guest's memory: bytes at 0x1000, readable; writable below `writable_end`."""

    def __init__(self):
        self.page = bytearray(4096)
        self.writable_end = 0x2000

    def read(self, address, size):
        if address < 0x1000 or address + size > 0x2000:
            raise XenError(Errno.EFAULT)
        return bytes(self.page[address - 0x1000:address - 0x1000 + size])

    def write(self, address, data):
        if address < 0x1000 or address + len(data) > self.writable_end:
            raise XenError(Errno.EFAULT)
        self.page[address - 0x1000:address - 0x1000 + len(data)] = data


@dataclass
class Caller:
    """A vCPU that makes hypercalls."""

    domid: int = 1
    vcpu: int = VCPUS
    width: int = 64
    memory: Memory = field(default_factory=Memory)


class Hypervisor:
    """As much of the aggregate as the handler asks for."""

    def __init__(self, host):
        self.vcpus, self.events = host.vcpus, host.events
        self.said = []
        self.unimplemented = Unimplemented(lambda domid, text: self.said.append((domid, text)))
