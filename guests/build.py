"""Builds guest programs with the C compiler of the `ziglang` package, and keeps what it built.

A program is `NAME.c` in `guests/` or in one of its subfolders, or a folder with a `main.c` and more.  Its name is the
path without the suffix: `first_steps`, `abuse/void`, `abuse/selftest`.  It is linked with the library of `guests/lib`
for one target, a folder of `guests/lib` with a linker script and `flags.txt`.  A program that is not for all of them
says so in its source: `Targets: pv32 pv64`.  `build_from` does the same with sources that lie elsewhere, such as a
test's.

Images are cached by a hash of everything that goes in: sources, compiler version, flags.  The cache is
`build/guests` of the repository, or the folder that the environment's DOMUS_CACHE names.

    python -m guests.build [--target TARGET] [NAME...]     builds those, or all for the target; prints where they are
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

GUESTS = Path(__file__).resolve().parent
LIBRARY = GUESTS / "lib"
DEFAULT_TARGET = "pvh64"
_WRITTEN_FOR = re.compile(r"^ ?[/ ]\* Targets: ([\w ]+?)(?: \*/)?$", re.MULTILINE)

FLAGS = [
    "-std=gnu17", "-O2", "-g0", "-ffreestanding", "-fno-pic", "-fno-pie", "-ffunction-sections", "-fdata-sections",
    "-fno-stack-protector", "-fno-sanitize=all", "-fno-strict-aliasing", "-fno-lto",
    "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
    "-Wall", "-Wextra", "-Werror", "-Wstrict-prototypes", "-Wmissing-prototypes",
    "-nostdlib", "-static", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096",
]
"""Without debug information, because that would have the path of this machine in it; symbols stay."""


class GuestBuildError(Exception):
    """A program cannot be built.  The first line says which and why; the compiler's own words may follow."""


def available() -> list[str]:
    """The names of all programs."""
    return sorted(_programs())


def targets() -> list[str]:
    """The guest kinds that programs can be built for."""
    return sorted(script.parent.name for script in LIBRARY.glob("*/link.ld"))


def targets_of(program: str) -> list[str]:
    """The guest kinds that `program` is for: what the line `Targets:` in its sources names, or all.

    Raises GuestBuildError where there is no such program.
    """
    return _written_for(_sources(program))


def _written_for(sources: Sequence[Path]) -> list[str]:
    named = [found[1] for source in sources if (found := _WRITTEN_FOR.search(source.read_text()))]
    return named[0].split() if named else targets()


def build(program: str, target: str = DEFAULT_TARGET, cache: Path | None = None) -> Path:
    """The ELF image of `program` for `target`, built unless the cache has it.

    Safe to call from several processes at once.  Raises GuestBuildError.
    """
    return _build(program, _sources(program), target, cache)


def build_from(source: Path, target: str = DEFAULT_TARGET, cache: Path | None = None) -> Path:
    """As `build`, for a program of somebody else's: a C file, or a folder with a `main.c`."""
    source = source.absolute()
    sources = _files(source, "*.[cS]") if source.is_dir() else [source]
    if not sources or not source.exists():
        raise GuestBuildError(f"guest {source.stem}: there is no source at {source}")
    return _build(source.stem, sources, target, cache)


def _build(program: str, sources: list[Path], target: str, cache: Path | None) -> Path:
    if target not in targets():
        raise GuestBuildError(f"guest {program}: unknown target {target!r}; there are {', '.join(targets())}")
    if target not in (possible := _written_for(sources)):
        raise GuestBuildError(f"guest {program}: it is written for {' and '.join(possible)}, not for {target}")
    cache = (cache or default_cache()).absolute()
    library = [*_files(LIBRARY, "*.c"), *(file for folder in _folders(target) for file in _files(folder, "*.[cS]"))]
    flags = [*FLAGS, *(LIBRARY / target / "flags.txt").read_text().split()]
    key = _key(program, target, flags, _compiler_version(), [*sources, *library, *_headers(sources, target)])
    image = cache / target / f"{program.replace('/', '-')}-{key}.elf"
    if not image.exists():
        try:
            _compile(program, target, flags, [*sources, *library], image, cache)
        except OSError as error:
            raise GuestBuildError(f"guest {program}: cannot write to the cache {cache}: {error}") from error
    return image


