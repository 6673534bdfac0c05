"""callback_op: where Xen enters a PV guest (callback.h)."""

from enum import IntEnum

from abi.layout import U16, ULONG, ByWidth, Layout
from abi.naming import c_prefix


@c_prefix("CALLBACKOP_")
class CallbackOp(IntEnum):
    register = 0
    unregister = 1


@c_prefix("CALLBACKTYPE_")
class CallbackType(IntEnum):
    event = 0
    failsafe = 1
    syscall = 2
    sysenter_deprecated = 3
    nmi = 4
    sysenter = 5
    syscall32 = 7


CALLBACKF_mask_events = 1

CALLBACK = Layout("xen_callback", 32, cs=ULONG, eip=ULONG)
"""An address of 32-bit guests has a segment; that of 64-bit guests is a plain number."""
CALLBACK_REGISTER = Layout("callback_register", type=U16, flags=U16, address=ByWidth(CALLBACK, ULONG))
CALLBACK_UNREGISTER = Layout("callback_unregister", type=U16, _unused=U16)
