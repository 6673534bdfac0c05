"""From a configuration file, or from options, to the plan that a runtime carries out."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hypervisor.typed_input import InputStep
from toolstack import checks, mistakes, quantities, yaml_lines
from toolstack.config import HostConfig, InputConfig
from toolstack.errors import ConfigError, Problem
from toolstack.images import Images, Programs, guest_programs
from toolstack.packing import Wish, actor_name, pack_nodes
from toolstack.plan import (
    ActorPlan,
    CheckpointPlan,
    ClockMode,
    ClockPlan,
    DomainPlan,
    Expectation,
    HostPlan,
    MigrationPlan,
    RayPlan,
)
from toolstack.references import Directory

Locate = Callable[[Problem], Problem]


@dataclass(frozen=True)
class Configuration:
    """A configuration without mistakes."""

    config: HostConfig
    name: str
    images: Images
    _source: str
    _locate: Locate

    def names(self) -> list[str]:
        """The domains' names in order of domid."""
        return [instance.name for instance in checks.directory(self.config).instances]

    def plan(self, *, clock: ClockMode | None = None, seed: int | None = None) -> HostPlan:
        """The host to run; builds guest programs.  `clock` and `seed` go before the configuration's own.

        Raises ConfigError where a program cannot be built, with what the compiler says.
        """
        config, names = self.config, checks.directory(self.config)
        expect = {
            name: Expectation(expected.exit, expected.console)
            for name, expected in checks.expectations(config, names).items()
        }
        kernels = {key: self._kernel(key) for key in config.domains}
        domains = []
        for instance in names.instances:
            domain = config.domains[instance.group]
            domains.append(
                DomainPlan(
                    name=instance.name, domid=instance.domid, type=domain.type, kernel=kernels[instance.group],
                    ramdisk=None if domain.ramdisk is None else self.images.path(domain.ramdisk),
                    cmdline=names.substitute(domain.cmdline, instance), memory=domain.memory, vcpus=domain.vcpus,
                    group=instance.group, awaited=expect[instance.name].exit != "running",
                    input=tuple(map(_step, domain.input)),
                )
            )  # fmt: skip
        wanted = sum(domain.memory for domain in domains)
        return HostPlan(
            name=self.name, seed=config.seed if seed is None else seed,
            clock=_clock(config, clock or config.clock.mode), memory=config.machine.memory or wanted,
            pcpus=config.machine.pcpus or os.cpu_count() or 1,
            xen_version=config.machine.xen_version, hypercalls=tuple(map(self.images.path, config.hypercalls)),
            domains=tuple(domains), expect=expect, actors=_actors(config, names), checkpoint=self._checkpoint(),
            ray=RayPlan(config.ray.address, config.ray.metrics, config.ray.logs), least_nodes=checks.nodes_of(config),
            timeline=tuple(MigrationPlan(event.at, names.by_name[event.migrate].domid, event.to)
                           for event in config.timeline),
        )  # fmt: skip

    def _checkpoint(self) -> CheckpointPlan | None:
        wanted = self.config.checkpoint
        if wanted is None:
            return None
        return CheckpointPlan(wanted.every, self.images.path(wanted.directory), wanted.keep)

    def located(self, error: ConfigError) -> ConfigError:
        """A mistake that a runtime found, about one of the plan's domains, with its line in the file."""
        groups = {instance.name: instance.group for instance in checks.directory(self.config).instances}
        found = []
        for problem in error.problems:
            match problem.where:
                case ("domains", str(name), *rest) if name in groups:
                    found.append(self._locate(replace(problem, where=("domains", groups[name], *rest))))
                case _:
                    return error
        return ConfigError(self._source, found)

    def _kernel(self, key: str) -> Path:
        domain = self.config.domains[key]
        try:
            return self.images.kernel(domain.kernel, domain.type, domain.bits)
        except Exception as error:  # GuestBuildError, or no compiler, or no room for its output
            first, *rest = str(error).splitlines() or [type(error).__name__]
            problem = self._locate(Problem(("domains", key, "kernel"), first, detail=tuple(rest)))
            raise ConfigError(self._source, [problem]) from error


