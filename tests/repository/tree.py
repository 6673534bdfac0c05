"""The files of the repository: those under version control, and new ones that are not ignored."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_IGNORED = frozenset(("__pycache__", "build", "node_modules"))


def files() -> list[Path]:
    """All files, sorted."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                            text=True, check=False) if (ROOT / ".git").exists() else None
    if listed is not None and listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.split("\0") if name]
        return sorted(path for path in names if path.is_file())
    return sorted(path for path in ROOT.rglob("*") if path.is_file() and not _ignored(path))


def _ignored(path: Path) -> bool:
    folders = path.relative_to(ROOT).parts[:-1]
    hidden = any(name.startswith(".") and name != ".ci" for name in folders)
    return hidden or any(name in _IGNORED or name.endswith(".egg-info") for name in folders)


def modules() -> list[Path]:
    """The Python modules that are not tests."""
    return [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]
