"""Batons that a process hands to one on another node itself, and takes from there, where nothing but bytes has changed.

    process -> link -> process

Whatever is not plain goes by the nodes' agents: who gives asks `Lanes.give` first, and what comes and does not fit is
shown to this node's agent.  Not plain are hand-overs in which ranges were added or removed, the teams were formed anew,
the cold part of another node's domain has been borrowed, or a node has not been told of the round.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

from domains.lane import MOST, Lane
from domains.native_cells import native_library
from domains.seat import HYPERVISOR, BatonTable
from hypervisor.host_state import HostTable
from state.ranges import CELL

_ENTRY, _PIECE = 12, 32
"""Bytes of a struct entry, and of a struct piece."""


class Wire(Protocol):
    """A process's links to processes on other nodes, which are numbered as in the baton's table."""

    port: int
    """Where it listens."""
    bell: int
    """Who writes to this file of the process ends its sleep."""

    def reaches(self, process: int, address: Any) -> bool:
        """Whether there is a link to a process, which listens there; it is made where there never was one.

        Another process may have had the number before, and listened somewhere else.
        """

    def send(self, process: int, message: bytes) -> None:
        """Send a message, which is lost where the process is."""

    def look(self, stop: Callable[[], int]) -> bytes | None:
        """The next message, looking for it for a moment where that helps; None where `stop()` says so before."""

    def receive(self, seconds: float) -> bytes | None:
        """The next message, sleeping so long for it, or until the bell rings."""

    def broken(self) -> bool:
        """Whether a link has ended; told once."""

    def close(self) -> None:
        """End all links: the process takes no part any more."""


class Agency(Protocol):
    """A process's ways to its node's agent."""

    def ring(self) -> None:
        """The agent has something to do."""

    def forward(self, message: bytes) -> None:
        """Let it see to a baton that has come, and return when it has."""


class Lanes:
    """The lane of process `me`'s team.

    `buffer` is the node's memory.  `make_wire(me, settings)` opens the links, with the settings that the lane was made
    with.
    """

    def __init__(self, table: BatonTable, me: int, host: HostTable, buffer: memoryview,
                 node: Agency, make_wire: Callable[[int, Any], Wire]) -> None:
        self._table, self._me, self._host, self._agent, self._make_wire = table, me, host, node, make_wire
        self._buffer = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
        self._made, self._lane = 0, None  # type: int, Lane | None
        self._addresses: dict[int, Any] = {}
        self.wire: Wire | None = None
        """Once the agent has wanted one."""

    def open(self) -> bool:
        """Whether there are links, or may be, for a baton to come by."""
        if self._table.made[self._me] != self._made:
            self._look_again()
        return self.wire is not None

    def close(self) -> None:
        """The process takes no part any more, and another may get its number."""
        if self.wire is not None:
            self.wire.close()

    def _look_again(self) -> None:
        """The agent has made a lane, or taken it down."""
        table, me = self._table, self._me
        self._made, self._lane = table.made[me], None
        file = table.lane[me]
        if not file:
            return
        try:
            self._lane = lane = Lane.open(f"/proc/{table.pid[HYPERVISOR]}/fd/{file}")
            if self.wire is None:
                self.wire = self._make_wire(me, lane.settings)
                table.bell[me] = self.wire.bell
                table.port[me] = self.wire.port
                self._agent.ring()
        except (OSError, ValueError):  # it is gone already, and its number may be another file's
            self._lane = None
            return
        self._addresses = {}
        library = native_library()
        self._collect, self._apply = library.domus_lane_collect, library.domus_lane_apply
        u64, pointer = ctypes.c_uint64, ctypes.c_void_p
        self._collect.restype, self._apply.restype = u64, ctypes.c_int
        self._collect.argtypes = pointer, pointer, u64, u64, u64, pointer, pointer, pointer, u64
        self._apply.argtypes = pointer, pointer, u64, u64, ctypes.c_char_p, u64, pointer
        self._at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(lane.bytes)))
        cells = lane.largest
        self._index, self._data = ctypes.create_string_buffer(cells * _ENTRY), ctypes.create_string_buffer(cells * CELL)
        self._out = ctypes.create_string_buffer(MOST)
        self._message = memoryview(self._out)
        self._pieces = ctypes.create_string_buffer(lane.parts * _PIECE)

    def _current(self) -> Lane | None:
        """The lane, where it is that of this round's teams."""
        table, host = self._table, self._host
        if table.made[self._me] != self._made:
            self._look_again()
        lane = self._lane
        if lane is None or table.told[HYPERVISOR] != host.round[0]:
            return None
        return lane if lane.topology == host.topology[0] == table.topology[HYPERVISOR] else None

    def collect(self, process: int) -> bytes | None:
        """The message with which the baton goes to a process on another node; None where the agents have to do it."""
        lane, wire, node = self._current(), self.wire, self._table.node[process]
        if lane is None or wire is None or not lane.ready(node):
            return None
        address = self._addresses.get(process)
        if address is None:
            self._addresses = lane.addresses()
            address = self._addresses.get(process)
        if address is None or not wire.reaches(process, address):
            return None
        length = self._collect(self._at, self._buffer, node, self._host.round[0], process, self._index, self._data,
                               self._out, MOST)
        if not length:
            return None
        lane.count(node, length)
        return bytes(self._message[:length])

    def take(self, message: bytes) -> bool:
        """A baton has come.  False where it is for the agent to say what becomes of it."""
        lane = self._current()
        if lane is not None and self._apply(self._at, self._buffer, self._host.round[0], self._me, message,
                                            len(message), self._pieces):
            return True
        self._agent.forward(message)
        return False
