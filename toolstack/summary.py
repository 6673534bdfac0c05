"""The end of a run in a hundred columns: the table of domains, and what went wrong."""

from collections.abc import Iterable, Iterator, Sequence

from toolstack.report import DomainReport, LinkReport, RunReport
from toolstack.terminal import GREEN, RED, YELLOW, paint
from toolstack.text import visible

WIDTH = 100
_MOST_LINES = 100
"""A list of domains in trouble stops here; `--json` has them all."""
_HEADINGS = (
    ("domain", ""), ("domid", ""), ("exit", ""), ("virtual", "time"), ("work", ""), ("hyper-", "calls"),
    ("events", "sent"), ("events", "received"), ("grants", "mapped"), ("host", "time"),
)  # fmt: skip
_LEFT = (0, 2)
_NARROWEST_NAME = 12
_EXIT = 2


def summary(report: RunReport, failures: Sequence[str], *, colour: bool = False, quiet: bool = False) -> Iterator[str]:
    """The lines that end a run.  `quiet`: crash reports were not shown as they happened, so they are here in full."""
    yield ""
    yield from table(list(report.domains.values()), colour=colour)
    yield ""
    for domain in report.domains.values():
        if domain.exit == "crash" and domain.exit_detail:
            lines = domain.exit_detail.rstrip("\n").split("\n")
            yield from (f"{domain.name}: {visible(line)}" for line in (lines if quiet else lines[:1]))
    yield from _bounded(_unfinished(report))
    if report.outcome in ("interrupted", "host-error"):  # nobody can expect anything of half a run
        failures = ()
    yield from _bounded(paint(f"expect: {visible(failure)}", RED, colour) for failure in failures)
    yield from _links(report.links)
    bad = report.outcome != "finished" or bool(failures)
    verdict = f"{report.name}: {report.outcome}" if not failures else f"{report.name}: {report.outcome}, expect failed"
    where = f"{report.host_seconds:.2f} s, runtime {report.runtime}, {report.clock} clock"
    yield f"{paint(visible(verdict), RED if bad else GREEN, colour)} ({where}, seed {report.seed})"
    if report.digest:
        yield f"digest {report.digest}"


def _links(links: Sequence[LinkReport]) -> Iterator[str]:
    for link in links:
        if link.hand_overs:
            yield (f"node {link.source} to node {link.target}: {link.hand_overs:,} hand-overs, "
                   f"{link.messages / link.hand_overs:.2f} messages and {link.bytes / link.hand_overs:,.0f} bytes each")
        elif link.messages:
            yield f"node {link.source} to node {link.target}: {link.messages:,} messages, {link.bytes:,} bytes"


def _unfinished(report: RunReport) -> Iterator[str]:
    if report.outcome == "deadlock":
        yield "deadlock: every domain that is left waits, and nothing will wake one"
    elif report.outcome == "timeout":
        yield f"timeout: these domains had not ended after {report.host_seconds:.1f} s"
    elif report.outcome == "interrupted":
        yield f"interrupted: these domains had not ended after {report.host_seconds:.1f} s"
    elif report.outcome == "host-error":
        yield f"host error: {visible(report.error or 'unknown')}"
    for domain in report.domains.values():
        if domain.exit == "running" and report.outcome != "finished":
            typing = f"; {domain.input}" if domain.input else ""
            yield visible(f"  {domain.name}: {domain.waiting or 'running'}{typing}")


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    more = 0
    for number, line in enumerate(lines):
        if number < _MOST_LINES:
            yield line
        else:
            more += 1
    if more:
        yield f"  ... and {more} more"


def table(domains: Sequence[DomainReport], *, colour: bool = False) -> list[str]:
    """One row a domain, aligned, at most WIDTH columns."""
    rows = [_row(domain) for domain in domains]
    widths = [max(map(len, column)) for column in zip(*_headings(), *rows, strict=True)]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else 1
    excess = sum(widths) + gap * (len(widths) - 1) - WIDTH
    if excess > 0:  # the name gives way, as far as it can still be told from another
        widths[0] = max(widths[0] - excess, min(widths[0], _NARROWEST_NAME))

    def laid_out(cells: Sequence[str], code: int | None) -> str:
        padded = [
            _short(cell, width).ljust(width) if index in _LEFT else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        if code is not None:
            padded[_EXIT] = paint(padded[_EXIT], code, colour)
        return (" " * gap).join(padded).rstrip()

    lines = [laid_out(heading, None) for heading in _headings()]
    lines.append("-" * (sum(widths) + gap * (len(widths) - 1)))
    return lines + [laid_out(row, _code(row[_EXIT])) for row in rows]


def _headings() -> list[tuple[str, ...]]:
    return [tuple(heading[line] for heading in _HEADINGS) for line in (0, 1)]


def _row(domain: DomainReport) -> tuple[str, ...]:
    how = "waiting" if domain.exit == "running" and domain.waiting else domain.exit
    return (
        domain.name, str(domain.domid), how, seconds(domain.virtual_time_ns), number(domain.work),
        number(domain.hypercalls), number(domain.events_sent), number(domain.events_received),
        number(domain.grants_mapped), f"{domain.host_seconds:.2f} s",
    )  # fmt: skip


def _code(how: str) -> int:
    return {"poweroff": GREEN, "crash": RED}.get(how, YELLOW)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def number(value: int) -> str:
    """A count in seven columns: exact below a million, three digits and a unit from there."""
    if value < 1_000_000:
        return f"{value:,}"
    scaled, units = value / 1e6, iter("MGTPE")
    unit = next(units)
    while scaled >= 999.5:
        scaled, unit = scaled / 1000, next(units)
    return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"


def seconds(nanoseconds: int) -> str:
    """A time in about ten columns."""
    return f"{nanoseconds / 1e9:.{6 if nanoseconds < 100 * 10**9 else 3}f} s"
