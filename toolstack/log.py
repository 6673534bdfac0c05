"""The program's own log, by structlog on standard error.

structlog takes longer to import than two guests take to boot, so that happens with the first record that is shown.
"""

import sys
from typing import Any, Literal, TextIO

from toolstack.text import visible

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
FORMATS: tuple[Format, ...] = ("text", "json")


class ProgramLog:
    """Records with fields: `log.info("domain started", domain="writer", domid=1)`."""

    def __init__(self) -> None:
        self.configure()

    def configure(self, level: Level = "warning", form: Format = "text", stream: TextIO | None = None) -> None:
        """Set what is shown, how and where (None: standard error as it is when a record is written)."""
        self._least = LEVELS.index(level)
        self._form = form
        self._stream = stream
        self._logger: Any = None

    def shows(self, level: Level) -> bool:
        """Whether records of `level` are shown."""
        return LEVELS.index(level) >= self._least

    def debug(self, event: str, **fields: Any) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, Any]) -> None:
        if LEVELS.index(level) < self._least:
            return
        if self._logger is None:
            self._logger = _logger(self._form, self._stream or sys.stderr)
        getattr(self._logger, level)(event, **fields)


def _logger(form: Format, stream: TextIO) -> Any:
    import structlog

    def harmless(logger: Any, method: str, record: dict[str, Any]) -> dict[str, Any]:
        return {key: visible(value) if isinstance(value, str) else value for key, value in record.items()}

    ending: list[Any]
    if form == "json":
        ending = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        plain = structlog.dev.plain_traceback
        ending = [harmless, structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, exception_formatter=plain)]
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *ending,
        ],
        wrapper_class=structlog.BoundLogger,
    )


log = ProgramLog()
"""The log of this process."""
