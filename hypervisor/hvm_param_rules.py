"""Who may read and write which HVM_PARAM_*, which values they take, and what setting one does (xen/hvm/params.h).

The rules are Xen 4.17's.  Index numbers that are holes, deprecated or Xen's own give EINVAL; what is the toolstack's
gives EPERM to the domain itself; and a domain without privilege gets EPERM for the parameters of any other.
"""

from abi.errno import Errno, XenError
from abi.hvm import (
    HVM_PARAM_CALLBACK_IRQ_TYPE_MASK,
    XEN_HVM_MCA_CAP_MASK,
    Altp2mMode,
    CallbackVia,
    HvmParam,
    TimerMode,
)
from abi.sched import SHUTDOWN_MAX
from abi.types import Domid, VcpuId
from hypervisor.call import Call
from hypervisor.crash import GuestCrash
from hypervisor.host import Host
from hypervisor.unimplemented import not_implemented

_P = HvmParam
_SET_BY_GUEST = frozenset({
    _P.CALLBACK_IRQ, _P.VM86_TSS, _P.VM86_TSS_SIZED, _P.ACPI_S_STATE, _P.VM_GENERATION_ID_ADDR, _P.STORE_EVTCHN,
    _P.CONSOLE_EVTCHN, _P.X87_FIP_WIDTH})
_READ_BY_GUEST = _SET_BY_GUEST | {_P.STORE_PFN, _P.CONSOLE_PFN, _P.ACPI_IOPORTS_LOCATION, _P.ALTP2M}
_TOOLSTACK = frozenset({
    _P.STORE_PFN, _P.IOREQ_PFN, _P.BUFIOREQ_PFN, _P.VIRIDIAN, _P.TIMER_MODE, _P.HPET_ENABLED, _P.IDENT_PT,
    _P.VPT_ALIGN, _P.CONSOLE_PFN, _P.ACPI_IOPORTS_LOCATION, _P.NESTEDHVM, _P.BUFIOREQ_EVTCHN, _P.PAGING_RING_PFN,
    _P.MONITOR_RING_PFN, _P.SHARING_RING_PFN, _P.TRIPLE_FAULT_REASON, _P.IOREQ_SERVER_PFN, _P.NR_IOREQ_SERVER_PAGES,
    _P.ALTP2M, _P.MCA_CAP})
_ONCE = frozenset({_P.VIRIDIAN, _P.IOREQ_SERVER_PFN, _P.NR_IOREQ_SERVER_PAGES, _P.ALTP2M, _P.MCA_CAP})
"""Not to be changed from one value to another (EEXIST)."""
_HIGHEST = {
    _P.TIMER_MODE: TimerMode.one_missed_tick_pending, _P.TRIPLE_FAULT_REASON: SHUTDOWN_MAX,
    _P.ALTP2M: Altp2mMode.limited, _P.HPET_ENABLED: 1, _P.MCA_CAP: XEN_HVM_MCA_CAP_MASK, _P.NESTEDHVM: 0}
_TSS_SIZE, _TSS_MOST = 104, 104 + 0x100 // 8 + 0x10000 // 8 + 1
_OLD_TSS_SIZE = 128
"""Bytes that guests which do not say a size are taken to have reserved."""


def set_param(hv: Host, call: Call, domid: Domid, index: int, value: int) -> None:
    """HVMOP_set_param for an HVM-like domain that exists.

    Raises XenError with EINVAL, EPERM or EEXIST, and GuestCrash where Xen crashes a caller for a senseless TSS.
    """
    param = _allowed(hv, call, domid, index, _SET_BY_GUEST)
    stored = hv.params.get(domid, param)
    if param in _ONCE and stored not in (0, value):
        raise XenError(Errno.EEXIST)
    if param in _HIGHEST and value > _HIGHEST[param]:
        raise XenError(Errno.EINVAL)
    match param:
        case HvmParam.CALLBACK_IRQ:
            _set_callback_via(hv, domid, value)
            if call.domid == domid and hv.domains.width[domid] != call.width:
                hv.latch_width(domid, call.width)
        case HvmParam.ACPI_S_STATE:
            if value == 3 and call.domid == domid:
                not_implemented(hv, call, "hvm_op", "set_param ACPI_S_STATE (suspend to RAM)")
            if value or call.domid != domid:
                raise XenError(Errno.EINVAL)
        case HvmParam.X87_FIP_WIDTH if value not in (0, 4, 8):
            raise XenError(Errno.EINVAL)
        case HvmParam.BUFIOREQ_EVTCHN:
            raise XenError(Errno.EINVAL)
        case HvmParam.VM86_TSS:
            if value >> 32:
                _crash_or_refuse(hv, call, domid, f"VM86 TSS at {value:#x}, beyond 4 GiB")
            param, value = HvmParam.VM86_TSS_SIZED, value | _OLD_TSS_SIZE << 32 if value else 0
        case HvmParam.VM86_TSS_SIZED:
            if value >> 32 < _TSS_SIZE:
                _crash_or_refuse(hv, call, domid, f"VM86 TSS of {value >> 32} bytes, less than {_TSS_SIZE}")
            value = min(value >> 32, _TSS_MOST) << 32 | value & 0xFFFFFFFF
    hv.params.set(domid, param, value)


def get_param(hv: Host, call: Call, domid: Domid, index: int) -> int:
    """HVMOP_get_param for an HVM-like domain that exists: the value.  Raises XenError with EINVAL or EPERM."""
    param = _allowed(hv, call, domid, index, _READ_BY_GUEST)
    if param == HvmParam.VM86_TSS:
        return hv.params.get(domid, HvmParam.VM86_TSS_SIZED) & 0xFFFFFFFF
    return hv.params.get(domid, param)


def _allowed(hv: Host, call: Call, domid: Domid, index: int, guest: frozenset[HvmParam]) -> HvmParam:
    if call.domid != domid and not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    if index in guest:
        return HvmParam(index)
    if index not in _TOOLSTACK:
        raise XenError(Errno.EINVAL)
    if call.domid == domid:
        raise XenError(Errno.EPERM)
    return HvmParam(index)


def _set_callback_via(hv: Host, domid: Domid, via: int) -> None:
    """Store how events reach the guest: the type as HVM_PARAM_CALLBACK_TYPE_*, and the low byte of the number.

    Type GSI with number 0 is what "no delivery" looks like.  (A PVH domain under Xen ignores all types but the vector.)
    """
    kind = (via & HVM_PARAM_CALLBACK_IRQ_TYPE_MASK) >> 56
    if kind > CallbackVia.VECTOR or (kind == CallbackVia.GSI and not via & 0xFFFFFFFF):
        kind = via = 0
    hv.domains.callback_via_type[domid] = kind
    hv.domains.callback_vector[domid] = via & 0xFF


def _crash_or_refuse(hv: Host, call: Call, domid: Domid, reason: str) -> None:
    if call.domid == domid:
        raise GuestCrash(domid, VcpuId(hv.vcpus.vcpu_id[call.vcpu]), reason)
    raise XenError(Errno.EINVAL)