def default_cache() -> Path:
    """Where images are kept."""
    chosen = os.environ.get("DOMUS_CACHE")
    return Path(chosen) if chosen else GUESTS.parent / "build" / "guests"


def _programs() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}

    def search(folder: Path, prefix: str) -> None:
        for entry in os.scandir(folder):
            path = Path(entry.path)
            if entry.is_file() and path.suffix == ".c":
                found[prefix + path.stem] = [path]
            elif entry.is_dir() and path != LIBRARY and not entry.name.startswith(("_", ".")):
                if (path / "main.c").exists():
                    found[prefix + entry.name] = _files(path, "*.[cS]")
                else:
                    search(path, f"{prefix}{entry.name}/")

    search(GUESTS, "")
    return found


def _sources(program: str) -> list[Path]:
    programs = _programs()
    if program not in programs:
        raise GuestBuildError(f"no guest program {program!r}; there are {', '.join(sorted(programs))}")
    return programs[program]


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _folders(target: str) -> list[Path]:
    """Where a target's part of the library is: its own folder, and the one that both widths of its kind share (pv)."""
    return [LIBRARY / target, LIBRARY / target.rstrip("0123456789")]


def _headers(sources: Sequence[Path], target: str) -> Iterator[Path]:
    """What the sources may include, and what the linker reads."""
    folder = sources[0].parent
    yield from _files(LIBRARY / "include", "**/*.h")
    for part in _folders(target):
        yield from _files(part, "*.h")
        yield from _files(part, "*.ld")
    yield from _files(folder, "*.h")
    if folder.is_relative_to(GUESTS) and folder != GUESTS:
        yield from _files(folder.parent, "*.h")


def _key(program: str, target: str, flags: Sequence[str], compiler: str, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(repr((program, target, flags, compiler)).encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"\0{os.path.relpath(path, GUESTS)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _compiler_version() -> str:
    """The version of the ziglang package, from the name of its metadata: importing it would take longer than a build
    that is cached."""
    spec = PathFinder.find_spec("ziglang")
    if spec is None or not spec.origin:
        raise GuestBuildError("guest programs need a C compiler: pip install ziglang")
    for metadata in Path(spec.origin).parents[1].glob("ziglang-*.dist-info"):
        return metadata.name.split("-")[1].removesuffix(".dist")
    return "unknown"


def _compile(
    program: str, target: str, flags: Sequence[str], sources: Sequence[Path], image: Path, cache: Path
) -> None:
    image.parent.mkdir(parents=True, exist_ok=True)
    # The compiler's own cache is beside ours.  It keeps the library's objects from one program to the next.
    environment = os.environ | {name: str(cache / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    includes = [f"-I{path.relative_to(GUESTS)}" for path in (LIBRARY / "include", *_folders(target))]
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".building-") as folder:
        new = Path(folder) / image.name
        command = [
            sys.executable, "-m", "ziglang", "cc", *flags, *includes, f"-Wl,-T,lib/{target}/link.ld",
            *(os.path.relpath(source, GUESTS) for source in sources), "-o", str(new),
        ]  # relative paths, so that neither the image nor a message depends on where the repository lies
        done = subprocess.run(command, cwd=GUESTS, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GuestBuildError(f"guest {program} for {target}: {_first_error(done.stderr)}\n{done.stderr.strip()}")
        os.replace(new, image)  # whoever built the same at the same time wrote the same


def _first_error(message: str) -> str:
    """The line of the compiler's output that says most."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), lines[0] if lines else "the compiler failed silently")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m guests.build", description="Build guest programs.")
    parser.add_argument("programs", nargs="*", metavar="NAME", help="what to build; all when none is named")
    parser.add_argument("--target", default=DEFAULT_TARGET, help="the guest kind (default: %(default)s)")
    chosen = parser.parse_args()
    failed = False
    for program in chosen.programs or [name for name in available() if chosen.target in targets_of(name)]:
        try:
            print(build(program, chosen.target))
        except GuestBuildError as error:
            print(error, file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
