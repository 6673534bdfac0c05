"""`${writer.domid}` in command lines: what one guest is told about the others.

| reference | stands for |
|---|---|
| `${NAME.domid}` | the domid of domain NAME, or of replica `NAME-2` |
| `${NAME.domids}` | the domids of all replicas of NAME, with commas |
| `${NAME.count}` | how many there are |
| `${self.domid}`, `${self.index}`, `${self.count}`, `${self.name}` | the domain's own; `index` counts replicas from 0 |

Where NAME and the domain itself have equally many replicas, `${NAME.domid}` is the replica with the same index: that is
how pairs are written.  `$${` is a plain `${`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolstack.errors import did_you_mean

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_OTHERS = ("domid", "domids", "count")
_OWN = ("domid", "index", "count", "name")


@dataclass(frozen=True, slots=True)
class Instance:
    """One domain to be: `worker-2`, replica 2 of `worker`."""

    name: str
    domid: int
    group: str
    """Its key in the configuration."""
    index: int


class Directory:
    """The domains of a host, for references between them."""

    def __init__(self, counts: Mapping[str, int | None]) -> None:
        """`counts`: the configuration's domains in order, each with its number of replicas, or None where it is one."""
        self.instances: list[Instance] = []
        self.groups: dict[str, list[Instance]] = {}
        for group, count in counts.items():
            members = self.groups[group] = []
            for index in range(count or 1):
                name = group if count is None else f"{group}-{index}"
                members.append(Instance(name, len(self.instances) + 1, group, index))
                self.instances.append(members[-1])
        self.by_name: dict[str, Instance] = {instance.name: instance for instance in self.instances}

    def names(self) -> list[str]:
        """Every name that a reference or an expectation may use: keys, then replicas (a few, where they are many)."""
        return [*self.groups, *[name for name in list(self.by_name)[:100] if name not in self.groups]]

    def members(self, name: str) -> Sequence[Instance]:
        """The domains that `name` means: all replicas of a key, or one.  Empty where there is none."""
        if name in self.groups:
            return self.groups[name]
        return [self.by_name[name]] if name in self.by_name else []

    def substitute(self, text: str, own: Instance) -> str:
        """`text` with its references replaced.  Raises ValueError for one that means nothing."""

        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if not match[2]:
                raise ValueError(f"expected '}}' after {match[0]!r} (a plain '${{' is written '$${{')")
            return self._value(match[0], match[1].strip(), own)

        return _REFERENCE.sub(replace, text)

    def mentioned(self, text: str, own: Instance) -> list[int]:
        """The domids of the other domains whose domids `text` asks for, where it has no mistake."""
        found: list[int] = []
        for match in _REFERENCE.finditer(text):
            name, _, attribute = (match[1] or "").strip().rpartition(".")
            if attribute == "domid" and name != "self":
                found.append(self._one(match[0], self.members(name), own).domid)
            elif attribute == "domids":
                found += [member.domid for member in self.members(name)]
        return [domid for domid in found if domid != own.domid]

    def _value(self, written: str, reference: str, own: Instance) -> str:
        name, _, attribute = reference.rpartition(".")
        if name == "self":
            values = {"domid": own.domid, "index": own.index, "count": len(self.groups[own.group]), "name": own.name}
            if attribute not in values:
                raise ValueError(f"{written}: unknown {attribute!r}{did_you_mean(attribute, _OWN)}")
            return str(values[attribute])
        if not name:
            raise ValueError(f"expected a reference such as ${{writer.domid}}, got {written}")
        members = self.members(name)
        if not members:
            raise ValueError(f"{written}: unknown domain {name!r}{did_you_mean(name, self.names())}")
        match attribute:
            case "domid":
                return str(self._one(written, members, own).domid)
            case "domids":
                return ",".join(str(member.domid) for member in members)
            case "count":
                return str(len(members))
        raise ValueError(f"{written}: unknown {attribute!r}{did_you_mean(attribute, _OTHERS)}")

    def _one(self, written: str, members: Sequence[Instance], own: Instance) -> Instance:
        if len(members) == 1:
            return members[0]
        if len(members) == len(self.groups[own.group]):
            return members[own.index]
        group = members[0].group
        raise ValueError(
            f"expected one domain, got {written}, which are {len(members)}: "
            f"say ${{{group}-0.domid}}, or ${{{group}.domids}} for all"
        )
