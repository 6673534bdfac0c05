"""Figures by matplotlib, as SVG and PNG, equal ones as equal files.  The extra `experiments` installs matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STYLE = {
    "font.size": 9, "svg.hashsalt": "domus", "svg.fonttype": "none", "axes.spines.top": False,
    "axes.spines.right": False,
}  # fmt: skip
"""The salt is what makes equal plots equal files."""


class NoPlotsError(Exception):
    """matplotlib is not installed.  One line, with what to do."""


@contextmanager
def drawing(width: float, height: float) -> Iterator[Any]:
    """A new figure of so many inches, in the style of all of them.  Raises NoPlotsError."""
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlotsError("no plots: matplotlib is missing (pip install 'domus[experiments]')") from None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save(figure: Any, file: Path) -> list[Path]:
    """Write the figure into `file` with .svg and .png behind it: the files.  Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    files = [file.with_name(f"{file.name}.{kind}") for kind in ("svg", "png")]
    for each in files:
        figure.savefig(each, dpi=130, metadata={"Date": None} if each.suffix == ".svg" else None)
    return files
