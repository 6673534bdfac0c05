"""The hypercall table: a row a number, with a column for each kind of guest.

The columns, and the counts of arguments, are those of Xen 4.17 (its hypercall-defs).  A handler is called as
`handler(hv, call, *arguments)` with unsigned arguments and returns the result, or raises XenError.  None means that Xen
has no such call for that kind of guest; `missing`, that Xen has it and this host does not yet.  Either way the guest
gets -ENOSYS and the log says so, once a domain.

To add a hypercall to the simulator itself, write its handler and change its row here.  To add one of your own for an
experiment, declare it in a file of yours: see docs/hypercall-recipe.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from abi.xen import Hypercall
from hypervisor.call import Call
from hypervisor.compat_op import event_channel_op_compat, physdev_op_compat
from hypervisor.console_io import console_io
from hypervisor.descriptor_op import set_gdt, update_descriptor
from hypervisor.event_channel_op import event_channel_op
from hypervisor.grant_table_op import grant_table_op
from hypervisor.hvm_op import hvm_op
from hypervisor.memory_op import memory_op
from hypervisor.misc import argo_op, hypfs_op, physdev_op, xenpmu_op, xsm_op
from hypervisor.mmu_update import mmu_update
from hypervisor.mmuext_op import mmuext_op
from hypervisor.multicall import multicall
from hypervisor.privileged_op import (
    dm_op,
    domctl,
    kexec_op,
    mca,
    paging_domctl_cont,
    platform_op,
    sysctl,
)
from hypervisor.pv_callbacks import callback_op, set_callbacks, set_trap_table
from hypervisor.pv_nmi import nmi_op
from hypervisor.pv_physdev import pv_physdev_op
from hypervisor.pv_state import (
    fpu_taskswitch,
    get_debugreg,
    iret,
    set_debugreg,
    set_segment_base,
    stack_switch,
)
from hypervisor.sched_op import sched_op, sched_op_compat
from hypervisor.timer_op import set_timer_op
from hypervisor.update_va_mapping import update_va_mapping, update_va_mapping_otherdomain
from hypervisor.vcpu_op import vcpu_op
from hypervisor.vm_assist import vm_assist
from hypervisor.xen_version import xen_version

NR_HYPERCALLS = 64
"""Numbers that can have a row, as many as Xen's tables hold.  The hypercall page has 128 slots; a call through one of
the upper 64 gets -ENOSYS, as under Xen."""
LAST_XEN_NUMBER = int(Hypercall.arch_7)
"""Numbers up to this one are Xen's; those after it are free for experiments."""

Handler = Callable[..., int]


class Row(NamedTuple):
    """One hypercall."""

    number: int
    name: str
    args: int
    """Registers that it takes, 0 to 6."""
    pv: Handler | None
    hvm: Handler | None
    args32: int | None = None
    """Registers that it takes from 32-bit callers where that differs: their 64-bit arguments come in two."""
    source: str = ""
    """The user's file that declares it; empty for the host's own."""


def missing(hv: Any, call: Call, *arguments: int) -> int:
    """Stands in the table for a hypercall that Xen has and this host does not."""
    raise NotImplementedError  # the dispatcher puts something in its place that names the call


def _row(number: Hypercall, args: int, pv: Handler | None, hvm: Handler | None, *, args32: int | None = None,
         name: str = "") -> Row:
    return Row(number, name or number.name, args, pv, hvm, args32)


_H = Hypercall
ROWS = (
    #    number, arguments, handler for PV, handler for HVM and PVH
    _row(_H.set_trap_table, 1, set_trap_table, None),
    _row(_H.mmu_update, 4, mmu_update, None),
    _row(_H.set_gdt, 2, set_gdt, None),
    _row(_H.stack_switch, 2, stack_switch, None),
    _row(_H.set_callbacks, 3, set_callbacks, None, args32=4),
    _row(_H.fpu_taskswitch, 1, fpu_taskswitch, None),
    _row(_H.sched_op_compat, 2, sched_op_compat, None),
    _row(_H.platform_op, 1, platform_op, platform_op),
    _row(_H.set_debugreg, 2, set_debugreg, None),
    _row(_H.get_debugreg, 1, get_debugreg, None),
    _row(_H.update_descriptor, 2, update_descriptor, None, args32=4),
    Row(11, "unassigned_11", 0, None, None),
    _row(_H.memory_op, 2, memory_op, memory_op),
    _row(_H.multicall, 2, multicall, multicall),
    _row(_H.update_va_mapping, 3, update_va_mapping, None, args32=4),
    _row(_H.set_timer_op, 1, set_timer_op, set_timer_op, args32=2),
    _row(_H.event_channel_op_compat, 1, event_channel_op_compat, None),
    _row(_H.xen_version, 2, xen_version, xen_version),
    _row(_H.console_io, 3, console_io, console_io),
    _row(_H.physdev_op_compat, 1, physdev_op_compat, None),
    _row(_H.grant_table_op, 3, grant_table_op, grant_table_op),
    _row(_H.vm_assist, 2, vm_assist, vm_assist),
    _row(_H.update_va_mapping_otherdomain, 4, update_va_mapping_otherdomain, None, args32=5),
    _row(_H.iret, 0, iret, None),
    _row(_H.vcpu_op, 3, vcpu_op, vcpu_op),
    _row(_H.set_segment_base, 2, set_segment_base, None),
    _row(_H.mmuext_op, 4, mmuext_op, mmuext_op),
    _row(_H.xsm_op, 1, xsm_op, xsm_op),
    _row(_H.nmi_op, 2, nmi_op, None),
    _row(_H.sched_op, 2, sched_op, sched_op),
    _row(_H.callback_op, 2, callback_op, None),
    _row(_H.xenoprof_op, 2, missing, None),
    _row(_H.event_channel_op, 2, event_channel_op, event_channel_op),
    _row(_H.physdev_op, 2, pv_physdev_op, physdev_op),
    _row(_H.hvm_op, 2, hvm_op, hvm_op),
    _row(_H.sysctl, 1, sysctl, sysctl),
    _row(_H.domctl, 1, domctl, domctl),
    _row(_H.kexec_op, 2, kexec_op, None),
    _row(_H.tmem_op, 1, None, None),
    _row(_H.argo_op, 5, argo_op, argo_op),
    _row(_H.xenpmu_op, 2, xenpmu_op, xenpmu_op),
    _row(_H.dm_op, 3, dm_op, dm_op),
    _row(_H.hypfs_op, 5, hypfs_op, hypfs_op),
    *(Row(number, f"unassigned_{number}", 0, None, None) for number in range(43, 48)),
    _row(_H.arch_0, 1, mca, None, name="mca"),
    _row(_H.arch_1, 1, paging_domctl_cont, paging_domctl_cont, name="paging_domctl_cont"),
    *(Row(number, Hypercall(number).name, 0, None, None) for number in range(50, 56)),
)
"""Every number up to `LAST_XEN_NUMBER`, in order."""
OF_A_PROCESSOR = frozenset((
    _H.set_trap_table, _H.mmu_update, _H.set_gdt, _H.stack_switch, _H.set_callbacks, _H.fpu_taskswitch, _H.set_debugreg,
    _H.get_debugreg, _H.update_descriptor, _H.update_va_mapping, _H.set_timer_op, _H.update_va_mapping_otherdomain,
    _H.iret, _H.vcpu_op, _H.set_segment_base, _H.mmuext_op, _H.nmi_op, _H.callback_op, _H.physdev_op,
    _H.event_channel_op_compat, _H.physdev_op_compat))
"""What acts on the caller's processor, which a caller in domain 0's seat does not have."""
