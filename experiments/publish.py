"""Puts measured figures into the README: `python -m experiments.publish FILE`, a file of microbench's `--json`."""

import json
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

from experiments.results import markdown
from experiments.startup import ROOT

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def with_figures(text: str, facts: dict[str, Any]) -> str:
    """`text` with the table between the marks replaced.  Raises ValueError where it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END}")
    machine = facts["machine"]
    where = (f"Medians on {machine['processors']} cores ({machine['architecture']}), Python {machine['python']}, "
             f"Unicorn {machine['unicorn']}, Ray {machine['ray']}.")
    if facts["quick"]:
        where += " Measured in haste (`--quick`)."
    if facts["busy"]:
        where += " Other programs ran at the same time, so all of them are worse than they are."
    return "\n".join([before + BEGIN, "", *markdown(facts), "", fill(where, 120), "", END]) + after


def main() -> int:
    """Rewrite README.md."""
    if len(sys.argv) != 2:
        print("usage: python -m experiments.publish FILE", file=sys.stderr)
        return 2
    readme = ROOT / "README.md"
    readme.write_text(with_figures(readme.read_text(), json.loads(Path(sys.argv[1]).read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
