"""Write what commands print now into the pages that show it: `python tests/docs/refresh.py [PAGE...]`.

Lines behind `...` stay behind it, unless what is shown has changed too much to be found again: then the page has to be
mended by hand.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pages import ANY, Command, Reader, Text, pages, steps


def refreshed(page: Path) -> tuple[str, list[str]]:
    """The page's new text, and complaints about what could not be refreshed."""
    text = page.read_text()
    lines, complaints = text.split("\n"), []
    changes: list[tuple[Command, list[str]]] = []
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(Path(folder, "domus"))
        for step in steps(text):
            if isinstance(step, Text):
                reader.write(step)
                continue
            status, printed = reader.run(step)
            where = f"{page.name}:{step.at}: {step.text}"
            if status != step.status:
                complaints.append(f"{where}: exit status {status}")
            elif ANY not in step.shown and not step.mixed:
                changes.append((step, printed if step.shown else []))
            else:
                places = step.found_in(printed)
                if places is None:
                    complaints.append(f"{where}: what is shown is not there any more")
                else:
                    changes.append((step, [ANY if place < 0 else printed[place] for place in places]))
    for command, new in reversed(changes):
        lines[command.at:command.at + len(command.shown)] = new
    return "\n".join(lines), complaints


def main() -> int:
    """Refresh the pages named on the command line, or all."""
    failed = False
    for page in [Path(name).resolve() for name in sys.argv[1:]] or pages():
        text, complaints = refreshed(page)
        if text != page.read_text():
            page.write_text(text)
            print(f"{page.name}: refreshed")
        for complaint in complaints:
            print(complaint, file=sys.stderr)
        failed |= bool(complaints)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
