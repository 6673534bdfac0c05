"""vcpu_op: sub-operations and their arguments (vcpu.h)."""

from enum import IntEnum

from abi.layout import I32, POINTER, U32, U64, Each, Layout, Union
from abi.naming import c_prefix


@c_prefix("VCPUOP_")
class VcpuOp(IntEnum):
    initialise = 0
    up = 1
    down = 2
    is_up = 3
    get_runstate_info = 4
    register_runstate_memory_area = 5
    set_periodic_timer = 6
    stop_periodic_timer = 7
    set_singleshot_timer = 8
    stop_singleshot_timer = 9
    register_vcpu_info = 10
    send_nmi = 11
    get_physid = 12
    register_vcpu_time_memory_area = 13


@c_prefix("RUNSTATE_")
class Runstate(IntEnum):
    running = 0
    runnable = 1
    blocked = 2
    offline = 3


XEN_RUNSTATE_UPDATE = 1 << 63
"""Set in `state_entry_time` while the area is being written, for guests with VMASST_TYPE_runstate_update_flag."""
VCPU_SSHOTTMR_future = 1

VCPU_RUNSTATE_INFO = Layout("vcpu_runstate_info", state=I32, state_entry_time=U64, time=Each(U64, 4))
VCPU_REGISTER_RUNSTATE_MEMORY_AREA = Layout(
    "vcpu_register_runstate_memory_area", addr=Union(h=POINTER, v=POINTER, p=U64),
)
VCPU_SET_PERIODIC_TIMER = Layout("vcpu_set_periodic_timer", period_ns=U64)
VCPU_SET_SINGLESHOT_TIMER = Layout("vcpu_set_singleshot_timer", timeout_abs_ns=U64, flags=U32)
VCPU_REGISTER_VCPU_INFO = Layout("vcpu_register_vcpu_info", mfn=U64, offset=U32, rsvd=U32)
VCPU_GET_PHYSID = Layout("vcpu_get_physid", phys_id=U64)
VCPU_REGISTER_TIME_MEMORY_AREA = Layout(
    "vcpu_register_time_memory_area", addr=Union(h=POINTER, v=POINTER, p=U64),
)
