"""The little HTML that a report needs: text is escaped, figures are inside the page."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 2px solid #999; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; } figcaption { font-size: 13px; color: #555; }
.warning { border-left: 4px solid #c44e52; background: #fbeeee; padding: .5rem 1rem; }
.extrapolated td { font-style: italic; color: #555; background: #f4f4f4; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document."""
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n" + "\n".join(parts)
            + "\n</body>\n</html>\n")


def heading(text: str) -> str:
    """Of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, *, warning: bool = False) -> str:
    """Text; a warning stands out."""
    return f'<p{" class=warning" if warning else ""}>{escape(text)}</p>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (),
          extrapolated: bool = False) -> str:
    """A table; the columns `numbers` are to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f'<{tag}{" class=n" if index in numbers else ""}>{escape(cell)}</{tag}>'
                                for index, cell in enumerate(cells)) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return (f'<table{" class=extrapolated" if extrapolated else ""}>\n<thead>{line(headings, "th")}</thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>")


def figure(svg: Path, caption: str) -> str:
    """A figure, inside the page."""
    data = base64.b64encode(svg.read_bytes()).decode()
    return (f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">\n'
            f"<figcaption>{escape(caption)}</figcaption></figure>")
