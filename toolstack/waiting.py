"""Where a domain stands that has not ended: for the report of a timeout or a deadlock."""

from abi.types import NEVER, Domid
from clock.pvclock import NANOSECONDS
from domains.runner import vcpus_of
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import RunState


def waiting(hv: Hypervisor, domid: Domid) -> str | None:
    """What each vCPU that has been brought up waits for; None where one of them could run."""
    texts = []
    for row in vcpus_of(hv, domid):
        if not hv.vcpus.initialised[row]:
            continue
        state = hv.vcpus.runstate[row]
        if state in (RunState.RUNNING, RunState.RUNNABLE):
            return None
        text = "is down or paused" if state == RunState.OFFLINE else _blocked(hv, row)
        since = hv.vcpus.state_entry_time[row] / NANOSECONDS
        texts.append(f"vCPU {hv.vcpus.vcpu_id[row]} {text} since {since:.6f} s")
    return "; ".join(texts) if texts else "was never started"


def _blocked(hv: Hypervisor, row: int) -> str:
    port, deadline = hv.vcpus.poll_port[row], hv.vcpus.poll_deadline[row]
    if not port:
        text = "is blocked until an event comes"
        first = hv.vcpus.singleshot[row]
    else:
        text = f"polls port {port}" if port > 0 else "polls several ports"
        first = min(deadline, hv.vcpus.singleshot[row])
    return text if first == NEVER else f"{text} or until {first / NANOSECONDS:.6f} s"
