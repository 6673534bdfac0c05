"""What a runtime is given: a configuration with every name resolved, every quantity a number and every kernel a file.

Plain data, without pydantic or YAML: it is shipped to actors, which should import neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hypervisor.typed_input import InputStep

ClockMode = Literal["virtual", "host"]
DomainType = Literal["pvh", "hvm", "pv"]


@dataclass(frozen=True, slots=True)
class ClockPlan:
    mode: ClockMode
    epoch_ns: int
    """The wall clock when the host starts, in nanoseconds since 1970."""
    frequency_hz: int


@dataclass(frozen=True, slots=True)
class DomainPlan:
    name: str
    domid: int
    type: DomainType
    kernel: Path
    """An ELF file that exists."""
    ramdisk: Path | None
    cmdline: str
    memory: int
    """Bytes, whole pages."""
    vcpus: int
    group: str
    """The configuration's key: `worker` for `worker-2`."""
    input: tuple[InputStep, ...] = ()
    """What is typed on its console."""
    awaited: bool = True
    """Whether the host goes on until this domain has ended.  When all awaited domains have, the run is over."""


@dataclass(frozen=True, slots=True)
class Expectation:
    exit: str = "poweroff"
    console: tuple[str, ...] = ()
    """Text that lines must contain, or `/regular expression/`, in this order."""


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """When to take checkpoints, and where to."""

    every_ns: int
    directory: Path
    keep: int = 2
    """How many of this host are left there, the newest."""


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """A domain is to move to another node at a time of the host."""

    at_ns: int
    domid: int
    node: int


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """One actor of the Ray runtime, which runs some of the domains."""

    name: str
    """The domain's where it runs one that nobody put into a named actor."""
    domids: tuple[int, ...]
    """Ascending."""
    node: int = 0
    """On which node of the host."""


@dataclass(frozen=True, slots=True)
class RayPlan:
    """The Ray that the run is on; None: see `toolstack.config.RayConfig` for what is then."""

    address: str | None = None
    metrics: bool | None = None
    logs: bool | None = None


@dataclass(frozen=True, slots=True)
class HostPlan:
    name: str
    seed: int
    clock: ClockPlan
    memory: int
    """Bytes that the domains can have together; what the hypervisor itself needs comes on top."""
    pcpus: int
    """How many sharing groups run at the same time."""
    xen_version: tuple[int, int]
    hypercalls: tuple[Path, ...]
    """Python files that exist."""
    domains: tuple[DomainPlan, ...]
    """In order of domid, from 1 without gaps but for those that are absent."""
    expect: Mapping[str, Expectation]
    """By domain name; every domain has one."""
    actors: tuple[ActorPlan, ...]
    """Every domain is in one of them.  The local runtime, which is one process, does not ask."""
    checkpoint: CheckpointPlan | None = None
    ray: RayPlan = RayPlan()
    absent: tuple[DomainPlan, ...] = ()
    """Domains of the host that were not restored with the others: only their places are there."""
    timeline: tuple[MigrationPlan, ...] = ()
    least_nodes: int = 1
    """On so many nodes the host lies, even if no domain begins on some of them."""

    def domain(self, domid: int) -> DomainPlan:
        """The domain with this number.  Raises StopIteration where it is not among `domains`."""
        return next(domain for domain in self.domains if domain.domid == domid)

    @property
    def nodes(self) -> int:
        """On how many nodes the host lies; they are numbered from 0."""
        return max(self.least_nodes, 1 + max((actor.node for actor in self.actors), default=0))

    def names(self) -> list[str]:
        """The domains' names in order of domid."""
        return [domain.name for domain in self.domains]

    def with_seed(self, seed: int) -> "HostPlan":
        """The same host with another seed."""
        return replace(self, seed=seed)
