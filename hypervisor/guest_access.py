"""What Xen checks of a guest's pointer before it looks what is there (asm/guest_access.h, asm/uaccess.h)."""

from abi import x86_32, x86_64
from hypervisor.call import Call
from hypervisor.tables import DomainTable, GuestKind

_LOWER_HALF = 1 << 47


def guest_handle_okay(domains: DomainTable, call: Call, address: int, size: int) -> bool:
    """May a structure of `size` bytes be at `address`?  Only PV guests share their addresses with the hypervisor."""
    if domains.kind[call.domid] == GuestKind.PVH:
        return True
    if call.width == 64:
        return address < _LOWER_HALF or address >= x86_64.HYPERVISOR_VIRT_END
    return address + size <= x86_32.HYPERVISOR_VIRT_START
