"""What a hypercall handler is given."""

from typing import Protocol

from abi.types import Domid, VcpuRow


class GuestMemory(Protocol):
    """The calling vCPU's memory, by guest-linear address, through its own page tables (Xen's copy_from/to_guest)."""

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes.  Raises XenError(EFAULT) where any byte is not readable by the guest."""

    def write(self, address: int, data: bytes) -> None:
        """Store `data`.  Raises XenError(EFAULT) where any byte is not writable by the guest.

        As in Xen, bytes before the faulting page are stored.
        """


class Call(Protocol):
    """The caller of a hypercall.  One object a vCPU, used again for every call."""

    domid: Domid
    vcpu: VcpuRow
    width: int
    """32 or 64: the mode in which the call was made, hence the layout of its arguments."""

    @property
    def memory(self) -> GuestMemory:
        """The caller's memory."""

    def event_deliverable(self) -> bool:
        """Would this vCPU take an upcall at once, if it went on now (Xen's local_events_need_delivery)?"""
