"""A host with one PV domain, and an independent eye on its page tables."""

from mmap import mmap
from struct import unpack_from
from typing import NamedTuple

from abi.types import Domid
from abi.xen import START_INFO
from clock.source import VirtualClock
from clock.wallclock import Wallclock
from domains.pv_builder import build_pv
from hypervisor.domain import DomainSpec, create_domain, create_host_seat
from hypervisor.host_state import HostShape, HostState
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import GuestKind
from hypervisor.xen_version import XenVersion

A = Domid(1)
_FRAME = 0x000FFFFFFFFFF000


class Io:
    """Keeps what would be shown."""

    def __init__(self):
        self.lines, self.written = [], b""

    def log(self, text):
        self.lines.append(text)

    def console(self, domid, data):
        self.written += data

    def ended(self, domid, reason, detail):
        self.lines.append(f"d{domid} ended: {reason} {detail}")


class Page(NamedTuple):
    """What the processor finds for a page."""

    frame: int
    writable: bool
    user: bool


class PvHost:
    def __init__(self, pages):
        shape = HostShape(2, 3, pages * 4096)
        self.hv = Hypervisor(HostState(memoryview(mmap(-1, shape.size)), shape), VirtualClock(1_000_000_000),
                             XenVersion("4.17"), Wallclock(1_700_000_000, 0), Io())
        self.hv.format()
        create_host_seat(self.hv)
        create_domain(self.hv, DomainSpec(A, GuestKind.PV, pages, 2, 1, awaited=False))
        self.pages = pages

    def build(self, kernel, **options):
        self.built = build_pv(self.hv, A, kernel, **options)
        self.first = self.built.first
        return self.built

    def read(self, address, size):
        """Bytes at a virtual address, through the page tables."""
        data = b""
        while size:
            here = min(size, 4096 - (address & 0xFFF))
            page = self.page(address)
            data += self.hv.arena.read(page.frame << 12 | address & 0xFFF, here)
            address, size = address + here, size - here
        return data

    def start_info(self):
        shape = START_INFO.at(self.built.start.width)
        return shape.named(self.read(self.built.start.rsi, shape.size))

    def page(self, address):
        return self.walk()[address & -4096]

    def walk(self):
        """Every page below Xen's part that the tables map: virtual address -> Page."""
        width, found = self.built.start.width, {}
        self._table(self.built.start.cr3, 4 if width == 64 else 3, 0, True, True, width, found)
        return found

    def tables(self):
        """Frame -> level of everything that the tables are made of, the hypervisor's left out."""
        found = {}
        self._collect(self.built.start.cr3, 4 if self.built.start.width == 64 else 3, found)
        return found

    def _entries(self, frame, level):
        count = 4 if level == 3 and self.built.start.width == 32 else 512
        for index, entry in enumerate(unpack_from(f"<{count}Q", self.hv.arena.read(frame << 12, 4096))):
            hidden = level == 4 and 256 <= index < 272
            if entry & 1 and not hidden:
                yield index, entry

    def _collect(self, frame, level, found):
        assert found.setdefault(frame, level) == level
        for _, entry in self._entries(frame, level):
            below = (entry & _FRAME) >> 12
            if level > 1 and self.hv.frames.owner(below) == A:
                assert entry & 0x80 == 0
                self._collect(below, level - 1, found)

    def _table(self, frame, level, base, writable, user, width, found):
        for index, entry in self._entries(frame, level):
            at = base | index << 12 + 9 * (level - 1)
            if level == 4 and index >= 256:
                at |= 0xFFFF << 48
            if width == 32 and at >= 0xF5800000:
                continue
            pae_top = width == 32 and level == 3
            may_write = writable and (pae_top or bool(entry & 2))
            is_user = user and (pae_top or bool(entry & 4))
            if level > 1:
                self._table((entry & _FRAME) >> 12, level - 1, at, may_write, is_user, width, found)
            else:
                found[at] = Page((entry & _FRAME) >> 12, may_write, is_user)
