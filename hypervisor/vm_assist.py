"""vm_assist: behaviour that a guest turns on (VMASST_TYPE_* of xen/xen.h)."""

from collections.abc import Mapping
from typing import ClassVar

from abi.errno import Errno, XenError
from abi.xen import VmAssist, VmAssistCommand
from hypervisor.call import Call
from hypervisor.host import Host
from hypervisor.tables import GuestKind
from state.table import Table

_HVM = 1 << VmAssist.runstate_update_flag
_PV64 = sum(1 << kind for kind in VmAssist)
_PV32 = _PV64 & 0xFFFFFFFF


class AssistTable(Table):
    """Row = domid; `bits` has bit VMASST_TYPE_* set where the assist is on."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"bits": "Q"}
    bits: "memoryview[int]"


def vm_assist(hv: Host, call: Call, cmd: int, kind: int) -> int:
    """EINVAL for an assist that such a guest cannot have, ENOSYS for a command that does not exist."""
    cmd, kind = cmd & 0xFFFFFFFF, kind & 0xFFFFFFFF
    domid = call.domid
    valid = _HVM
    if hv.domains.kind[domid] != GuestKind.PVH:
        valid = _PV32 if hv.domains.width[domid] == 32 else _PV64
    if kind >= 64 or not valid >> kind & 1:
        raise XenError(Errno.EINVAL)
    if cmd == VmAssistCommand.enable:
        hv.assists.bits[domid] |= 1 << kind
    elif cmd == VmAssistCommand.disable:
        hv.assists.bits[domid] &= ~(1 << kind)
    else:
        raise XenError(Errno.ENOSYS)
    return 0
