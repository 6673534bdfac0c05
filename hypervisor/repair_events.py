"""Event channels and vCPUs after a process died in the middle of anything: no port leads to the dead, and who has an
event hears of it.

A notification is a bit, a selector, an upcall, a vCPU that wakes; whoever dies between two of these leaves a vCPU that
sleeps for ever, because the next sender finds the first bit set and goes no further.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy

from abi.types import NEVER, Domid, VcpuRow
from abi.xen import NR_VIRQS
from hypervisor.event_channel_2l import MASK, PENDING
from hypervisor.event_channel_abi import SELECTOR
from hypervisor.event_channel_tables import (
    NO_PORT,
    PORTS,
    ChannelState,
    EventAbiNumber,
    EventChannelTable,
    PortSpaceTable,
    VirqTable,
)
from hypervisor.references import column
from hypervisor.sched import SHUT_DOWN
from hypervisor.tables import DomainState, DomainTable, RunState, VcpuTable
from hypervisor.vcpu_timer import VcpuTimers

if TYPE_CHECKING:
    from hypervisor.host_state import HostState

_HOST = Domid(0)
_RUNNING = int(DomainState.RUNNING)


class EventRepair:
    """Channels and vCPUs of one host, for who holds still all of it.  `wake` makes a blocked vCPU runnable."""

    def __init__(self, state: "HostState", timers: VcpuTimers, wake: Callable[[VcpuRow], None]) -> None:
        table = state.table
        self._channels, self._spaces, self._virqs = table(EventChannelTable), table(PortSpaceTable), table(VirqTable)
        self._domains, self._vcpus, self._u8 = table(DomainTable), table(VcpuTable), state.arena.u8
        self._timers, self._wake = timers, wake
        self._state = column(self._channels.state, numpy.uint8)
        self._remote, self._peer = column(self._channels.remote_dom, numpy.uint16), column(self._channels.remote_port,
                                                                                           numpy.uint32)
        self._consumer = column(self._channels.consumer, numpy.uint8)

    def forget(self, domid: Domid) -> None:
        """The domain is dead: it has no ports, and its vCPUs will not run."""
        for name, code in self._channels.COLUMNS.items():
            column(getattr(self._channels, name), code)[domid * PORTS:(domid + 1) * PORTS] = 0
        self._spaces.valid[domid] = 0
        self._spaces.abi[domid] = EventAbiNumber.TWO_LEVEL
        vcpus = self._vcpus
        for row in self._rows(domid):
            self._virqs.port[row * NR_VIRQS:(row + 1) * NR_VIRQS] = memoryview(bytes(4 * NR_VIRQS)).cast("I")
            vcpus.info[row] = vcpus.info_registered[row] = vcpus.wish[row] = 0
            vcpus.paused[row] |= SHUT_DOWN
            vcpus.due[row] = NEVER
            vcpus.runstate[row] = RunState.OFFLINE

    def run(self, ended: set[Domid]) -> int:
        """Put right what the living see; how many ports and vCPUs were wrong."""
        wrong = 0
        for domid in range(self._domains.rows):
            if self._domains.state[domid] == _RUNNING and not self._domains.released[domid]:
                wrong += self._let_go(Domid(domid), ended)
                if domid != _HOST:
                    wrong += sum(self._mend_vcpu(VcpuRow(row)) for row in self._rows(Domid(domid)))
                    wrong += self._tell(Domid(domid))
        return wrong

    def _let_go(self, domid: Domid, ended: set[Domid]) -> int:
        """Ports that lead to one of the dead wait for it again; the hypervisor's own that wait for one are closed."""
        first = domid * PORTS
        part = slice(first, first + self._spaces.valid[domid])
        state, remote = self._state[part], self._remote[part]
        to_dead = numpy.isin(remote, list(ended))
        bound = (state == ChannelState.INTERDOMAIN) & to_dead
        state[bound] = ChannelState.UNBOUND
        self._peer[part][bound] = NO_PORT
        free = state == ChannelState.FREE
        if domid == _HOST:
            free |= (state == ChannelState.UNBOUND) & to_dead & (self._consumer[part] != 0)
        for name, code in self._channels.COLUMNS.items():
            column(getattr(self._channels, name), code)[part][free] = 0
        return int(bound.sum()) if domid != _HOST else 0

    def _mend_vcpu(self, row: VcpuRow) -> int:
        """A vCPU that somebody was just waking: it is awake if its state says so."""
        vcpus = self._vcpus
        state, paused, now = vcpus.runstate[row], vcpus.paused[row], vcpus.local_time[row]
        # Its times add up to that of its last change of state, which is written after them.
        spent = vcpus.time_running[row] + vcpus.time_runnable[row] + vcpus.time_blocked[row] + vcpus.time_offline[row]
        vcpus.state_entry_time[row] = max(vcpus.state_entry_time[row], spent)
        if state != RunState.BLOCKED:
            vcpus.poll_port[row] = 0
            vcpus.poll_deadline[row] = NEVER
        due = NEVER
        if not paused and state == RunState.RUNNABLE:
            due = now
        elif not paused and state == RunState.BLOCKED:
            due = max(now, self._timers.next_waiting(row))
        wrong = vcpus.due[row] != due
        vcpus.due[row] = due
        return wrong

    def _tell(self, domid: Domid) -> int:
        """Give the notifications of all that is pending and not masked once more.  Spurious ones do no harm."""
        info, width = self._domains.shared_info[domid], self._domains.width[domid]
        ports = min(self._spaces.valid[domid], PORTS if width == 64 else PORTS // 4)
        if not info or not ports:
            return 0
        pending = self._bits(info + PENDING, ports)
        part = slice(domid * PORTS, domid * PORTS + ports)
        pending &= (self._state[part] > ChannelState.RESERVED) & (self._consumer[part] == 0)
        masked = self._bits(info + MASK[width], ports)
        wrong, base = 0, self._domains.vcpu_base[domid]
        for port in numpy.flatnonzero(pending & ~masked).tolist():
            wrong += self._select(VcpuRow(base + self._channels.notify_vcpu[part.start + port]), width, port // width)
        for row in self._rows(domid):
            polled = self._vcpus.poll_port[row]
            if polled and (pending[polled] if 0 < polled < ports else polled < 0 and pending.any()):
                self._wake(VcpuRow(row))
                wrong += 1
        return wrong

    def _select(self, row: VcpuRow, width: int, word: int) -> int:
        info, u8 = self._vcpus.info[row], self._u8
        if not info:
            return 0
        at, bit = info + SELECTOR[width] + (word >> 3), 1 << (word & 7)
        told = bool(u8[at] & bit and u8[info] & 1 and self._vcpus.runstate[row] != RunState.BLOCKED)
        u8[at] |= bit
        u8[info] |= 1
        self._wake(row)
        return not told

    def _bits(self, address: int, count: int) -> "numpy.typing.NDArray[numpy.bool_]":
        data = numpy.frombuffer(self._u8[address:address + (count + 7) // 8], numpy.uint8)
        return numpy.unpackbits(data, bitorder="little")[:count].astype(bool)

    def _rows(self, domid: Domid) -> range:
        first = self._domains.vcpu_base[domid]
        return range(first, first + self._domains.vcpu_count[domid])
