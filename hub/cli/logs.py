"""Logs: structlog, pretty on a terminal, JSON otherwise, with the ids that are bound; errors without data in them."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from hub.cli.tracebacks import SafeFormatter, told


def set_up_logs(*, level: str = "info", as_json: bool | None = None) -> None:
    """Configure logging for the process. ``as_json`` None decides by whether standard error is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(told),
    ]
    # The pretty renderer's own tracebacks would show the values of local variables.
    pretty = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer() if as_json else pretty],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard library; only what is serious is let through.
    sys.excepthook = _print_told
    threading.excepthook = lambda lost: _print_told(lost.exc_type, lost.exc_value, lost.exc_traceback)
    sys.unraisablehook = lambda lost: _print_told(lost.exc_type, lost.exc_value, lost.exc_traceback)
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _StandardError:
    """Standard error as it is now: loggers live as long as the process, and a stream may be replaced and closed."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _print_told(kind: type[BaseException], error: BaseException | None, stack: TracebackType | None) -> None:
    sys.stderr.write((told((kind, error, stack)) if error is not None else kind.__name__) + "\n")
