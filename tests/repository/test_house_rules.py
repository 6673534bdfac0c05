"""What holds for every file: size, a docstring, and nothing that only makes sense where it was written."""

import ast
import re
from pathlib import Path

from tree import ROOT, files, modules

LONGEST = 300
LONG_FOR_A_REASON = {
    "domains/vcpu.py": "what a slice does, on the hottest path: its steps share the state that they keep at hand",
    "hypervisor/sched.py": "one state machine, of which every method changes the same few columns",
    "domains/baton.py": "every change of the teams' words and states is here, so that one sees what may happen at once",
    "toolstack/link.py": "one endpoint: the threads that use it share its locks",
    "toolstack/node_moves.py": "one protocol, of which the source, the target and the first node are read together",
    "toolstack/node_agent.py": "one protocol: who sends a message and who takes it are read together",
}
"""Modules that may have more lines."""

_PLACES = re.compile(r"(?<![\w.])/(?:home|Users|root|work|workspace|mnt)/[\w.-]+")
_TOOLS = re.compile(
    "|".join((r"\b(?:generated|written|made) (?:by|with) (?:an? )?(?:ai|llm|language model|assistant)\b",
              r"co-authored" + r"-by:", r"\bas an ai\b", r"\bclau" + r"de\b", r"\bchat" + r"gpt\b",
              r"\bcopi" + r"lot\b", r"\bopen" + r"ai\b", r"\banth" + r"ropic\b", r"\bcod" + r"ex\b",
              r"\bgem" + r"ini\b")), re.IGNORECASE)

TEXT = [path for path in files() if path.suffix not in (".png", ".bin", ".gz")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert [f"{name(path)}: {match[0]}" for path in TEXT for match in _PLACES.finditer(path.read_text())] == []


def test_no_file_names_what_wrote_it() -> None:
    assert [f"{name(path)}: {match[0]}" for path in TEXT for match in _TOOLS.finditer(path.read_text())] == []


def test_no_file_is_binary() -> None:
    assert [name(path) for path in files() if b"\0" in path.read_bytes()] == []


def test_every_module_says_what_it_is() -> None:
    trees = {name(path): ast.parse(path.read_text()) for path in modules()}
    assert [path for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_modules_are_short_or_say_why_not() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in modules()}
    long = {path for path, length in lengths.items() if length > LONGEST}
    assert long <= LONG_FOR_A_REASON.keys(), "cut the module, or give the reason here"
    assert LONG_FOR_A_REASON.keys() <= lengths.keys()