def _step(step: InputConfig) -> InputStep:
    return InputStep(step.expect, (step.send or "").encode(), step.after)


def _actors(config: HostConfig, names: Directory) -> tuple[ActorPlan, ...]:
    """Who runs with whom, by `placement` and by who refers to whom."""
    wishes = []
    for instance in names.instances:
        domain = config.domains[instance.group]
        wishes.append(Wish(instance.domid, names.mentioned(domain.cmdline, instance), domain.placement.apart,
                           domain.placement.actor, domain.placement.node))
    nodes = config.placement.nodes or 1 + max((wish.node or 0 for wish in wishes), default=0)
    actors: list[ActorPlan] = []
    taken: set[str] = set()
    for packed in pack_nodes(wishes, config.placement.domains_per_actor, nodes):
        name = packed.name or actor_name([names.instances[domid - 1].name for domid in packed.domids])
        if name in taken:  # two long lists that begin alike
            name = f"{name}-{len(actors)}"
        taken.add(name)
        actors.append(ActorPlan(name, packed.domids, packed.node))
    return tuple(actors)


def _clock(config: HostConfig, mode: ClockMode) -> ClockPlan:
    epoch = config.clock.epoch
    if epoch is None:
        epoch = time.time_ns() if mode == "host" else quantities.epoch(quantities.DEFAULT_EPOCH)
    return ClockPlan(mode, epoch, config.clock.frequency)


def load(file: str, programs: Programs | None = None) -> Configuration:
    """The configuration in `file`.  Raises ConfigError with every mistake in it."""
    path = Path(file)
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(file, [Problem((), f"cannot read the configuration: {reason}")]) from None
    except ValueError:  # a NUL in the name
        raise ConfigError(file, [Problem((), "expected a file name")]) from None
    document = yaml_lines.read(file, raw)
    if document.data is None:
        raise ConfigError(file, [Problem((), "expected a mapping with domains, got an empty file", 1)])

    def locate(problem: Problem) -> Problem:
        return replace(problem, line=document.line(problem.where))

    return from_data(document.data, path.parent, file, path.stem, locate, programs)


def from_data(
    data: Any,
    base: Path,
    source: str = "",
    name: str = "host",
    locate: Locate = lambda problem: problem,
    programs: Programs | None = None,
) -> Configuration:
    """The configuration that `data` is, with files relative to `base`.  Raises ConfigError about `source`.

    `locate` finishes each problem: it adds a line, or says which option it came from.
    """
    try:
        config = HostConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(source, [locate(problem) for problem in mistakes.problems(error)]) from None
    images = Images(base, programs or guest_programs())
    found = checks.problems(config, images)
    if found:
        raise ConfigError(source, [locate(problem) for problem in found])
    _check_hypercalls(base, config.hypercalls)
    return Configuration(config, config.name or name, images, source, locate)


def _check_hypercalls(base: Path, files: Sequence[str]) -> None:
    """Raises ConfigError where the host could not take the user's hypercalls; it names their file and line."""
    if not files:
        return
    from hypervisor.user_hypercalls import UserHypercallError, load, with_user_rows

    try:
        with_user_rows([load(base / file) for file in files])
    except UserHypercallError as error:
        raise ConfigError("", [Problem((), str(error))]) from None


def from_options(options: Mapping[str, Any], programs: Programs | None = None) -> Configuration:
    """One domain from `launch.py`'s options: kernel, type, cmdline, memory, ramdisk (None: not given).

    Raises ConfigError, which names the option.
    """
    name = _domain_name(str(options["kernel"]))
    domain = {key: value for key, value in options.items() if value is not None}

    def locate(problem: Problem) -> Problem:
        where = problem.where
        option = where[2] if len(where) > 2 and where[0] == "domains" else "kernel"
        return replace(problem, where=(f"--{option}",))

    return from_data({"domains": {name: domain}}, Path(), "", name, locate, programs)


def _domain_name(kernel: str) -> str:
    stem = Path(kernel).stem or "guest"
    name = "".join(letter if re.match(r"[A-Za-z0-9_]", letter) else "-" for letter in stem)[:64].strip("-")
    return "guest" if name in ("", "self") else name
