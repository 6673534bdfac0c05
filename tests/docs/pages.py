"""Documentation that is executed: what a page tells its reader to do is done, and what it shows is compared.

In a page of Markdown, from top to bottom:

- a block ```console holds commands, after `$ `, each with what it prints; a line `...` stands for any lines, and a
  command without output may print anything
- `<!-- file: NAME -->` before a block of any language: the reader puts it into that file of the repository
- `<!-- exit status: N -->` before a console block: its commands end so, instead of with 0
- `<!-- order: of each domain -->` before a console block: lines of different domains may come in another order
- `<!-- not run: WHY -->` before a console block: it is only shown
- `<!-- needs: FILE -->` before a console block: without that file a page is read up to there, but not in CI

Commands run in a copy of the repository.  Times, amounts of work and digests are volatile: they may differ.
`python tests/docs/refresh.py` writes what is printed now into all pages.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = frozenset((".git", ".venv", "build", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache",
                       ".import_linter_cache"))
ANY = "..."
_FENCE = re.compile(r"```(\w*)\s*")
_NOTE = re.compile(r"<!-- (file|exit status|order|not run|needs): (.*) -->")
_VOLATILE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "#"),
    (re.compile(r"\b[0-9]{1,3}(,[0-9]{3})+\b"), "#"),
    (re.compile(r"\b[0-9][0-9,.]* ?(ns|us|ms|s|[kMGT]|MiB|million/s)\b"), r"# \1"),
    (re.compile(r"-{3,}"), "---"),
    (re.compile(r"\s+"), " "),
)
_LIMIT = 300


@dataclass
class Command:
    """A command line of a page, with the lines that the page shows after it; `at` is where these begin."""

    text: str
    at: int
    shown: list[str] = field(default_factory=list)
    status: int = 0
    mixed: bool = False
    """Only the order of each domain's own lines counts."""
    needs: str | None = None
    """A file that other people made, by its path or its place in the repository."""

    def missing(self) -> bool:
        """Whether there is no such file."""
        return self.needs is not None and not (ROOT / self.needs).exists()

    def found_in(self, printed: list[str]) -> list[int] | None:
        """Where each shown line is in what was printed, -1 for `...`; None where it is not all there."""
        return (mixed if self.mixed else placed)(self.shown, printed)


@dataclass
class Text:
    """A file that the reader writes."""

    name: str
    lines: list[str]


@dataclass
class Block:
    """A fenced block: its language, the line of its first line (from 0), and the notes before it."""

    language: str
    at: int
    lines: list[str]
    notes: dict[str, str]


def pages() -> list[Path]:
    """All pages."""
    names = ("README.md", "LIMITATIONS.md", "guests/README.md")
    return [*map(ROOT.joinpath, names), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines, notes, block = text.split("\n"), {}, None
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if block is not None:
            if line == "```":
                yield block
                block = None
            else:
                block.lines.append(line)
        elif fence is not None:
            block, notes = Block(fence[1], number + 1, [], notes), {}
        elif note := _NOTE.fullmatch(line):
            notes[note[1]] = note[2]
        elif line:
            notes = {}
    if block is not None:
        raise ValueError(f"line {block.at}: the block has no end")


def steps(text: str) -> list[Command | Text]:
    """What a page tells its reader to do, in order."""
    found: list[Command | Text] = []
    for block in blocks(text):
        if "file" in block.notes:
            found.append(Text(block.notes["file"], block.lines))
        elif block.language == "console" and "not run" not in block.notes:
            found += _commands(block)
    return found


def _commands(block: Block) -> list[Command]:
    found: list[Command] = []
    for number, line in enumerate(block.lines, block.at):
        if line.startswith("$ "):
            status = int(block.notes.get("exit status", "0"))
            found.append(Command(line[2:], number + 1, status=status, mixed="order" in block.notes,
                                 needs=block.notes.get("needs")))
        elif not found:
            raise ValueError(f"line {number + 1}: output before the first command")
        else:
            found[-1].shown.append(line)
    return found


class Reader:
    """Somebody who does what pages say, in a copy of the repository at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=_left_out, dirs_exist_ok=True)
        if (linux := ROOT / "build" / "linux").exists():  # what others built is not got again
            (folder / "build").mkdir()
            (folder / "build" / "linux").symlink_to(linux)
        programs = Path(sys.executable).parent
        # With Python's caches, or every command would compile all that it imports anew.
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("PYTEST", "COV_", "PYTHONDONTWRITEBYTECODE"))}
        self._environment = kept | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb", "COLUMNS": "100",
            "DOMUS_CACHE": os.environ.get("DOMUS_CACHE") or str(ROOT / "build" / "guests"),
        }  # fmt: skip

    def write(self, file: Text) -> None:
        """Put a file where the page says."""
        path = self.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(file.lines) + "\n")

    def run(self, command: Command) -> tuple[int, list[str]]:
        """The exit status, and the lines printed."""
        done = subprocess.run(["bash", "-c", command.text], cwd=self.folder, env=self._environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=_LIMIT)
        return done.returncode, done.stdout.rstrip("\n").split("\n") if done.stdout.strip() else []


def _left_out(_folder: str, names: list[str]) -> set[str]:
    """Also what another process is about to rename to a `.pyc`."""
    return {name for name in names if name in ELSEWHERE or ".pyc." in name}


def normal(line: str) -> str:
    """A line without what is volatile."""
    for pattern, replacement in _VOLATILE:
        line = pattern.sub(replacement, line)
    return line.strip()


def placed(shown: list[str], printed: list[str]) -> list[int] | None:
    """Where each shown line is in what was printed (-1 for `...`); None where it is not all there, in order."""
    have = [normal(line) for line in printed]
    pieces: list[list[str]] = [[]]
    for line in shown:
        if line == ANY:
            pieces.append([])
        else:
            pieces[-1].append(normal(line))
    if len(pieces) == 1:
        return list(range(len(have))) if pieces[0] == have else None
    found: list[int] = []
    at = 0
    for index, piece in enumerate(pieces):
        end = len(have) - len(piece)
        places = [0] if index == 0 else [end] if index == len(pieces) - 1 else range(at, end + 1)
        place = next((place for place in places if at <= place and have[place:place + len(piece)] == piece), None)
        if place is None:
            return None
        at = place + len(piece)
        found += [*([-1] if index else []), *range(place, at)]
    return found


def mixed(shown: list[str], printed: list[str]) -> list[int] | None:
    """The same for lines of several domains, of which each has its own order (`writer | text`)."""
    have = [normal(line) for line in printed]
    found: list[int] = []
    latest: dict[str, int] = {}
    for line in shown:
        if line == ANY:
            found.append(-1)
            continue
        want = normal(line)
        source = want.partition(" |")[0] if " |" in want else ""
        place = next((place for place in range(latest.get(source, -1) + 1, len(have)) if have[place] == want), None)
        if place is None:
            return None
        found.append(place)
        latest[source] = place
    return found
