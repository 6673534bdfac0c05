"""The FIFO ABI: a word a port in pages of the guest's, and sixteen queues a vCPU whose heads the guest has.

Semantics: the FIFO part of xen/event_channel.h, and xen/common/event_fifo.c of Xen 4.17.  An event that becomes
pending is linked behind the tail of its port's queue, unless its port is masked or is in a queue already; the guest
takes it out at the head.  Where a queue runs empty the guest sees it in the word of the last event alone, so the tail
that is kept here counts only while that word is still linked.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, TypeVar

from abi.errno import Errno, XenError
from abi.event_channel import (
    EVTCHN_FIFO_CONTROL_BLOCK,
    EVTCHN_FIFO_LINK_MASK,
    EVTCHN_FIFO_LINKED,
    EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS,
    EVTCHN_FIFO_PENDING,
    EVTCHN_FIFO_PRIORITY_DEFAULT,
    EVTCHN_FIFO_PRIORITY_MIN,
)
from abi.types import PAGE_SHIFT, PAGE_SIZE, Domid, Mfn, Port, VcpuRow
from hypervisor.event_channel_abi import EventTrace, Upcalls
from hypervisor.event_channel_tables import PORTS
from hypervisor.tables import DomainTable
from state.arena import Arena
from state.table import Table

WORDS = PAGE_SIZE // 4
"""Ports that a page of the array has words for."""
MOST_PAGES = EVTCHN_FIFO_NR_CHANNELS // WORDS
CONTROL_SIZE = EVTCHN_FIFO_CONTROL_BLOCK.at(64).size
_HEADS = EVTCHN_FIFO_CONTROL_BLOCK.at(64).offset["head"] >> 2
T = TypeVar("T", bound=Table)
_PENDING, _MASKED, _LINKED = 1 << EVTCHN_FIFO_PENDING, 1 << EVTCHN_FIFO_MASKED, 1 << EVTCHN_FIFO_LINKED


class FifoDomainTable(Table):
    """Row = domid."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"pages": "H"}
    pages: "memoryview[int]"
    """Pages of its array of words."""


class FifoPageTable(Table):
    """MOST_PAGES rows a domain: the pages of its array, each held with the right to write to it."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"mfn": "I"}
    mfn: "memoryview[int]"


class FifoVcpuTable(Table):
    """Row = vCPU row."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"control": "Q"}
    control: "memoryview[int]"
    """Machine address of its control block, whose page is held; 0 where it has none."""


class FifoQueueTable(Table):
    """EVTCHN_FIFO_MAX_QUEUES rows a vCPU."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"tail": "I"}
    tail: "memoryview[int]"
    """The port that was linked last; 0 where none was."""


class FifoPortTable(Table):
    """Row = `channel_row`."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"priority": "B", "last_priority": "B", "last_vcpu": "H", "saved": "B"}
    priority: "memoryview[int]"
    last_priority: "memoryview[int]"
    last_vcpu: "memoryview[int]"
    """With `last_priority`: the queue in which the port was last."""
    saved: "memoryview[int]"
    """An event came while the port had no word yet."""


class State(Protocol):
    """`host_state.HostState`, which has all of the above."""

    def table(self, kind: type[T]) -> T: ...


class FifoTables:
    """All of the above.  `put_page(mfn)` lets a page of a guest's go."""

    def __init__(self, state: State, put_page: Callable[[Mfn], None]) -> None:
        table = state.table
        self.domains, self.pages, self.vcpus = table(FifoDomainTable), table(FifoPageTable), table(FifoVcpuTable)
        self.queues, self.ports, self.put_page = table(FifoQueueTable), table(FifoPortTable), put_page


