"""Checkpoints: a directory with all that a host is at one moment, and how it is written and read.

`memory` is the host's shared bytes (`toolstack.memory_image`), `manifest` the rest: the plan, what each domain's
process keeps, and what both files must be to be believed.  A directory gets its name when it is complete.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped, unused-ignore]
import unicorn

from domains import envlayout
from hypervisor.host_state import HostShape
from toolstack.errors import CheckpointError
from toolstack.memory_image import Facts, ImageError, read_image, write_image
from toolstack.plan import HostPlan

FORMAT, VERSION = "domus checkpoint", 1
MANIFEST, MEMORY = "manifest", "memory"
_DIGITS = 15
"""Of the microseconds in a directory's name: thirty years."""


def unusable(path: Path, why: str) -> CheckpointError:
    """The error that says why a checkpoint cannot be used."""
    return CheckpointError(f"checkpoint {str(path)!r}: {why}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read, but for its memory."""

    path: Path
    body: Mapping[str, Any]

    @cached_property
    def plan(self) -> HostPlan:
        """The host's plan.  Raises CheckpointError."""
        from pydantic import TypeAdapter, ValidationError  # actors get the plan, and do without

        try:
            return TypeAdapter(HostPlan).validate_python(self.body["plan"])
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise unusable(self.path, f"its plan is not one of this version ({where})") from None

    @property
    def time(self) -> int:
        """Nanoseconds of system time at which it was taken."""
        return int(self.body["time"])

    def domain(self, domid: int) -> Mapping[str, Any]:
        """What the process that ran a domain kept of it: see `toolstack.checkpoint_parts`."""
        part: Mapping[str, Any] = self.body["domains"][domid]
        return part

    def load(self, memory: memoryview, shape: HostShape) -> None:
        """Fill a new host's memory, all of it zero.  Raises CheckpointError."""
        if self.body["layout"] != layout(shape):
            raise unusable(self.path, "it was taken by another version of this program")
        try:
            with (self.path / MEMORY).open("rb") as file:
                read_image(file, Facts(*self.body["memory"]), memory[:shape.size])
        except OSError as error:
            raise unusable(self.path, f"cannot read its memory: {error.strerror}") from None
        except ImageError as error:
            raise unusable(self.path, f"its memory cannot be used: {error}") from None


def layout(shape: HostShape) -> str:
    """What a checkpoint must agree on with the program that reads it, as a hash: where everything lies."""
    facts = [unicorn.__version__, envlayout.WORDS, shape.frames]
    facts += [(kind.__name__, rows, sorted(kind.COLUMNS.items())) for kind, rows in shape.tables()]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def plan_data(plan: HostPlan) -> Any:
    """A plan as plain data."""
    return _plain(asdict(plan))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def write(directory: Path, name: str, body: dict[str, Any], descriptor: int, memory: memoryview) -> tuple[Path, Facts]:
    """Write a checkpoint of host `name` into `directory`, whole or not at all.  Raises OSError.

    `memory` maps the start of the open file `descriptor`.
    """
    path = directory / f"{stem(name)}-{body['time'] // 1000:0{_DIGITS}d}"
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f".{path.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        with (draft / MEMORY).open("wb") as file:
            facts = write_image(file, descriptor, memory)
            _sync(file.fileno())
        packed: bytes = msgpack.packb({**body, "memory": tuple(facts)})
        with (draft / MANIFEST).open("wb") as file:
            file.write(msgpack.packb({"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(packed).digest()}))
            file.write(packed)
            _sync(file.fileno())
        if path.exists():  # of an earlier run: who is interrupted here leaves none, or the new one
            old = directory / f".{path.name}.{os.getpid()}.old"
            path.rename(old)
            draft.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return path, facts


def _sync(descriptor: int) -> None:
    os.fdatasync(descriptor)


def check(directory: Path) -> None:
    """Make a directory for checkpoints, see that it can be written to, and clear up after who died writing to it.

    Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        left = re.fullmatch(rf"\..+-[0-9]{{{_DIGITS}}}\.([0-9]+)(\.old)?", path.name)
        if left and not Path("/proc", left[1]).exists():
            shutil.rmtree(path, ignore_errors=True)
    draft = directory / f".probe.{os.getpid()}"
    draft.mkdir()
    draft.rmdir()


def prune(directory: Path, name: str, keep: int) -> None:
    """Leave the `keep` checkpoints of host `name` that were written last."""
    for path in written(directory, name)[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def written(directory: Path, name: str | None = None) -> list[Path]:
    """The checkpoints in a directory, of host `name` or of all, the newest first."""
    pattern = r".+" if name is None else re.escape(stem(name))
    found = []
    for path in directory.iterdir():
        if re.fullmatch(rf"{pattern}-[0-9]{{{_DIGITS}}}", path.name) and not path.name.startswith("."):
            try:
                found.append(((path / MANIFEST).stat().st_mtime_ns, path.name, path))
            except OSError:
                continue
    return [path for *_, path in sorted(found, reverse=True)]


def stem(name: str) -> str:
    """A host's name as it stands in file names."""
    return re.sub(r"[^A-Za-z0-9_.-]|^\.", "-", name)


def read(given: Path) -> Checkpoint:
    """The checkpoint at `given`, or the newest in that directory.  Raises CheckpointError."""
    path = given
    try:
        if not (path / MANIFEST).exists():
            checkpoints = written(path)
            hosts = {checkpoint.name[:-_DIGITS - 1] for checkpoint in checkpoints}
            if len(hosts) > 1:
                raise unusable(given, f"there are some of several hosts ({', '.join(sorted(hosts))}): name one")
            if not checkpoints:
                raise unusable(given, "there is none")
            path = checkpoints[0]
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise unusable(given, (error.strerror or str(error)).lower()) from None
    return Checkpoint(path, _body(path, raw))


def _body(path: Path, raw: bytes) -> Mapping[str, Any]:
    unpacker = msgpack.Unpacker(use_list=False, strict_map_key=False, max_buffer_size=len(raw) or 1)
    unpacker.feed(raw)
    try:
        head = unpacker.unpack()
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise unusable(path, "it is none")
        if head.get("version") != VERSION:
            raise unusable(path, f"it has version {head.get('version')}; expected {VERSION}")
        if hashlib.sha256(raw[unpacker.tell():]).digest() != head.get("sha256"):
            raise unusable(path, "it is damaged or cut off")
        body = unpacker.unpack()
    except (ValueError, msgpack.exceptions.UnpackException):
        raise unusable(path, "it is none, or damaged") from None
    assert isinstance(body, dict)
    return body
