"""The configuration file's form: what may stand where.  The JSON Schema for editors comes from these models too.

Whether names, files and sums make sense together is `toolstack.checks`; what a runtime gets is `toolstack.plan`.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from hypervisor.event_channel_tables import PORTS
from toolstack import quantities
from toolstack.errors import describe

Exit = Literal["poweroff", "reboot", "suspend", "crash", "watchdog", "soft_reset", "running"]
"""How a domain can end: SHUTDOWN_* of xen/sched.h; `running` is a domain that is not waited for."""

NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$"
RESERVED_NAMES = ("self", "Domain-0", "hypervisor")
MAX_DOMAINS = (PORTS - 1) // 2  # domain 0 has two of its ports for each: its console's and its store's
MAX_VCPUS = 32
MAX_NODES = 256


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value) or len(value) > 64:
        raise ValueError(f"expected a name of at most 64 letters, digits, '_' and '-', got {describe(value)}")
    if value in RESERVED_NAMES:
        raise ValueError(f"expected another name: {value!r} has a meaning of its own")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("expected text without NUL characters")
    return value


def _vcpus(value: int) -> int:
    if not 1 <= value <= MAX_VCPUS:
        raise ValueError(f"expected 1 to {MAX_VCPUS}, got {value}")
    return value


def _mapping(value: object) -> object:
    if value is None:
        raise ValueError("expected a mapping, got nothing")
    return value


def _pattern(value: str) -> str:
    if len(value) > 2 and value.startswith("/") and value.endswith("/"):
        try:
            re.compile(value[1:-1])
        except re.error as error:
            raise ValueError(f"expected a regular expression between the slashes, got {value!r}: {error}") from None
    return value


def _number_or_text(number: dict[str, Any], pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": pattern}]})


Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN, "maxLength": 64})
]
Size = Annotated[
    int,
    BeforeValidator(quantities.size),
    _number_or_text({"type": "integer", "minimum": 1}, quantities.SIZE_PATTERN),
]
Frequency = Annotated[
    int,
    BeforeValidator(quantities.frequency),
    _number_or_text({"type": "integer", "minimum": 1}, quantities.FREQUENCY_PATTERN),
]
Epoch = Annotated[
    int,
    BeforeValidator(quantities.epoch),
    _number_or_text({"type": "number", "minimum": 0}, r"^[0-9]"),
]
Duration = Annotated[
    int,
    BeforeValidator(quantities.duration),
    WithJsonSchema({"type": "string", "pattern": quantities.DURATION_PATTERN}),
]
Version = Annotated[
    tuple[int, int],
    BeforeValidator(quantities.version),
    _number_or_text({"type": "number", "minimum": 4, "exclusiveMaximum": 5}, quantities.VERSION_PATTERN),
]
Text = Annotated[str, AfterValidator(_no_nul)]
FileName = Annotated[str, Field(min_length=1), AfterValidator(_no_nul)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClockConfig(_Model):
    mode: Literal["virtual", "host"] = "virtual"
    """`virtual`: time is the work that vCPUs do, and equal runs are equal.  `host`: time is the host's."""
    epoch: Epoch | None = Field(default=None, json_schema_extra={"default": quantities.DEFAULT_EPOCH})
    """The wall clock when the host starts: ISO 8601, or seconds since 1970.  With `mode: host` the default is now."""
    frequency: Frequency = Field(default="1GHz", validate_default=True)
    """The vCPUs' clock, hence their TSC: `1GHz`, or a number of Hz."""


class MachineConfig(_Model):
    memory: Size | None = None
    """What the domains can have together.  The default is what they ask for."""
    pcpus: int | None = Field(default=None, ge=1, le=4096)
    """How many groups of domains that share nothing run at the same time.  The default is the machine's processors."""
    xen_version: Version = Field(default="4.17", validate_default=True)
    """The version that guests are told, 4.N."""


class CheckpointConfig(_Model):
    every: Duration
    """How often, in the host's time: `10s`."""
    directory: FileName = "checkpoints"
    """Where to, relative to the configuration file; it is made where it is not there."""
    keep: Annotated[int, Field(ge=1)] = 2
    """How many of this host are left there, the newest."""

    @field_validator("every")
    @classmethod
    def _takes_time(cls, value: int) -> int:
        if not value:
            raise ValueError("expected a time above 0, got 0")
        return value


class InputConfig(_Model):
    """One step.  What it has of `expect`, `after` and `send` is done in this order."""

    model_config = ConfigDict(json_schema_extra={
        "anyOf": [{"required": ["expect"]}, {"required": ["send"]}], "dependentRequired": {"after": ["send"]}})

    expect: Pattern | None = None
    """What the console must show first, a prompt for example: text, or `/regular expression/`."""
    after: Duration = Field(default=0, json_schema_extra={"default": "0s"})
    """How long to wait before typing, in the domain's own time: `10ms`."""
    send: Annotated[str, Field(min_length=1)] | None = None
    """What is typed then.  In double quotes, `\\n` is the Enter key."""

    @model_validator(mode="after")
    def _is_a_step(self) -> "InputConfig":
        if self.expect is None and self.send is None:
            raise ValueError("expected a step with expect, send or both")
        if self.send is None and "after" in self.model_fields_set:
            raise ValueError("expected something to send after that time")
        return self


