"""A host's domains in a checkpoint: what the process that runs one keeps of it, and its way back."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from abi.types import Domid, VcpuRow
from domains.elf import Elf, ImageError
from domains.kernel_image import elf_image
from domains.native import BlockMeter
from domains.runner import vcpus_of
from domains.vcpu import Vcpu
from domains.vcpu_state import StateError, restore_vcpus, save_vcpus
from hypervisor import local_state
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import DomainState
from toolstack.console import Console
from toolstack.errors import HostError
from toolstack.plan import DomainPlan, HostPlan

_ENDED = (DomainState.SHUTDOWN, DomainState.DEAD)


DomainPart = Mapping[str, Any]
"""What `save_domain` gives, for msgpack."""


class Output(Protocol):
    """What an output of a host keeps (`toolstack.local.LocalIo`, `toolstack.actors.ActorIo`)."""

    consoles: dict[int, Console]
    details: dict[int, str]


def save_domain(hv: Hypervisor, domid: Domid, vcpus: Mapping[VcpuRow, Vcpu], output: Output,
                pieces: Sequence[bytes]) -> DomainPart:
    """What this process keeps of a domain that it runs, between two turns; `pieces` are those of its trace."""
    mine = [vcpus[row] for row in vcpus_of(hv, domid) if row in vcpus]
    console = output.consoles.get(domid)
    return {
        "local": local_state.save_domain(hv, domid),
        "vcpus": save_vcpus(mine) if mine and hv.domains.state[domid] not in _ENDED else None,
        "console": None if console is None else console.save(), "detail": output.details.get(domid),
        "pieces": list(pieces),
    }


def restore_domain(hv: Hypervisor, plan: DomainPlan, part: DomainPart, output: Output, pieces: list[bytes],
                   meter: BlockMeter) -> dict[VcpuRow, Vcpu]:
    """Give a domain back what `save_domain` gave, and make its vCPUs; none where it has ended.  Raises HostError."""
    domid = Domid(plan.domid)
    try:
        local_state.restore_domain(hv, domid, part["local"])
        if part["console"] is not None:
            output.consoles.setdefault(domid, Console()).restore(part["console"])
        if part["detail"] is not None:
            output.details[domid] = part["detail"]
        pieces[:] = part["pieces"]
        if part["vcpus"] is None:
            return {}
        vcpus = restore_vcpus(hv, vcpus_of(hv, domid), meter, part["vcpus"])
    except (StateError, ValueError, LookupError, TypeError) as error:
        raise HostError(f"domain {plan.name} cannot be restored: {error}") from error
    symbol = _symbols(plan.kernel, part.get("kernel"))
    for vcpu in vcpus.values():
        vcpu.symbol = symbol
    return vcpus


def console_lines(part: DomainPart) -> list[str]:
    """The lines that a domain had printed."""
    return list(part["console"][1]) if part["console"] is not None else []


def file_hashes(plan: HostPlan) -> dict[str, bytes]:
    """SHA-256 of the files that a host was made of, by path: of the kernels, and of the user's hypercalls."""
    hashes = {}
    for path in {*(domain.kernel for domain in plan.domains), *plan.hypercalls}:
        try:
            hashes[str(path)] = hashlib.sha256(path.read_bytes()).digest()
        except OSError:  # nobody needs a kernel once it is loaded
            continue
    return hashes


def _symbols(kernel: Path, sha256: bytes | None) -> Callable[[int], str]:
    """Names of addresses, for reports; none where the kernel's file is not there any more, or is another."""
    found: list[Elf | None] = []

    def symbol(address: int) -> str:
        if not found:
            found.append(_kernel(kernel, sha256))
        elf = found[0]
        return (elf.symbol_at(address) or "") if elf is not None else ""

    return symbol


def _kernel(kernel: Path, sha256: bytes | None) -> Elf | None:
    try:
        data = kernel.read_bytes()
        return Elf(elf_image(data)) if hashlib.sha256(data).digest() == sha256 else None
    except (OSError, ImageError):
        return None
