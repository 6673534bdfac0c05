"""A host with vCPUs, memory and time, and callers that make its hypercalls, for the tests beside it."""

from dataclasses import dataclass, field

from abi.errno import Errno, XenError
from abi.types import NEVER, PAGE_SHIFT
from abi.xen import VCPU_INFO
from clock.source import VirtualClock
from grants.interfaces import P2mType
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainState, DomainTable, GuestKind, RunState, VcpuTable
from hypervisor.unimplemented import Unimplemented
from hypervisor.vm_assist import AssistTable
from hypervisor.watchdog import WatchdogTable
from state.arena import private_arena

QUANTUM = 1_000
BASE, END = 0x1000, 0x3000
"""What callers can reach of their memory."""


def errno_of(call, *arguments, **named):
    """The name of the error that a call raises; fails where it raises none."""
    try:
        result = call(*arguments, **named)
    except XenError as error:
        return error.errno.name
    raise AssertionError(f"no error, but {result}")


def schedule(sched, until=NEVER):
    """The runnable vCPU to start next, after the timers before it; None where all wait, or sleep beyond `until`."""
    while (row := sched.pick()) is not None:
        if sched.vcpus.runstate[row] == RunState.RUNNABLE:
            return row
        if sched.vcpus.due[row] > until:
            return None
        sched.fire_timers(row)
    return None


class Machine:
    """The tables of a host with domains 1, 2... of `sizes` vCPUs, all of them up and at time 0."""

    def __init__(self, *sizes, quantum=QUANTUM):
        self.domains = DomainTable.private(len(sizes) + 1)
        self.vcpus = VcpuTable.private(sum(sizes))
        self.watchdogs = WatchdogTable.private(self.domains.rows)
        self.quantum = quantum
        self.ticks = []
        self.ended = []
        self.sched = self.attach()
        self.sched.format()
        self.domains.kind[0], self.domains.privileged[0] = GuestKind.HOST, 1
        self.domains.state[0] = DomainState.RUNNING
        base = 0
        for domid, count in enumerate(sizes, 1):
            self.domains.state[domid], self.domains.width[domid] = DomainState.RUNNING, 64
            self.domains.vcpu_base[domid], self.domains.vcpu_count[domid] = base, count
            self.sched.add_domain(domid)
            for vcpu_id in range(count):
                row = base + vcpu_id
                self.vcpus.domid[row], self.vcpus.vcpu_id[row] = domid, vcpu_id
                self.sched.add_vcpu(row)
                self.sched.up(row)
                self.vcpus.initialised[row] = 1
            base += count

    def attach(self, rows=None):
        """Another process's scheduler over the same tables."""
        sched = Scheduler(self.domains, self.vcpus, self.quantum, self.watchdogs, rows)
        sched.timer_event = self.ticks.append
        sched.shut_down = lambda domid, reason: self.ended.append((domid, reason))
        return sched

    def run(self, row, until=None):
        """Start a vCPU and let it work until system time `until`."""
        self.sched.start(row)
        if until is not None:
            self.work(until)

    def work(self, until):
        """The current vCPU gets on to system time `until`."""
        assert until >= self.vcpus.local_time[self.sched.current]
        self.vcpus.local_time[self.sched.current] = until


class Memory:
    """A guest's linear memory: two pages of which only those below `END` exist."""

    def __init__(self):
        self.bytes = bytearray(END - BASE)
        self.writes = []

    def _at(self, address, size):
        if address < BASE or address + size > END:
            raise XenError(Errno.EFAULT)
        return slice(address - BASE, address - BASE + size)

    def read(self, address, size):
        return bytes(self.bytes[self._at(address, size)])

    def write(self, address, data):
        self.bytes[self._at(address, len(data))] = data
        self.writes.append((address, bytes(data)))


@dataclass
class Caller:
    domid: int = 1
    vcpu: int = 0
    width: int = 64
    memory: Memory = field(default_factory=Memory)
    deliverable: bool = False

    def pass_struct(self, layout, *values, address=BASE):
        """Put an argument where the guest keeps it, and give its address."""
        self.memory.write(address, layout.at(self.width).pack(*values))
        return address


class Events:
    """Ports below 64 exist."""

    def __init__(self):
        self.pending = set()
        self.moved = []

    def is_pending(self, domid, port):
        if port >= 64:
            raise XenError(Errno.EINVAL)
        return port in self.pending

    def vcpu_info_moved(self, row):
        self.moved.append(row)


class Pages:
    """Guest pages 0 to 3 are frames 8 to 11; page 4 is a grant of another domain's frame, page 5 read-only memory."""

    def __init__(self):
        self.types = {4: P2mType.GRANT_MAP_RW, 5: P2mType.RAM_RO}
        self.references = []

    def lookup(self, domid, gfn):
        if gfn > 5:
            raise XenError(Errno.ENOENT)
        return 8 + gfn, self.types.get(gfn, P2mType.RAM_RW)

    def get_writable_page(self, mfn, domid):
        self.references.append(mfn)
        return True


class SchedHost(Machine):
    """As much of the hypervisor as the handlers of time and scheduling ask for; vCPU 0 is running.

    Frame `domid` is the domain's shared_info, which holds the vcpu_info of every vCPU.
    """

    def __init__(self, *sizes, width=64):
        super().__init__(*(sizes or (2,)))
        self.arena = private_arena(16)
        self.clock = VirtualClock(1_000_000_000)
        self.assists = AssistTable.private(self.domains.rows)
        self.events = Events()
        self.memory = Pages()
        self.said, self.drained = [], []
        self.unimplemented = Unimplemented(lambda domid, text: self.said.append(text))
        self.initialise_vcpu = {}
        self.send_nmi = None
        for domid in range(1, self.domains.rows):
            self.domains.width[domid], self.domains.shared_info[domid] = width, domid << PAGE_SHIFT
        for row in range(self.vcpus.rows):
            self.vcpus.info[row] = ((self.vcpus.domid[row] << PAGE_SHIFT)
                                    + self.vcpus.vcpu_id[row] * VCPU_INFO.at(width).size)
        self.caller = Caller(width=width)
        self.run(0)

    def local_events_need_delivery(self, call):
        return call.deliverable

    def poll_console(self, domid):
        self.drained.append(domid)


