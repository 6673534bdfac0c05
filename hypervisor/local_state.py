"""What a process keeps of a host beside the host's bytes: little, and nothing that the next hypercall depends on.

By domain: its stream of the trace, its typed input, unfinished lines, what was said once and is not to be said again,
and where its rings are.  Each is kept in the process that runs the domain.  All that a `Hypervisor` has beside that
follows from the bytes, or is empty between two turns (`Hypervisor.to_destroy`), or is set before it is next read
(`Scheduler.current`, `slice_end`).
"""

from collections.abc import Mapping
from typing import Any

from abi.types import Domid
from hypervisor.hypervisor import Hypervisor


def save_domain(hv: Hypervisor, domid: Domid) -> dict[str, Any]:
    """What this process keeps of a domain, between two turns, for msgpack."""
    assert not hv.to_destroy, "saved within a turn"
    ring, typed = hv.consoles.rings.get(domid), hv.consoles.typed.get(domid)
    return {
        "trace": hv.trace.save(domid), "line": hv.console_lines.save(domid),
        "unimplemented": hv.unimplemented.save(domid), "typed": None if typed is None else typed.save(),
        "ring": None if ring is None else (ring.page, ring.reported),
        "keepers": {name: keeper.save(domid) for name, keeper in hv.keepers.items()},
    }


def restore_domain(hv: Hypervisor, domid: Domid, saved: Mapping[str, Any]) -> None:
    """Go on with what `save_domain` gave.  Raises ValueError, LookupError or TypeError where that is not its."""
    hv.trace.restore(domid, tuple(saved["trace"]))
    hv.console_lines.restore(domid, saved["line"])
    hv.unimplemented.restore(domid, saved["unimplemented"])
    if saved["typed"] is not None:
        hv.consoles.typed[domid].restore(saved["typed"])
    if saved["ring"] is not None:
        page, reported = saved["ring"]
        hv.consoles.open_ring(domid, page).reported = reported
    for name, kept in saved["keepers"].items():
        hv.keepers[name].restore(domid, kept)


def forget_domain(hv: Hypervisor, domid: Domid) -> None:
    """A domain that `save_domain` was for goes on in another process."""
    hv.trace.forget(domid)
    hv.consoles.rings.pop(domid, None)
