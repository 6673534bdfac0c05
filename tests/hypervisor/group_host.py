"""A host with small PVH domains that grant to each other and bind channels, for the tests of groups and rounds."""

from collections import defaultdict
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from pv_host import Io

from abi.errno import XenError
from abi.grant_table import GNTMAP_host_map
from abi.types import NEVER, Domid, Gfn, GrantRef, VcpuRow
from clock.source import VirtualClock
from clock.wallclock import Wallclock
from grants.errors import GrantError
from hypervisor.domain import DomainSpec, create_domain, create_host_seat, start_domain
from hypervisor.groups import Apart
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.rounds import LATENCY
from hypervisor.tables import GuestKind
from hypervisor.xen_version import XenVersion

PAGES = 64
HOLE = 0x80000
"""Where nothing is mapped."""


class GroupHost:
    """Domains 1 to `count`, each with one vCPU, running."""

    def __init__(self, count):
        shape = HostShape(count + 1, count + 1, count * PAGES * 4096)
        # Private, so that a test that forks has a host of its own in either process.
        self.shape, self.memory = shape, memoryview(mmap(-1, shape.size, flags=MAP_PRIVATE | MAP_ANONYMOUS))
        self.hv = hv = self.another()
        hv.format()
        create_host_seat(hv)
        self.count = count
        for domid in range(1, count + 1):
            create_domain(hv, DomainSpec(Domid(domid), GuestKind.PVH, PAGES, 1, domid))
        for domid in range(1, count + 1):
            start_domain(hv, Domid(domid))
        self.refs = defaultdict(lambda: 8)
        self.round()

    def another(self):
        """The hypervisor of another process: it knows nothing but what is in the memory."""
        return Hypervisor(HostState(self.memory, self.shape), VirtualClock(10**9), XenVersion("4.17"),
                          Wallclock(0, 0), Io())

    def round(self):
        """Rounds until what was asked for by now is done, in which nobody does anything."""
        hv = self.hv
        hv.sched.current = VcpuRow(0)
        until = max(hv.vcpus.local_time) + LATENCY
        while True:
            hv.rounds.end()
            if not hv.rounds.next() or hv.host.horizon[0] > until:
                return
            for row in range(1, self.count + 1):
                hv.vcpus.local_time[row] = hv.host.horizon[0]
                if hv.vcpus.due[row] != NEVER:
                    hv.vcpus.due[row] = max(hv.vcpus.due[row], hv.host.horizon[0])

    def act(self, domid, operation):
        """Do something as a domain; where another group is needed, wait for the next round and do it again."""
        for _ in range(5):
            self.hv.sched.current = VcpuRow(domid)
            try:
                return operation()
            except Apart as apart:
                self.hv.groups.wish(VcpuRow(domid), apart.other)
                self.hv.vcpus.due[domid] = self.hv.later()
                self.round()
        raise AssertionError("never in one group")

    def bind(self, one, other):
        """Connect two domains; the ports of both."""
        port = self.act(one, lambda: self.hv.events.alloc_unbound(one, one, other))
        return port, self.act(other, lambda: self.hv.events.bind_interdomain(other, one, port))

    def grant(self, granter, grantee):
        """A new reference to a page of the granter's."""
        ref = GrantRef(self.refs[granter])
        self.refs[granter] += 1
        self.hv.grants.seed(granter, ref, grantee, Gfn(16 + ref % 32))
        return ref

    def map(self, mapper, granter, ref, gfn):
        """Map a grant at a page; its handle."""
        return self.act(mapper, lambda: self.hv.grants.mappings.map_grant_ref(
            mapper, gfn << 12, GNTMAP_host_map, ref, granter))[0]

    def unmap(self, mapper, handle, gfn):
        self.act(mapper, lambda: self.hv.grants.mappings.unmap_grant_ref(mapper, gfn << 12, 0, handle))

    def groups(self):
        """The groups, as a set of sets of domids."""
        found = defaultdict(set)
        for domid in range(1, self.count + 1):
            found[self.hv.groups.table.leader[domid]].add(domid)
        return {frozenset(group) for group in found.values()}


def fails(operation):
    """Does it end with an error that a guest would see?"""
    try:
        operation()
    except (GrantError, XenError):
        return True
    return False
