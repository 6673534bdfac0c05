"""What the handlers and the dispatcher of this folder need of the host: `hypervisor.Hypervisor` has all of it."""

from typing import TYPE_CHECKING, Protocol

from abi.types import Domid, Gfn, Mfn, VcpuRow
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.trace import Trace
from hypervisor.unimplemented import Unimplemented

if TYPE_CHECKING:
    from hypervisor.console_io import ConsoleLines
    from hypervisor.dispatch import Dispatcher
    from hypervisor.hvm_params import HvmParams
    from hypervisor.vm_assist import AssistTable
    from hypervisor.xen_version import XenVersion


class Lookup(Protocol):
    """The p2m, as far as queries go."""

    def lookup(self, domid: Domid, gfn: Gfn) -> "tuple[Mfn, int]":
        """Frame and type of a page.  Raises KeyError or XenError where there is none."""


class Host(Protocol):
    @property
    def domains(self) -> DomainTable: ...
    @property
    def vcpus(self) -> VcpuTable: ...
    @property
    def memory(self) -> Lookup: ...
    @property
    def params(self) -> "HvmParams": ...
    @property
    def assists(self) -> "AssistTable": ...
    @property
    def console_lines(self) -> "ConsoleLines": ...
    @property
    def version(self) -> "XenVersion": ...
    @property
    def trace(self) -> Trace: ...
    @property
    def unimplemented(self) -> Unimplemented: ...
    @property
    def dispatcher(self) -> "Dispatcher": ...

    def log(self, domid: Domid, text: str) -> None:
        """A line of the hypervisor's own log, about or for `domid`."""

    def join(self, row: VcpuRow, other: Domid) -> None:
        """The current vCPU's call goes on in the next round, in one group with domain `other`."""

    def latch_width(self, domid: Domid, width: int) -> None:
        """The domain's shared_info is laid out for `width` bits from now on (Xen's hvm_latch_shinfo_size)."""
