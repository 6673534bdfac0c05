"""Building native code of ours for this host, once, with the C compiler of the `ziglang` package that guests need too.

What was built is kept in `build/host` of the repository, or in the folder that the environment's DOMUS_CACHE names,
by a hash of its source and the host.
"""

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_FLAGS = ("-O2", "-shared", "-fPIC", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror", "-g0")


class HostCodeError(RuntimeError):
    """The library cannot be built or loaded here.  One line."""


def load(source: Path, *more: Path, kind: type[ctypes.CDLL] = ctypes.CDLL) -> ctypes.CDLL:
    """The shared library made of the C file `source` and `more`.  Headers lie beside it.  Raises HostCodeError.

    `kind` is PyDLL where its calls are too short to let other threads have Python meanwhile.
    """
    sources = (source, *more)
    text = b"".join(file.read_bytes() for file in (*sources, *sorted(source.parent.glob("*.h"))))
    key = hashlib.sha256(text + platform.machine().encode() + " ".join(_FLAGS).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("DOMUS_CACHE") or Path(__file__).resolve().parent.parent / "build") / "host"
    library = cache / f"{source.stem}-{key}.so"
    try:
        if not library.exists():
            _build(sources, library, cache)
        return kind(str(library))
    except OSError as error:
        raise HostCodeError(f"{source.name}: {error.strerror or error}") from error


def _build(sources: Sequence[Path], library: Path, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"), "ZIG_LOCAL_CACHE_DIR": str(cache / "zig")}
    handle, draft = tempfile.mkstemp(suffix=".so", dir=cache)
    os.close(handle)
    try:
        done = subprocess.run([sys.executable, "-m", "ziglang", "cc", *_FLAGS, "-o", draft, *map(str, sources)],
                              env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            first = (done.stderr.strip() or "the compiler failed").splitlines()[0]
            raise HostCodeError(f"{sources[0].name}: {first}")
        os.replace(draft, library)
    finally:
        Path(draft).unlink(missing_ok=True)
