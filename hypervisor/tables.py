"""The flat tables of domains and vCPUs.

Row of a domain = its domid.  Row of a vCPU = `domains.vcpu_base[domid] + vcpu_id`.

Groups run at the same time in several processes, and what a vCPU's turn writes is in `VcpuTable`.  So each domain's
rows there begin at a cache line of their own (`vcpu_rows`), in the columns of eight bytes; all that a turn writes has
eight bytes.  Two pairs that ping-pong side by side are some 5% faster for it.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from state.table import CACHE_LINE, Table

_LINE = CACHE_LINE // 8


def vcpu_rows(vcpus: int) -> int:
    """How many rows of `VcpuTable` a domain of so many vCPUs takes."""
    return -(-vcpus // _LINE) * _LINE


class DomainState(IntEnum):
    FREE = 0
    BUILDING = 1
    RUNNING = 2
    SHUTDOWN = 3
    """Powered off, rebooted, crashed...: `shutdown_code` says which (SHUTDOWN_* of xen/sched.h)."""
    DEAD = 4
    """Its resources are gone."""


class GuestKind(IntEnum):
    PVH = 0
    """HVM-like: nested paging, VMMCALL, its own IDT."""
    PV = 1
    HOST = 2
    """Domain 0's seat: no vCPU of ours; back ends and outside callers act as it."""


class DomainTable(Table):
    COLUMNS: ClassVar[Mapping[str, str]] = {
        "state": "B", "kind": "B", "width": "B", "shutdown_code": "B",
        "privileged": "B", "callback_via_type": "B", "callback_vector": "B", "flush": "B",
        "vcpu_base": "I", "vcpu_count": "I", "shared_info": "Q", "max_pages": "I", "tot_pages": "I",
        "evtchn_limit": "I", "awaited": "B", "released": "B",
    }
    state: "memoryview[int]"
    kind: "memoryview[int]"
    width: "memoryview[int]"
    """32 or 64: the layout of shared_info, latched as Xen latches it."""
    shutdown_code: "memoryview[int]"
    privileged: "memoryview[int]"
    callback_via_type: "memoryview[int]"
    callback_vector: "memoryview[int]"
    flush: "memoryview[int]"
    """Set by whoever changes the domain's p2m from outside; its engine flushes before it runs again."""
    vcpu_base: "memoryview[int]"
    vcpu_count: "memoryview[int]"
    shared_info: "memoryview[int]"
    """Machine address of the shared_info page."""
    max_pages: "memoryview[int]"
    tot_pages: "memoryview[int]"
    evtchn_limit: "memoryview[int]"
    awaited: "memoryview[int]"
    """The run goes on until this domain has ended."""
    released: "memoryview[int]"
    """It has shut down, and its ports, grants and memory are gone; it is DEAD at the end of the round."""


class RunState(IntEnum):
    """RUNSTATE_* of xen/vcpu.h."""

    RUNNING = 0
    RUNNABLE = 1
    BLOCKED = 2
    OFFLINE = 3


class VcpuTable(Table):
    COLUMNS: ClassVar[Mapping[str, str]] = {
        "domid": "H", "vcpu_id": "H", "process": "H", "runstate": "Q", "initialised": "B", "paused": "B",
        "due": "Q", "local_time": "Q",
        "state_entry_time": "Q", "time_running": "Q", "time_runnable": "Q", "time_blocked": "Q", "time_offline": "Q",
        "singleshot": "Q", "periodic_next": "Q", "periodic_period": "Q", "poll_deadline": "Q", "apic_timer": "Q",
        "poll_port": "i", "info": "Q", "info_registered": "B",
        "time_area": "Q", "runstate_area": "Q", "runstate_width": "B",
        "wish": "H", "hypercalls": "Q", "events_sent": "Q", "events_received": "Q", "work": "Q",
    }
    domid: "memoryview[int]"
    vcpu_id: "memoryview[int]"
    process: "memoryview[int]"
    """Which process of the host runs it: a row of the baton's table; the hypervisor's is 0."""
    runstate: "memoryview[int]"
    initialised: "memoryview[int]"
    paused: "memoryview[int]"
    due: "memoryview[int]"
    """Nanoseconds: when this vCPU could run next; NEVER where only an event can wake it.  The scheduler's key."""
    local_time: "memoryview[int]"
    """Nanoseconds of system time that this vCPU has reached; right for the current vCPU in every handler."""
    state_entry_time: "memoryview[int]"
    time_running: "memoryview[int]"
    time_runnable: "memoryview[int]"
    time_blocked: "memoryview[int]"
    time_offline: "memoryview[int]"
    singleshot: "memoryview[int]"
    """Deadline of the one-shot timer in nanoseconds, or NEVER."""
    periodic_next: "memoryview[int]"
    periodic_period: "memoryview[int]"
    """Nanoseconds, 0 where stopped."""
    poll_deadline: "memoryview[int]"
    apic_timer: "memoryview[int]"
    """When the timer of the local APIC fires, or NEVER."""
    poll_port: "memoryview[int]"
    """As Xen's `poll_evtchn`: 0 not polling, > 0 that one port, -1 several."""
    info: "memoryview[int]"
    """Machine address of the vcpu_info (in shared_info, or registered), or 0."""
    info_registered: "memoryview[int]"
    """The guest chose the place of `info`, whose frame has a reference for it."""
    time_area: "memoryview[int]"
    """Guest-linear address of the registered secondary vcpu_time_info, or 0."""
    runstate_area: "memoryview[int]"
    """Guest-linear address of the registered vcpu_runstate_info, or 0."""
    runstate_width: "memoryview[int]"
    wish: "memoryview[int]"
    """The domain that a call of this vCPU waits for: see `hypervisor.groups`; 0 for none."""
    hypercalls: "memoryview[int]"
    events_sent: "memoryview[int]"
    events_received: "memoryview[int]"
    """Upcalls delivered."""
    work: "memoryview[int]"
    """Code bytes executed (the virtual clock's cycles)."""
