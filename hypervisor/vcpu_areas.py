"""Structures in guest memory that the hypervisor keeps up to date: time and run states of a vCPU (xen/vcpu.h).

The master vcpu_time_info lies in the vcpu_info, which is a machine address.  What VCPUOP_register_*_memory_area named
are guest-linear addresses, so they are written while their vCPU is the one that runs, through its page tables; where
these do not lead to memory, the update is lost.
"""

from typing import Protocol

from abi.errno import XenError
from abi.types import VcpuRow
from abi.vcpu import VCPU_RUNSTATE_INFO, XEN_RUNSTATE_UPDATE
from abi.xen import VmAssist
from clock.source import Clock
from clock.time_info import IN_VCPU_INFO, SIZE, begin_update, refresh_time_info, write_time_info
from hypervisor.call import Call
from hypervisor.sched import Scheduler
from hypervisor.tables import DomainTable, VcpuTable
from hypervisor.vm_assist import AssistTable
from state.arena import Arena

_UPDATE_BYTE = {width: VCPU_RUNSTATE_INFO.at(width).offset["state_entry_time"] + 7 for width in (32, 64)}
"""The byte that holds XEN_RUNSTATE_UPDATE."""


class Host(Protocol):
    """What these updates need of the hypervisor."""

    @property
    def arena(self) -> Arena: ...
    @property
    def domains(self) -> DomainTable: ...
    @property
    def vcpus(self) -> VcpuTable: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def sched(self) -> Scheduler: ...
    @property
    def assists(self) -> AssistTable: ...


def update_areas(hv: Host, call: Call) -> None:
    """Bring everything up to date that the vCPU can see; for the engine, whenever it starts the vCPU."""
    row, vcpus = call.vcpu, hv.vcpus
    info = vcpus.info[row]
    if (info and refresh_time_info(hv.arena, info + IN_VCPU_INFO, hv.clock, vcpus.local_time[row])
            and vcpus.time_area[row]):
        _copy_time(hv, call, row)
    if vcpus.runstate_area[row]:
        update_runstate_area(hv, call, row)


def update_time(hv: Host, call: Call, row: VcpuRow) -> None:
    """Renew the time parameters of one of the caller's vCPUs now (Xen's force_update_vcpu_system_time)."""
    info = hv.vcpus.info[row]
    if info:
        write_time_info(hv.arena, info + IN_VCPU_INFO, hv.clock, hv.vcpus.local_time[call.vcpu])
        if hv.vcpus.time_area[row]:
            _copy_time(hv, call, row)


def _copy_time(hv: Host, call: Call, row: VcpuRow) -> None:
    data = hv.arena.read(hv.vcpus.info[row] + IN_VCPU_INFO, SIZE)
    address, write = hv.vcpus.time_area[row], call.memory.write
    odd = begin_update(int.from_bytes(data[:4], "little")).to_bytes(4, "little")
    try:
        write(address, odd)
        write(address, odd + data[4:])
        write(address, data[:4])
    except XenError:
        return


def update_runstate_area(hv: Host, call: Call, row: VcpuRow) -> None:
    """Tell a vCPU its run states, with the update flag of those that asked for it by vm_assist."""
    width, address, write = hv.vcpus.runstate_width[row], hv.vcpus.runstate_area[row], call.memory.write
    told = hv.sched.runstates.get(row, hv.vcpus.local_time[call.vcpu])
    try:
        if hv.assists.bits[hv.vcpus.domid[row]] >> VmAssist.runstate_update_flag & 1:
            flagged = told.pack(width, XEN_RUNSTATE_UPDATE)
            at = _UPDATE_BYTE[width]
            write(address + at, flagged[at:at + 1])
            write(address, flagged)
            write(address + at, bytes([flagged[at] & 0x7F]))
        else:
            write(address, told.pack(width))
    except XenError:
        return
