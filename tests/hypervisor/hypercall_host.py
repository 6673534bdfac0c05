"""A small host for tests of hypercalls: real tables, guest memory that is a plain array, a log that is a list."""

from collections.abc import Iterable
from typing import Any

from abi.errno import Errno, XenError
from abi.types import Domid, Gfn, Mfn, VcpuRow
from grants.interfaces import P2mType
from hypervisor.console_io import ConsoleLines
from hypervisor.dispatch import Dispatcher
from hypervisor.hvm_params import ROWS_A_DOMAIN, HvmParams, ParamTable, UpcallVectorTable
from hypervisor.hypercalls import ROWS, Row
from hypervisor.tables import DomainState, DomainTable, GuestKind, RunState, VcpuTable
from hypervisor.trace import Trace
from hypervisor.unimplemented import Unimplemented
from hypervisor.vm_assist import AssistTable
from hypervisor.xen_version import XenVersion

SIZE = 0x10000
"""Bytes of each guest's memory, from address 0; only READ_ONLY bytes at the end cannot be written."""
READ_ONLY = 0x1000


class FlatMemory:
    """Guest memory without page tables."""

    def __init__(self) -> None:
        self.bytes = bytearray(SIZE)

    def read(self, address: int, size: int) -> bytes:
        if address + size > SIZE:
            raise XenError(Errno.EFAULT)
        return bytes(self.bytes[address:address + size])

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) > SIZE - READ_ONLY:
            raise XenError(Errno.EFAULT)
        self.bytes[address:address + len(data)] = data


class Caller:
    """A vCPU, as far as a hypercall sees it."""

    def __init__(self, domid: int, vcpu: int, width: int = 64) -> None:
        self.domid, self.vcpu, self.width = Domid(domid), VcpuRow(vcpu), width
        self.memory = FlatMemory()


class RestartableCaller(Caller):
    """A vCPU that can be left at its hypercall instruction."""

    restarted_with: tuple[int, ...] | None = None

    def restart(self, arguments: tuple[int, ...]) -> None:
        self.restarted_with = arguments


class Pages:
    """The p2m of every domain: page 1 writable, page 2 read-only, page 3 a grant, page 4 a device."""

    _TYPES = (None, P2mType.RAM_RW, P2mType.RAM_RO, P2mType.GRANT_MAP_RW, P2mType.MMIO_DIRECT)

    def lookup(self, domid: Domid, gfn: Gfn) -> tuple[Mfn, P2mType]:
        kind = self._TYPES[gfn] if gfn < len(self._TYPES) else None
        if kind is None:
            raise XenError(Errno.ENOENT)
        return Mfn(gfn), kind


class SmallHost:
    """Domain 0 is the host's seat, 1 a PVH guest with two vCPUs, 2 a 64-bit PV guest, 3 a PVH guest; 4 is dead."""

    def __init__(self, rows: Iterable[Row] = ROWS, version: str = "4.17") -> None:
        self.lines: list[tuple[int, str]] = []
        self.widths: list[tuple[int, int]] = []
        self.domains, self.vcpus = DomainTable.private(8), VcpuTable.private(8)
        kinds = (GuestKind.HOST, GuestKind.PVH, GuestKind.PV, GuestKind.PVH, GuestKind.PVH)
        bases = (0, 1, 3, 4, 5)
        for domid, (kind, base, count) in enumerate(zip(kinds, bases, (1, 2, 1, 1, 0), strict=True)):
            self.domains.state[domid] = DomainState.RUNNING if count else DomainState.DEAD
            self.domains.kind[domid], self.domains.width[domid] = kind, 64
            self.domains.vcpu_base[domid], self.domains.vcpu_count[domid] = base, count
            for vcpu_id in range(count):
                row = base + vcpu_id
                self.vcpus.domid[row], self.vcpus.vcpu_id[row] = domid, vcpu_id
                self.vcpus.runstate[row], self.vcpus.local_time[row] = RunState.RUNNING, 1_000_000
        self.domains.privileged[0] = 1
        self.memory = Pages()
        self.params = HvmParams(ParamTable.private(8 * ROWS_A_DOMAIN), UpcallVectorTable.private(8))
        self.assists = AssistTable.private(8)
        self.version = XenVersion(version)
        self.trace = Trace()
        self.unimplemented = Unimplemented(self.log)
        self.console_lines = ConsoleLines(self.log)
        self.dispatcher = Dispatcher(self, rows)

    def log(self, domid: Domid, text: str) -> None:
        self.lines.append((domid, text))

    def latch_width(self, domid: Domid, width: int) -> None:
        self.domains.width[domid] = width
        self.widths.append((domid, width))

    def call(self, number: int, *arguments: int, caller: Any = None) -> int:
        """Make a hypercall as domain 1 and give the result as a signed number."""
        caller = caller or Caller(1, 1)
        result = self.dispatcher.dispatch(caller, number, *arguments)
        return result - (1 << caller.width) if result >> (caller.width - 1) else result
