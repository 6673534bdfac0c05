"""A host with PV domains whose whole memory is mapped at one address, and an accountant of what is referred to."""

from collections import Counter
from mmap import mmap
from struct import pack

import numpy

from abi.errno import Errno, XenError
from abi.types import Domid, VcpuRow
from abi.xen import DOMID_SELF, Hypercall
from clock.source import VirtualClock
from clock.wallclock import Wallclock
from hypervisor.domain import DomainSpec, create_domain, create_host_seat, start_domain
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.pv_tables import GdtFrameTable, LdtFrameTable, PageType, TypeFlag, VcpuFlag
from hypervisor.tables import GuestKind
from hypervisor.xen_version import XenVersion

P, RW, US, A, D, PAT, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
BASE = 0x400000
MFN = (1 << 40) - 1
PAGES, GUEST_PAGES = 1024, 512
ARGUMENTS = 64
"""The page that the tests put arguments into."""
FREE = 128
"""From this page on nothing is used."""


class Io:
    def __init__(self):
        self.lines = []

    def log(self, text):
        self.lines.append(text)

    def console(self, domid, data):
        pass

    def ended(self, domid, reason, detail):
        self.lines.append(f"d{domid} ended: {reason} {detail}")


class Memory:
    """The caller's memory by its page tables, as a supervisor that honours the writable bit."""

    def __init__(self, host, row):
        self._host, self._row = host, row

    def _at(self, address, write):
        slot = self._host.pv.l1_slot(self._row, address)
        entry = 0 if slot is None else self._host.u64[slot]
        if not entry & P or (write and not entry & RW):
            raise XenError(Errno.EFAULT)
        return (entry >> 12 & MFN) << 12 | address & 0xFFF

    def read(self, address, size):
        data = b""
        while size:
            here = min(size, 4096 - (address & 0xFFF))
            data += self._host.hv.arena.read(self._at(address, False), here)
            address, size = address + here, size - here
        return data

    def write(self, address, data):
        while data:
            here = min(len(data), 4096 - (address & 0xFFF))
            self._host.hv.arena.write(self._at(address, True), data[:here])
            address, data = address + here, data[here:]


class Caller:
    def __init__(self, host, domid, row, width):
        self.domid, self.vcpu, self.width, self.memory = Domid(domid), VcpuRow(row), width, Memory(host, row)


