"""What the form of a configuration cannot say: names that exist, files that are there, sums that add up."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from toolstack.config import MAX_DOMAINS, ExpectConfig, HostConfig
from toolstack.errors import Problem, Where, did_you_mean
from toolstack.images import Images
from toolstack.quantities import show_size
from toolstack.references import Directory


def directory(config: HostConfig) -> Directory:
    """The domains that `config` asks for."""
    return Directory({name: domain.count for name, domain in config.domains.items()})


def problems(config: HostConfig, images: Images) -> list[Problem]:
    """Every mistake in `config`, without lines."""
    total = sum(domain.count or 1 for domain in config.domains.values())
    if total > MAX_DOMAINS:
        return [Problem(("domains",), f"expected at most {MAX_DOMAINS} domains, got {total}")]
    names = directory(config)
    return [
        *_names(config, names), *_domains(config, names, images), *_memory(config), *_hypercalls(config, images),
        *_expect(config, names), *_ray(config), *_nodes(config), *_timeline(config, names),
    ]  # fmt: skip


def _names(config: HostConfig, names: Directory) -> Iterator[Problem]:
    for name, times in Counter(instance.name for instance in names.instances).items():
        if times > 1:
            yield Problem(("domains", name), f"expected another name: {name!r} is a replica of another domain too")


def _domains(config: HostConfig, names: Directory, images: Images) -> Iterator[Problem]:
    for name, domain in config.domains.items():
        here: Where = ("domains", name)
        if domain.bits == 32 and domain.type != "pv":
            yield Problem((*here, "bits"), f"expected 64, which is what {domain.type} programs are built for, got 32")
        yield from _try((*here, "kernel"), images.check_kernel, domain.kernel)
        if domain.ramdisk is not None:
            yield from _try((*here, "ramdisk"), images.check_file, domain.ramdisk, "a file")
        if domain.placement.actor in names.groups or domain.placement.actor in names.by_name:
            yield Problem((*here, "placement", "actor"),
                          f"expected a name that no domain has, got {domain.placement.actor!r}")
        if "${" in domain.cmdline:
            own = names.groups[name][0]  # what holds of one replica holds of all
            yield from _try((*here, "cmdline"), names.substitute, domain.cmdline, own)


def _memory(config: HostConfig) -> Iterator[Problem]:
    wanted = sum(domain.memory * (domain.count or 1) for domain in config.domains.values())
    limit = config.machine.memory
    if limit is not None and wanted > limit:
        text = f"expected at least {show_size(wanted)}, which the domains ask for together, got {show_size(limit)}"
        yield Problem(("machine", "memory"), text)


def _nodes(config: HostConfig) -> Iterator[Problem]:
    """On several nodes not everything is possible yet."""
    wanted = {name: domain.placement.node for name, domain in config.domains.items()
              if domain.placement.node is not None}
    nodes = nodes_of(config)
    actors: dict[str, int] = {}
    for name, node in wanted.items():
        if node >= nodes:
            yield Problem(("domains", name, "placement", "node"),
                          f"expected a number below {nodes}, which is what placement.nodes says, got {node}")
        actor = config.domains[name].placement.actor
        if actor is not None and actors.setdefault(actor, node) != node:
            yield Problem(("domains", name, "placement", "node"),
                          f"expected {actors[actor]}, where others of the actor {actor!r} are, got {node}")
    if nodes > 1 and config.clock.mode == "host":
        yield Problem(("clock", "mode"), "expected virtual where domains are on several nodes, got host")


def nodes_of(config: HostConfig) -> int:
    """On how many nodes the host lies."""
    asked = [domain.placement.node for domain in config.domains.values() if domain.placement.node is not None]
    return config.placement.nodes or 1 + max((*asked, *(event.to for event in config.timeline)), default=0)


def _timeline(config: HostConfig, names: Directory) -> Iterator[Problem]:
    for index, event in enumerate(config.timeline):
        if event.migrate not in names.by_name:
            hint = f": it stands for {len(names.groups[event.migrate])} domains, of which one is named " \
                   f"{names.groups[event.migrate][0].name!r}" if event.migrate in names.groups \
                   else did_you_mean(event.migrate, names.names())
            yield Problem(("timeline", index, "migrate"), f"unknown domain {event.migrate!r}{hint}")
        if event.to >= nodes_of(config):
            yield Problem(("timeline", index, "to"), f"expected a number below {nodes_of(config)}, which is what "
                          f"placement.nodes says, got {event.to}")


def _hypercalls(config: HostConfig, images: Images) -> Iterator[Problem]:
    for index, file in enumerate(config.hypercalls):
        yield from _try(("hypercalls", index), images.check_file, file, "a Python file")


def _ray(config: HostConfig) -> Iterator[Problem]:
    address = config.ray.address
    if address is not None and not re.fullmatch(r"auto|[\w.-]+:[0-9]+|\[[0-9a-f:]+\]:[0-9]+", address):
        hint = " (a program that a client connects cannot place actors; run it on the cluster, with 'ray job submit')"
        yield Problem(("ray", "address"), f"expected auto or HOST:PORT, got {address!r}"
                      + hint * address.startswith("ray://"))


def expectations(config: HostConfig, names: Directory) -> dict[str, ExpectConfig]:
    """What each domain must do, by its own name; what is said of one replica goes before what is said of all."""
    result = {instance.name: ExpectConfig() for instance in names.instances}
    for key in sorted(config.expect, key=lambda key: key not in names.groups):
        result.update({member.name: config.expect[key] for member in names.members(key)})
    return result


def _expect(config: HostConfig, names: Directory) -> Iterator[Problem]:
    for name in config.expect:
        if not names.members(name):
            yield Problem(("expect", name), f"unknown domain {name!r}{did_you_mean(name, names.names())}")
    if all(expect.exit == "running" for expect in expectations(config, names).values()):
        yield Problem(("expect",), "expected at least one domain that ends, got 'exit: running' for all")


def _try(where: Where, check: Callable[..., object], *arguments: object) -> Iterator[Problem]:
    try:
        check(*arguments)
    except ValueError as error:
        yield Problem(where, str(error))
