"""The folder of a scaling experiment: a file for each finished run, the tidy table, and what it was measured with.

    run.json          versions, machine, configuration
    runs/KEY.json     a run that has finished, written whole or not at all
    scaling.csv       all of them, a row for each number; made anew from the files above
"""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.scaling_point import Measured, Point

COLUMNS = ("shape", "runtime", "nodes", "domains", "domains_per_actor", "pcpus", "purpose", "repeat", "amount",
           "metric", "value", "unit")
_MUST_AGREE = ("versions", "machine", "work")
"""Of the facts, what may not change in the middle of an experiment."""


class StoreError(Exception):
    """The folder cannot be used.  One line, with what to do."""


class Row(NamedTuple):
    """A number of the table."""

    point: Point
    measured: Measured


@dataclass(frozen=True)
class Store:
    """An experiment's folder."""

    folder: Path

    @property
    def table(self) -> Path:
        """The tidy table."""
        return self.folder / "scaling.csv"

    def begin(self, facts: Mapping[str, Any], *, resume: bool) -> None:
        """Begin an experiment, or go on with one that was begun with the same `facts`.

        Raises StoreError where there is one and `resume` is not said, or where the facts disagree; and OSError.
        """
        file = self.folder / "run.json"
        if not file.exists():
            (self.folder / "runs").mkdir(parents=True, exist_ok=True)
            _write(file, json.dumps(facts, indent=2) + "\n")
            return
        if not resume:
            raise StoreError(f"{self.folder} has an experiment already: --resume goes on with it, --out names another "
                             f"folder")
        before = self.facts()
        changed = [f"{f'{name} {key}'.strip()} was {_of(before, name, key)!r}, is {_of(facts, name, key)!r}"
                   for name in _MUST_AGREE for key in _keys(before, facts, name)
                   if _of(before, name, key) != _of(facts, name, key)]
        if changed:
            raise StoreError(f"{self.folder} was measured with something else ({'; '.join(changed)}): --out names "
                             f"another folder")
        # What was asked for may grow.
        _write(file, json.dumps({**before, "configuration": facts["configuration"]}, indent=2) + "\n")

    def facts(self) -> dict[str, Any]:
        """What the experiment was begun with.  Raises StoreError where there is none."""
        try:
            facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        except (OSError, ValueError):
            raise StoreError(f"{self.folder} has no experiment") from None
        return facts

    def finished(self) -> dict[str, list[Row]]:
        """The runs that have finished, by their keys.  A file that is no run is as good as none."""
        found: dict[str, list[Row]] = {}
        for file in sorted((self.folder / "runs").glob("*.json")):
            try:
                facts = json.loads(file.read_text())
                point = Point(**facts["point"])
                found[point.key] = [Row(point, Measured(*each)) for each in facts["measured"]]
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def add(self, point: Point, measured: Sequence[Measured]) -> None:
        """A run has finished.  Raises OSError."""
        facts = {"point": point.to_json(), "measured": [list(each) for each in measured]}
        _write(self.folder / "runs" / f"{point.key}.json", json.dumps(facts) + "\n")

    def write_table(self) -> list[Row]:
        """Make the table of all that has finished, and give its rows.  Raises OSError."""
        rows = [row for rows in self.finished().values() for row in rows]
        draft = self.table.with_suffix(".draft")
        with draft.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_cells(rows))
        draft.replace(self.table)
        return rows


def _cells(rows: Iterable[Row]) -> Iterable[list[object]]:
    for point, measured in rows:
        # 0 is how a point says that nothing was asked for; a table says it by an empty cell.
        values = {**point.to_json(), "pcpus": point.pcpus or "", **measured._asdict()}
        yield [values[column] for column in COLUMNS]


def _keys(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> list[str]:
    if not isinstance(now.get(name), Mapping):
        return [""]
    return sorted({*before.get(name, {}), *now[name]})


def _of(facts: Mapping[str, Any], name: str, key: str) -> Any:
    value = facts.get(name)
    return value.get(key) if key and isinstance(value, Mapping) else value


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all, whenever this process is killed."""
    draft = file.with_name(f".{file.name}.draft")
    with draft.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