class PvHost:
    """Domains 1 and 2 are PV, 3 is PVH.  Page n of a PV domain is at BASE + n * 4096; the first few are its tables."""

    def __init__(self, width=64, pages=PAGES, vcpus=2):
        shape = HostShape(4, 1 + 3 * vcpus, 3 * pages * 4096)
        self.hv = Hypervisor(HostState(memoryview(mmap(-1, shape.size)), shape), VirtualClock(1_000_000_000),
                             XenVersion("4.17"), Wallclock(1_700_000_000, 0), Io())
        self.hv.format()
        self.pv, self.u64, self.width, self.pages = self.hv.pv, self.hv.arena.u64, width, pages
        create_host_seat(self.hv)
        self.callers, self.first, self.top = {}, {}, {}
        for domid in (1, 2, 3):
            kind = GuestKind.PVH if domid == 3 else GuestKind.PV
            row = 1 + (domid - 1) * vcpus
            create_domain(self.hv, DomainSpec(Domid(domid), kind, pages, vcpus, row))
            self.callers[domid] = Caller(self, domid, row, 64 if domid == 3 else width)
            if domid == 3:
                continue
            self.hv.domains.width[domid] = width
            self.pv.create(Domid(domid))
            self._build(domid, row)
            start_domain(self.hv, Domid(domid))
        for domid in (1, 2, 3):  # they share, and are one group
            self.hv.groups.table.leader[domid] = 1
        self.hv.sched.pick()
        self.flushes = Counter()
        self.hv.local_flush[1] = lambda gfn: self.flushes.update(["d1"])

    def _build(self, domid, row):
        first = self.first[domid] = next(mfn for mfn in range(self.hv.frames.count)
                                         if self.hv.frames.owner(mfn) == domid and self.hv.frames.table.kind[mfn] == 1)
        l4, l3, l2, l1 = range(first, first + 4)
        l1s = range(l1, l1 + self.pages // 512)
        tops = [l3, l2, *l1s]
        if self.width == 64:
            tops.append(l4)
            self.u64[l4 << 9] = l3 << 12 | P | RW | US | A
            self.u64[l3 << 9] = l2 << 12 | P | RW | US | A
        else:
            last = l1s[-1] + 1
            tops.append(last)
            self.u64[l3 << 9], self.u64[(l3 << 9) + 3] = l2 << 12 | P, last << 12 | P
        for index, table in enumerate(l1s):
            self.u64[(l2 << 9) + 2 + index] = table << 12 | P | RW | US | A
        for page in range(self.pages):
            flags = P | A if first + page in tops else P | RW | A | D
            self.u64[(l1 << 9) + page] = first + page << 12 | flags
        self.top[domid] = l4 if self.width == 64 else l3
        self.pv.pin(Domid(domid), self.top[domid], PageType.L4 if self.width == 64 else PageType.L3)
        self.pv.new_baseptr(VcpuRow(row), Domid(domid), self.top[domid])
        self.pv.vcpu_table.flags[row] = VcpuFlag.KERNEL_MODE

    # -- what a domain does

    def mfn(self, page, domid=1):
        return self.first[domid] + page

    def call(self, number, *arguments, domid=1):
        """A hypercall's result as a signed number."""
        caller = self.callers[domid]
        result = self.hv.dispatcher.dispatch(caller, number, *arguments)
        return result - (1 << caller.width) if result >> caller.width - 1 else result

    def put(self, data, domid=1, at=ARGUMENTS):
        """Put arguments into the domain's memory; returns their address."""
        self.hv.arena.write(self.mfn(at, domid) << 12, data)
        return BASE + at * 4096

    def mmu(self, *requests, foreign=DOMID_SELF, domid=1):
        address = self.put(b"".join(pack("<QQ", *request) for request in requests), domid)
        return self.call(Hypercall.mmu_update, address, len(requests), 0, foreign, domid=domid)

    def ext(self, *operations, foreign=DOMID_SELF, domid=1):
        data = b"".join(pack("<I4xQQ" if self.width == 64 else "<III", *(*operation, 0, 0)[:3])
                        for operation in operations)
        return self.call(Hypercall.mmuext_op, self.put(data, domid), len(operations), 0, foreign, domid=domid)

    def va(self, page, entry, flags=0, domid=1):
        address = BASE + page * 4096
        entries = (entry,) if self.width == 64 else (entry & 0xFFFFFFFF, entry >> 32)
        return self.call(Hypercall.update_va_mapping, address, *entries, flags, domid=domid)

    def entry(self, page, domid=1):
        """The L1 entry at the address of a page."""
        return self.u64[self.pv.l1_slot(self.callers[domid].vcpu, BASE + page * 4096)]

    def slot_address(self, page, domid=1):
        return self.pv.l1_slot(self.callers[domid].vcpu, BASE + page * 4096) << 3

    def protect(self, page, domid=1):
        return self.va(page, self.mfn(page, domid) << 12 | P | A, domid=domid)

    def type(self, page, domid=1):
        return PageType(self.pv.types.table.type[self.mfn(page, domid)])

    def count(self, page, domid=1):
        return self.pv.types.table.count[self.mfn(page, domid)]

    def refs(self, page, domid=1):
        return self.hv.frames.table.refs[self.mfn(page, domid)]

    # -- the accountant

    def check(self, extra=()):
        """Every count is what the tables say, and nothing writable leads to a live table.

        `extra` are (frame, has the writable type) of what others hold.
        """
        types, refs = Counter(), Counter()
        table, kinds, owners = self.pv.types.table, self.hv.frames.table.kind, self.hv.frames.table.owner
        for mfn, writable in extra:
            refs[mfn] += 1
            types[mfn] += writable
        vcpu = self.pv.vcpu_table
        held = [mfn for row in range(vcpu.rows) for mfn in (vcpu.kernel_cr3[row], vcpu.user_cr3[row]) if mfn]
        for kind in (GdtFrameTable, LdtFrameTable):
            held += [mfn for mfn in self.hv.state.table(kind).mfn if mfn]
        counts, kinds_of_use, flags = (numpy.frombuffer(column, code) for column, code in (
            (table.count, "u4"), (table.type, "u1"), (table.flags, "u1")))
        live = numpy.flatnonzero((counts > 0) & (kinds_of_use >= 1) & (kinds_of_use <= 4)).tolist()
        held += numpy.flatnonzero(flags & TypeFlag.PINNED).tolist()
        for mfn in held:
            types[mfn] += 1
            refs[mfn] += 1
        for holder in live:
            level = table.type[holder]
            width = self.hv.domains.width[owners[holder]]
            for index, entry in enumerate(self.u64[holder << 9:(holder << 9) + 512].tolist()):
                if not entry & P or not self.pv.entries.is_guest_slot(level, holder, index, width):
                    continue
                mfn = entry >> 12 & MFN
                if level > 1:
                    if mfn == holder:
                        continue
                    assert table.type[mfn] in (level - 1, level), "an entry names what is not the level below"
                    types[mfn] += 1
                elif entry & RW:
                    assert table.type[mfn] == PageType.WRITABLE, "a writable mapping of a live table"
                    types[mfn] += 1
                refs[mfn] += 1
                assert kinds[mfn], "an entry of a live table names a free frame"
                assert self.pv.nested.find(Domid(owners[holder]), mfn) is not None
        own = numpy.isin(numpy.frombuffer(owners, "u2"), list(self.first)) & (numpy.frombuffer(kinds, "u1") == 1)
        all_refs = numpy.frombuffer(self.hv.frames.table.refs, "u4")
        for mfn in numpy.flatnonzero(own & ((counts > 0) | (all_refs > 0))).tolist():
            assert (table.count[mfn], int(all_refs[mfn])) == (types[mfn], refs[mfn]), (
                f"types and references of page {mfn - self.first[owners[mfn]]} of domain {owners[mfn]}")
        assert all(counts[mfn] for mfn in types if types[mfn])
