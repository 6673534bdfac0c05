"""What a run did: facts that a runtime gathers, a table shows and `--json` writes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from toolstack.plan import ClockMode

Outcome = Literal["finished", "timeout", "deadlock", "interrupted", "host-error"]
"""Why the run ended.

`finished`: every awaited domain has ended.  `timeout`: the time in RunOptions is over.  `deadlock`: every domain waits,
and nothing will wake one.  `interrupted`: a stop was requested.  `host-error`: the host failed; `error` says how.
"""


@dataclass
class DomainReport:
    """One domain.  Counts are over all of its vCPUs."""

    name: str
    domid: int
    exit: str = "running"
    """`poweroff`, `reboot`, `suspend`, `crash`, `watchdog`, `soft_reset`; `running` where it had not ended."""
    exit_detail: str = ""
    """The crash report: registers, the symbol at rip, the hypercall with its arguments.  May have several lines."""
    waiting: str | None = None
    """Where a domain that had not ended waits: `vCPU 0 polls port 3 since 1.2 s`.  None where it could run."""
    input: str | None = None
    """The step of its input that was not done, and what it waited for: `input[2] waits for 'grub> '`."""
    virtual_time_ns: int = 0
    """System time that it reached."""
    work: int = 0
    """Bytes of code executed: the virtual clock's cycles."""
    hypercalls: int = 0
    events_sent: int = 0
    events_received: int = 0
    """Upcalls delivered."""
    grants_mapped: int = 0
    """Grant references of others that it has mapped, over the whole run."""
    host_seconds: float = 0.0
    """Host time that it took."""
    console: list[str] = field(default_factory=list)
    """Its lines, safe to print."""
    digest: str = ""
    """SHA-256 of its part of the canonical trace, in hex."""


@dataclass
class LinkReport:
    """What one node of a host sent to another."""

    source: int
    target: int
    hand_overs: int
    """Batons that went there."""
    messages: int
    bytes: int
    direct: int = 0
    """Those of `hand_overs` that went from process to process (docs/many-nodes.md)."""


@dataclass
class MigrationReport:
    """A domain that moved from one node to another while it ran."""

    domain: str
    source: int
    target: int
    virtual_time_ns: int
    """When it moved: the system time that the host had reached."""
    down_ns: int
    """Host time for which it, and all others, stood still."""
    passes: int
    """How often its memory was looked through while it ran."""
    copied_bytes: int
    """Bytes of memory that went over meanwhile."""
    rest_bytes: int
    """Bytes of memory that went over while it stood still."""
    copy_ns: int
    """Host time for which its memory was copied while it ran."""


@dataclass
class RunReport:
    """The whole host."""

    name: str
    outcome: Outcome
    domains: dict[str, DomainReport]
    """By name, in order of domid."""
    digest: str = ""
    """SHA-256 of the canonical trace, in hex: equal for equal runs, in either runtime."""
    host_seconds: float = 0.0
    virtual_time_ns: int = 0
    runtime: str = ""
    clock: ClockMode = "virtual"
    seed: int = 0
    error: str | None = None
    """What the host could not do: of a `host-error`, or at the end of a run, write its trace."""
    links: list[LinkReport] = field(default_factory=list)
    """By pair of nodes; empty on a host of one node."""
    migrations: list[MigrationReport] = field(default_factory=list)
    """Domains that moved, in order of time."""

    def to_json(self, failures: Sequence[str] = ()) -> dict[str, Any]:
        """The report as plain data; `failures` is what `toolstack.expect.failures` found."""
        facts = asdict(self)
        domains = facts.pop("domains")
        for domain in domains.values():
            del domain["name"]
        return {**facts, "domains": domains, "expect": {"met": not failures, "failures": list(failures)}}