class PlacementConfig(_Model):
    domains_per_actor: Annotated[int, Field(ge=1, le=MAX_DOMAINS)] = 1
    """How many domains one Ray actor runs at most.  Those that refer to each other are put together."""
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] | None = None
    """On how many nodes of Ray's cluster the domains are.  The default is one, or what domains' `node` needs."""


class RayConfig(_Model):
    address: Annotated[Text, Field(min_length=1)] | None = None
    """A Ray cluster to run on: `auto` for the one of this machine, or HOST:PORT.  The default is RAY_ADDRESS, or else a
    Ray of the run's own."""
    metrics: bool | None = None
    """Whether hypercalls, events, hand-overs and speed go to Ray's metrics.  The default is yes on a cluster that was
    there already."""
    logs: bool | None = None
    """Whether what guests print also goes to the logs of their Ray workers.  The default is as that of `metrics`."""


class DomainPlacementConfig(_Model):
    model_config = ConfigDict(json_schema_extra={
        "not": {"required": ["actor", "apart"], "properties": {"apart": {"const": True}}}})

    apart: bool = False
    """With `true`, it has a Ray actor of its own, however many domains others run."""
    actor: Name | None = None
    """The name of the Ray actor that runs it, with all others that say the same name."""
    node: Annotated[int, Field(ge=0, lt=MAX_NODES)] | None = None
    """The number of the node that it is on, from 0.  Who says none is with those it refers to, or where room is."""

    @model_validator(mode="after")
    def _is_one_wish(self) -> "DomainPlacementConfig":
        if self.apart and self.actor is not None:
            raise ValueError("expected apart or actor, got both")
        return self


class DomainConfig(_Model):
    type: Literal["pvh", "hvm", "pv"] = "pvh"
    """`hvm` boots as `pvh` does; `pv` is a paravirtual guest of either width."""
    bits: Literal[64, 32] = 64
    """The width that a program of `guests/` is built for; 32 goes with `pv`.  Other kernels have their own."""
    kernel: FileName
    """A program of `guests/`, built on demand, or an image (ELF, compressed or bzImage), relative to the file."""
    ramdisk: FileName | None = None
    """A file for the kernel's first module, relative to the configuration file."""
    cmdline: Text = ""
    """The kernel's command line.  `${other.domid}` and `${self.domid}` stand for domids."""
    memory: Size = Field(default="64MiB", validate_default=True)
    """A number of MiB, or text such as `64MiB`."""
    vcpus: Annotated[int, AfterValidator(_vcpus), Field(json_schema_extra={"minimum": 1, "maximum": MAX_VCPUS})] = 1
    """How many processors it has, at most 32."""
    input: Annotated[tuple[InputConfig, ...], Field(strict=False)] = ()
    """What is typed on its console, step by step."""
    placement: DomainPlacementConfig = DomainPlacementConfig()
    """Which Ray actor runs it, where that is not left to the host's `placement`."""
    count: Annotated[int, Field(ge=1, le=MAX_DOMAINS)] | None = None
    """Replicas: with `count: 3`, domain `w` becomes `w-0`, `w-1` and `w-2`."""


class TimelineConfig(_Model):
    at: Duration
    """When, in the host's time: `20ms`."""
    migrate: Annotated[Text, Field(min_length=1)]
    """The domain that moves to another node while it runs."""
    to: Annotated[int, Field(ge=0, lt=MAX_NODES)]
    """The number of the node that it moves to."""


class ExpectConfig(_Model):
    exit: Exit = "poweroff"
    """How the domain must end.  A domain that may be `running` is not waited for."""
    console: Annotated[tuple[Pattern, ...], Field(strict=False)] = ()
    """Lines that must appear, in this order: each text in a line of its own; `/.../` is a regular expression."""


class HostConfig(_Model):
    name: Annotated[Text, Field(min_length=1)] | None = None
    """The scenario's name.  The default is the file's."""
    seed: Annotated[int, Field(ge=0, lt=1 << 64)] = 0
    """What everything random is drawn from."""
    clock: ClockConfig = ClockConfig()
    machine: MachineConfig = MachineConfig()
    checkpoint: Annotated[CheckpointConfig | None, BeforeValidator(_mapping)] = None
    """Take checkpoints, from which `launch.py --restore` goes on."""
    placement: PlacementConfig = PlacementConfig()
    """How domains are spread over Ray actors."""
    timeline: Annotated[tuple[TimelineConfig, ...], Field(strict=False)] = ()
    """What is done while the host runs.  Where the whole host is one process, nothing has to be."""
    ray: RayConfig = RayConfig()
    """The Ray that the run is on."""
    hypercalls: Annotated[tuple[FileName, ...], Field(strict=False)] = ()
    """Python files that add hypercalls, relative to the configuration file."""
    domains: Annotated[dict[Name, DomainConfig], Field(min_length=1)]
    """The domains by name.  Domids count from 1 in this order."""
    expect: dict[str, ExpectConfig] = {}
    """What must be true of each domain at the end."""
