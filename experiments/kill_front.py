"""The native front with a trap before each of its writes: the process kills itself at the write that it is told."""

import ctypes
import re
from pathlib import Path

from domains import fast_path
from domains.host_code import load

_WRITE = re.compile(
    r"^(\s+)((?:f->\w+\[.*?\](?:\+\+|--| [|&]?= | \+= )|f->memory\[|store(?:32|64)\(f, (?!u64)).*;)$", re.M)
_POINT = """
#include <signal.h>
#include <unistd.h>
volatile long long domus_writes_left = -1;
static int point(void) {
    if (domus_writes_left > 0 && --domus_writes_left == 0)
        kill(getpid(), SIGKILL);
    return 0;
}
"""


def load_deadly_front(folder: Path) -> ctypes.CDLL:
    """What `domains.fast_path.load_fast_path` gives, but for the trap; its source is written to `folder`.

    Raises HostCodeError.
    """
    sources = Path(fast_path.__file__).parent
    source = (sources / "fast_path.c").read_text().replace('#include "front.h"', (sources / "front.h").read_text())
    changed, writes = _WRITE.subn(r"\1point(), \2", source)
    assert writes > 30, "fast_path.c is written in another way than this expects"
    draft = folder / "fast_path_deadly.c"
    draft.write_text(changed.replace("typedef uint64_t u64;", _POINT + "typedef uint64_t u64;", 1))
    library = load(draft, sources / "fast_instructions.c")
    library.domus_size.restype = ctypes.c_uint64
    library.domus_arm.restype = None
    return library


def kill_at_write(library: ctypes.CDLL, number: int) -> None:
    """Have this process killed before write `number` of the front from now on."""
    ctypes.c_longlong.in_dll(library, "domus_writes_left").value = number
