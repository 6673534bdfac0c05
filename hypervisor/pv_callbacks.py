"""Where Xen enters a PV guest: set_trap_table, callback_op, and the older set_callbacks (xen/xen.h, xen/callback.h).

Checks and errors are those of Xen 4.17 (xen/arch/x86/pv/callback.c).  An address of a 64-bit guest has to be canonical;
one of a 32-bit guest comes with a code selector, which is kept out of Xen's privilege.
"""

from typing import Protocol

from abi.callback import CALLBACK_REGISTER, CALLBACK_UNREGISTER, CALLBACKF_mask_events, CallbackOp, CallbackType
from abi.errno import Errno, XenError
from abi.types import VcpuRow
from abi.x86 import TRAP_INFO
from hypervisor.call import Call
from hypervisor.pv_nmi import register_nmi, unregister_nmi
from hypervisor.pv_tables import TRAPS, PvVcpuTable, TrapTable, VcpuFlag
from hypervisor.tables import DomainTable

_CANONICAL = (0, 0x1FFFF)
_MASKS = {CallbackType.failsafe: VcpuFlag.FAILSAFE_DISABLES_EVENTS,
          CallbackType.syscall: VcpuFlag.SYSCALL_DISABLES_EVENTS,
          CallbackType.syscall32: VcpuFlag.SYSCALL32_DISABLES_EVENTS,
          CallbackType.sysenter: VcpuFlag.SYSENTER_DISABLES_EVENTS}
_RING1_CS, _RESERVED_SELECTORS = 0xE019, 0xE000


class Host(Protocol):
    """What these hypercalls need of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def pv_vcpus(self) -> PvVcpuTable: ...
    @property
    def traps(self) -> TrapTable: ...


def fixed_code_selector(width: int, selector: int) -> int:
    """A code selector as Xen lets a guest have it (fixup_guest_code_selector): ring 1 or 3, never 0 or 2."""
    if width == 64:
        return selector
    rpl = 1 if selector & 3 in (0, 1) else selector & 3
    selector = selector & ~3 | (3 if rpl == 2 else rpl)
    # Of Xen's own descriptors a guest enters by the one of its ring alone.
    return selector if selector & ~7 < _RESERVED_SELECTORS or selector & 3 != 1 else _RING1_CS


def set_trap_table(hv: Host, call: Call, traps: int) -> int:
    """Entries until one with address 0; address 0 as the argument clears all of them.  EINVAL, EFAULT."""
    table, first, shape = hv.traps, call.vcpu * TRAPS, TRAP_INFO.at(call.width)
    if not traps:
        clear_traps(table, call.vcpu)
        return 0
    while True:
        vector, flags, cs, address = shape.unpack(call.memory.read(traps, shape.size))
        if not address:
            return 0
        if call.width == 64 and address >> 47 not in _CANONICAL:
            raise XenError(Errno.EINVAL)
        at = first + vector
        table.cs[at], table.flags[at], table.address[at] = fixed_code_selector(call.width, cs), flags, address
        traps += shape.size


def clear_traps(table: TrapTable, row: VcpuRow) -> None:
    """A vCPU without a trap table."""
    for at in range(row * TRAPS, (row + 1) * TRAPS):
        table.cs[at] = table.flags[at] = table.address[at] = 0


def callback_op(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """Register and unregister.  EINVAL for an unknown type or address, ENOSYS for an unknown command, EFAULT."""
    command = cmd & 0xFFFFFFFF
    if command == CallbackOp.register:
        shape = CALLBACK_REGISTER.at(call.width)
        kind, flags, *address = shape.unpack(call.memory.read(arg, shape.size))
        return register(hv, call, kind, flags, address[0] if len(address) > 1 else 0, address[-1])
    if command == CallbackOp.unregister:
        shape = CALLBACK_UNREGISTER.at(call.width)
        kind = shape.unpack(call.memory.read(arg, shape.size))[0]
        if kind in (CallbackType.event, CallbackType.failsafe, CallbackType.syscall, CallbackType.sysenter_deprecated,
                    CallbackType.sysenter, CallbackType.syscall32) and not _allowed(call.width, kind):
            raise XenError(Errno.EINVAL)
        if kind == CallbackType.nmi:
            unregister_nmi(hv, call)
            return 0
        raise XenError(Errno.EINVAL)  # the others cannot be withdrawn
    raise XenError(Errno.ENOSYS)


def _allowed(width: int, kind: int) -> bool:
    """Which callbacks such a guest has."""
    return kind != CallbackType.syscall if width == 32 else True


def register(hv: Host, call: Call, kind: int, flags: int, cs: int, ip: int) -> int:
    """CALLBACKOP_register of the calling vCPU."""
    table, row, wide = hv.pv_vcpus, call.vcpu, call.width == 64
    if wide and ip >> 47 not in _CANONICAL:
        raise XenError(Errno.EINVAL)
    selector = fixed_code_selector(call.width, cs & 0xFFFF)
    if kind == CallbackType.event:
        table.event_cs[row], table.event_ip[row] = selector, ip
    elif kind == CallbackType.failsafe:
        table.failsafe_cs[row], table.failsafe_ip[row] = selector, ip
    elif kind == CallbackType.syscall and wide:
        table.syscall_ip[row] = ip
    elif kind == CallbackType.syscall32:
        table.syscall32_cs[row], table.syscall32_ip[row] = selector, ip
    elif kind in (CallbackType.sysenter, CallbackType.sysenter_deprecated):
        if kind == CallbackType.sysenter_deprecated and wide:
            raise XenError(Errno.EINVAL)
        table.sysenter_cs[row], table.sysenter_ip[row] = selector, ip
        kind = CallbackType.sysenter
    elif kind == CallbackType.nmi:
        register_nmi(hv, call, ip)
    else:
        raise XenError(Errno.EINVAL)
    bit = _MASKS.get(CallbackType(kind))
    if bit is not None:
        masks = bool(flags & CALLBACKF_mask_events)
        table.flags[row] = table.flags[row] & ~int(bit) | (int(bit) if masks else 0)
    return 0


def set_callbacks(hv: Host, call: Call, *arguments: int) -> int:
    """The old form: event, failsafe and, 64-bit, syscall addresses; 32-bit guests give selectors before addresses."""
    if call.width == 64:
        event, failsafe, syscall = arguments
        # Before anything is set Xen looks at no address but the one it is setting.
        register(hv, call, CallbackType.event, 0, 0, event)
        if failsafe:
            register(hv, call, CallbackType.failsafe, 0, 0, failsafe)
        register(hv, call, CallbackType.syscall, 0, 0, syscall)
        return 0
    event_cs, event, failsafe_cs, failsafe = arguments
    register(hv, call, CallbackType.event, 0, event_cs, event)
    register(hv, call, CallbackType.failsafe, 0, failsafe_cs, failsafe)
    return 0
