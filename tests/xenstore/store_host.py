"""A host with a store, and guests that speak to it through the rings in their pages."""

from mmap import mmap
from struct import pack, unpack

from abi.errno import Errno
from abi.hvm import HvmParam
from abi.xenstore import XENSTORE_DOMAIN_INTERFACE, XsMessage
from clock.source import VirtualClock
from clock.wallclock import Wallclock
from hypervisor.domain import DomainSpec, create_domain, create_host_seat, start_domain
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import GuestKind
from hypervisor.xen_version import XenVersion
from xenstore.store import Introduced, Store

OFFSET = XENSTORE_DOMAIN_INTERFACE.at(64).offset
RING = 1024
MIB = 1 << 20


class Io:
    def log(self, text):
        pass

    def console(self, domid, data):
        pass

    def ended(self, domid, reason, detail):
        pass


class StoreHost:
    """`count` PVH domains; `processes` hypervisors share them, and domain n runs in number n % processes."""

    def __init__(self, count=2, processes=1):
        shape = HostShape(1 + count, 1 + count, count * 4 * MIB)
        memory = memoryview(mmap(-1, shape.size))
        plan = {domid: Introduced(f"guest-{domid}", 4 * MIB, 1) for domid in range(1, 1 + count)}
        self.processes, self.stores = [], []
        for number in range(processes):
            hv = Hypervisor(HostState(memory, shape), VirtualClock(10**9), XenVersion("4.17"), Wallclock(0, 0), Io())
            if not number:
                hv.format()
                create_host_seat(hv)
            self.processes.append(hv)
            self.stores.append(Store(hv, plan))
        hv = self.processes[0]
        for domid in plan:
            create_domain(hv, DomainSpec(domid, GuestKind.PVH, 1024, 1, domid))
        for domid in plan:
            start_domain(hv, domid)
        self.guests = {domid: Guest(self.processes[domid % processes], domid) for domid in plan}


class Guest:
    """Its side of the rings, and the messages that have come out of them."""

    def __init__(self, hv, domid):
        self.hv, self.domid = hv, domid
        self.page = hv.memory.find(domid, hv.params.get(domid, HvmParam.STORE_PFN))[0] << 12
        self.port = hv.params.get(domid, HvmParam.STORE_EVTCHN)
        self.rest = b""
        self.events, self.answers = [], []
        self.request = 0

    def index(self, name):
        return self.hv.arena.u32[self.page + OFFSET[name] >> 2]

    def set_index(self, name, value):
        self.hv.arena.u32[self.page + OFFSET[name] >> 2] = value & 0xFFFFFFFF

    def notify(self):
        """Tell the store, and wait until it has looked."""
        self.hv.events.send(self.domid, self.port)
        store = self.hv.groups.table.store
        if store[self.domid]:
            store[self.domid] = 0
            self.hv.serve_store(self.domid)

    @property
    def pending(self):
        return self.hv.events.is_pending(self.domid, self.port)

    def put(self, data):
        """Write as much as fits; how many bytes that was."""
        prod = self.index("req_prod")
        data = data[:RING - (prod - self.index("req_cons") & 0xFFFFFFFF)]
        for at, byte in enumerate(data):
            self.hv.arena.u8[self.page + OFFSET["req"] + (prod + at) % RING] = byte
        self.set_index("req_prod", prod + len(data))
        return len(data)

    def take(self):
        """Read answers and events as far as they are there; how many bytes that was."""
        cons = self.index("rsp_cons")
        size = self.index("rsp_prod") - cons & 0xFFFFFFFF
        self.rest += bytes(self.hv.arena.u8[self.page + OFFSET["rsp"] + (cons + at) % RING] for at in range(size))
        self.set_index("rsp_cons", cons + size)
        while len(self.rest) >= 16:
            kind, request, transaction, length = unpack("<4I", self.rest[:16])
            if len(self.rest) < 16 + length:
                break
            payload, self.rest = self.rest[16:16 + length], self.rest[16 + length:]
            if kind == XsMessage.WATCH_EVENT:
                self.events.append(tuple(payload[:-1].decode().split("\0")))
            else:
                self.answers.append((kind, request, transaction, payload))
        return size

    def send(self, kind, payload, transaction=0):
        """Send a whole message, in as many pieces as it takes.  False where nobody listens."""
        self.request += 1
        data = pack("<4I", kind, self.request, transaction, len(payload)) + payload
        while data:
            count = self.put(data)
            data = data[count:]
            self.notify()
            if not count and not self.take():
                return False
        return True

    def answer(self):
        """The next answer, whatever has to be read before it; None where none comes."""
        while not self.answers:
            if not self.take():
                return None
            self.notify()
        return self.answers.pop(0)

    def ask(self, kind, *strings, transaction=0, raw=None):
        """The payload that answers a request; the error's name as text where it is refused."""
        self.send(kind, raw if raw is not None else b"".join(text.encode() + b"\0" for text in strings), transaction)
        answered, request, number, data = self.answer()
        assert (request, number) == (self.request, transaction)
        if answered == XsMessage.ERROR:
            assert data[-1:] == b"\0"
            assert data[:-1].decode() in Errno.__members__
            return data[:-1].decode()
        assert answered == kind
        return data

    # Requests by name.

    def read(self, path, transaction=0):
        return self.ask(XsMessage.READ, path, transaction=transaction)

    def write(self, path, value, transaction=0):
        return self.ask(XsMessage.WRITE, raw=path.encode() + b"\0" + value, transaction=transaction)

    def rm(self, path, transaction=0):
        return self.ask(XsMessage.RM, path, transaction=transaction)

    def mkdir(self, path, transaction=0):
        return self.ask(XsMessage.MKDIR, path, transaction=transaction)

    def directory(self, path, transaction=0):
        data = self.ask(XsMessage.DIRECTORY, path, transaction=transaction)
        return data if isinstance(data, str) else data.decode().split("\0")[:-1]

    def permissions(self, path):
        return self.ask(XsMessage.GET_PERMS, path).decode().split("\0")[:-1]

    def watch(self, path, token="t"):
        return self.ask(XsMessage.WATCH, path, token)

    def begin(self):
        return int(self.ask(XsMessage.TRANSACTION_START, "").rstrip(b"\0"))

    def end(self, transaction, word="T"):
        return self.ask(XsMessage.TRANSACTION_END, word, transaction=transaction)

    def heard(self):
        """The events since the last call."""
        while self.take():
            self.notify()
        events, self.events = self.events, []
        return events