class Fifo:
    """The `EventAbi` of domains that called EVTCHNOP_init_control."""

    def __init__(self, domains: DomainTable, tables: FifoTables, arena: Arena, upcalls: Upcalls,
                 trace: EventTrace | None) -> None:
        self._vcpu_base, self._vcpu_count = domains.vcpu_base, domains.vcpu_count
        self._pages, self._page = tables.domains.pages, tables.pages.mfn
        self._control, self._tail = tables.vcpus.control, tables.queues.tail
        self._ports, self._put_page = tables.ports, tables.put_page
        self._u32, self._upcalls, self._trace = arena.u32, upcalls, trace

    def max_ports(self, domid: Domid) -> int:
        return EVTCHN_FIFO_NR_CHANNELS

    # -- the guest's pages

    def add_control_block(self, vcpu: VcpuRow, address: int) -> None:
        """A vCPU's control block is at a machine address.  Raises XenError(EINVAL) where it has one."""
        if self._control[vcpu]:
            raise XenError(Errno.EINVAL)
        self._control[vcpu] = address

    def room_for_page(self, domid: Domid) -> int:
        """Which page of the array comes next.  Raises XenError(ENOSPC) where there are enough."""
        if self._pages[domid] >= MOST_PAGES:
            raise XenError(Errno.ENOSPC)
        return self._pages[domid]

    def add_page(self, domid: Domid, mfn: Mfn) -> range:
        """The array has one more page; gives the ports that it has words for."""
        slot = self._pages[domid]
        self._page[domid * MOST_PAGES + slot] = mfn
        self._pages[domid] = slot + 1
        return range(slot * WORDS, min((slot + 1) * WORDS, PORTS))

    def destroy(self, domid: Domid) -> None:
        """The domain dies, or goes back to the 2-level ABI: it gets its pages back."""
        first = domid * MOST_PAGES
        for at in range(first, first + self._pages[domid]):
            self._put_page(Mfn(self._page[at]))
            self._page[at] = 0
        self._pages[domid] = 0
        for row in range(self._vcpu_base[domid], self._vcpu_base[domid] + self._vcpu_count[domid]):
            if self._control[row]:
                self._put_page(Mfn(self._control[row] >> PAGE_SHIFT))
                self._control[row] = 0
            for queue in range(row * EVTCHN_FIFO_MAX_QUEUES, (row + 1) * EVTCHN_FIFO_MAX_QUEUES):
                self._tail[queue] = 0
        for port in range(domid * PORTS, (domid + 1) * PORTS):
            if self._ports.saved[port] or self._ports.priority[port]:
                self._ports.clear(port)

    # -- ports

    def prepare(self, domid: Domid, port: Port) -> None:
        row = domid * PORTS + port
        self._ports.priority[row], self._ports.saved[row] = EVTCHN_FIFO_PRIORITY_DEFAULT, 0

    def save(self, domid: Domid, port: Port) -> None:
        """An event of the time before this ABI."""
        self._ports.saved[domid * PORTS + port] = 1

    def saved(self, domid: Domid, port: Port) -> bool:
        """Whether an event waits for the port's word; it does no longer."""
        row = domid * PORTS + port
        waits, self._ports.saved[row] = self._ports.saved[row], 0
        return bool(waits)

    def is_busy(self, domid: Domid, port: Port) -> bool:
        at = self._word(domid, port)
        return bool(at and self._u32[at] & _LINKED)

    def set_pending(self, domid: Domid, vcpu: VcpuRow, port: Port) -> None:
        at = self._word(domid, port)
        if not at:
            self._ports.saved[domid * PORTS + port] = 1
            return
        word = self._u32[at]
        self._u32[at] = word | _PENDING
        if not word & (_MASKED | _LINKED):
            self._link(domid, vcpu, port, at)
        if not word & _PENDING:
            if self._trace is not None:
                self._trace(domid, port)
            self._upcalls.check_pollers(domid, port)

    def clear_pending(self, domid: Domid, port: Port) -> None:
        at = self._word(domid, port)
        self._ports.saved[domid * PORTS + port] = 0
        if at:
            self._u32[at] &= ~_PENDING

    def unmask(self, domid: Domid, vcpu: VcpuRow, port: Port) -> None:
        at = self._word(domid, port)
        if at:
            self._u32[at] &= ~_MASKED
            if self._u32[at] & _PENDING:
                self.set_pending(domid, vcpu, port)

    def is_pending(self, domid: Domid, port: Port) -> bool:
        at = self._word(domid, port)
        return bool(at and self._u32[at] & _PENDING)

    def is_masked(self, domid: Domid, port: Port) -> bool:
        at = self._word(domid, port)
        return bool(not at or self._u32[at] & _MASKED)

    def set_priority(self, domid: Domid, port: Port, priority: int) -> None:
        if priority > EVTCHN_FIFO_PRIORITY_MIN:
            raise XenError(Errno.EINVAL)
        self._ports.priority[domid * PORTS + port] = priority  # where it is linked already, it stays

    def _word(self, domid: Domid, port: int) -> int:
        """The index in `arena.u32` of the port's word; 0 where it has none."""
        slot = port // WORDS
        if slot >= self._pages[domid]:
            return 0
        return self._page[domid * MOST_PAGES + slot] << PAGE_SHIFT - 2 | port % WORDS

    def _link(self, domid: Domid, vcpu: VcpuRow, port: Port, at: int) -> None:
        control = self._control[vcpu] >> 2
        if not control:  # a guest must not open a port for a vCPU that has none: the event is lost, as in Xen
            return
        u32, tail, row = self._u32, self._tail, domid * PORTS + port
        u32[at] |= _LINKED
        ports = self._ports
        priority = ports.priority[row]
        queue = vcpu * EVTCHN_FIFO_MAX_QUEUES + priority
        before = ((self._vcpu_base[domid] + ports.last_vcpu[row]) * EVTCHN_FIFO_MAX_QUEUES + ports.last_priority[row])
        if tail[before] == port:  # that queue is empty now, and nothing may be linked behind this port in it
            tail[before] = 0
        if before != queue:
            ports.last_vcpu[row], ports.last_priority[row] = vcpu - self._vcpu_base[domid], priority
        last = tail[queue]
        linked = False
        if last:
            behind = self._word(domid, last)
            linked = bool(u32[behind] & _LINKED)
            if linked:
                u32[behind] = u32[behind] & ~EVTCHN_FIFO_LINK_MASK | port
        if not linked:
            u32[control + _HEADS + priority] = port
        tail[queue] = port
        if not linked and not u32[control] >> priority & 1:
            u32[control] |= 1 << priority
            self._upcalls.mark_events_pending(vcpu)
