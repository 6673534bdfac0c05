"""The birth of a domain: its rows, memory, event channels, parameters and grant table, as libxl and Xen set them up."""

from dataclasses import dataclass

from abi.grant_table import GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE
from abi.hvm import HvmParam
from abi.sched import ShutdownReason
from abi.types import Domid, Gfn, GrantRef, VcpuRow
from abi.xen import SHARED_INFO, VCPU_INFO, XEN_LEGACY_MAX_VCPUS
from hypervisor.hypervisor import CONSOLE, STORE, Hypervisor
from hypervisor.pvh_layout import CONSOLE_PFN, STORE_PFN
from hypervisor.tables import DomainState, GuestKind, RunState

HOST = Domid(0)
_WIDTH = {GuestKind.PVH: 32, GuestKind.PV: 64, GuestKind.HOST: 64}
"""How shared_info is laid out at first; a PVH guest's is latched when it makes itself known."""
_PORTS = 4096


@dataclass(frozen=True)
class DomainSpec:
    """`pages` of RAM; its vCPUs take `vcpus` rows of the vCPU table from `vcpu_base` on."""

    domid: Domid
    kind: GuestKind
    pages: int
    vcpus: int
    vcpu_base: int
    awaited: bool = True


def create_host_seat(hv: Hypervisor) -> None:
    """Domain 0: where back ends sit and outside callers act from.  It has a vCPU row, which never runs."""
    domains = hv.domains
    domains.kind[HOST], domains.width[HOST], domains.privileged[HOST] = GuestKind.HOST, 64, 1
    domains.vcpu_base[HOST], domains.vcpu_count[HOST] = 0, 1
    domains.evtchn_limit[HOST] = _PORTS
    hv.sched.add_domain(HOST)
    hv.sched.add_vcpu(VcpuRow(0))
    hv.vcpus.domid[0] = HOST
    hv.vcpus.initialised[0] = 1
    domains.state[HOST] = DomainState.RUNNING
    hv.events.init(HOST)


def create_domain(hv: Hypervisor, spec: DomainSpec) -> None:
    """Make the domain, paused before its first instruction.  Raises XenError (ENOMEM, EBUSY...)."""
    domid, domains, vcpus = spec.domid, hv.domains, hv.vcpus
    domains.clear(domid)
    domains.state[domid], domains.kind[domid] = DomainState.BUILDING, spec.kind
    domains.width[domid] = _WIDTH[spec.kind]
    domains.vcpu_base[domid], domains.vcpu_count[domid] = spec.vcpu_base, spec.vcpus
    domains.evtchn_limit[domid] = _PORTS
    domains.awaited[domid] = spec.awaited
    hv.sched.add_domain(domid)
    hv.groups.add_domain(domid)
    hv.memory.allocate_domain(domid, spec.pages)
    shared_info = domains.shared_info[domid]
    first = SHARED_INFO.at(64).offset["vcpu_info"]
    for vcpu_id in range(spec.vcpus):
        row = VcpuRow(spec.vcpu_base + vcpu_id)
        vcpus.clear(row)
        hv.sched.add_vcpu(row)
        vcpus.domid[row], vcpus.vcpu_id[row] = domid, vcpu_id
        if vcpu_id < XEN_LEGACY_MAX_VCPUS:
            vcpus.info[row] = shared_info + first + vcpu_id * VCPU_INFO.at(64).size
    if spec.kind == GuestKind.PV:
        hv.pv.create(domid)
    hv.write_wallclock(domid)
    hv.params.clear(domid, range(spec.vcpu_base, spec.vcpu_base + spec.vcpus))
    hv.grants.create(domid, spec.kind)
    hv.events.init(domid)
    _connect(hv, domid)


def _connect(hv: Hypervisor, domid: Domid) -> None:
    """Console and store: a ring each in a special page, a grant of it to domain 0, and a port that is bound there."""
    params, events = hv.params, hv.events
    if hv.domains.kind[domid] == GuestKind.PVH:
        set_rings(hv, domid, CONSOLE_PFN, STORE_PFN)
    params.set(domid, HvmParam.TRIPLE_FAULT_REASON, ShutdownReason.reboot)
    for param, consumer in ((HvmParam.STORE_EVTCHN, STORE), (HvmParam.CONSOLE_EVTCHN, CONSOLE)):
        port = events.alloc_unbound(HOST, domid, HOST)
        params.set(domid, param, port)
        events.connect_backend(domid, port, consumer)


def set_rings(hv: Hypervisor, domid: Domid, console: Gfn, store: Gfn) -> None:
    """Tell the back ends the pages of the rings of console and store, and grant them.  A PV builder chooses its own."""
    for param, ref, gfn in ((HvmParam.STORE_PFN, GNTTAB_RESERVED_XENSTORE, store),
                            (HvmParam.CONSOLE_PFN, GNTTAB_RESERVED_CONSOLE, console)):
        hv.params.set(domid, param, gfn)
        hv.grants.seed(domid, GrantRef(ref), HOST, gfn)


def start_domain(hv: Hypervisor, domid: Domid) -> None:
    """Let the first vCPU of a built domain run."""
    row = VcpuRow(hv.domains.vcpu_base[domid])
    hv.vcpus.initialised[row] = 1
    hv.domains.state[domid] = DomainState.RUNNING
    hv.host.alive[0] += hv.domains.awaited[domid]
    hv.sched.up(row)
    hv.consoles.arm_typing(domid)
    assert hv.vcpus.runstate[row] == RunState.RUNNABLE
