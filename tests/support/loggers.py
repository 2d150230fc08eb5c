"""Logs as a test finds them: what a command that ran in this process has set up for good is taken back behind it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog._config import BoundLoggerLazyProxy

OURS = ("hub", "handlers")


@contextmanager
def as_before() -> Iterator[None]:
    """``hub.cli.logs.set_up_logs`` is meant for a process of its own: whoever calls it here changes the next test's."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    if sys.excepthook is not hooks[0]:
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        structlog.reset_defaults()
        _forget_loggers()


def _forget_loggers() -> None:
    """A logger that was used under such a configuration keeps it, and ``capture_logs`` would see none of its lines."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS:
            for found in list(vars(module).values()):
                if isinstance(found, BoundLoggerLazyProxy):
                    vars(found).pop("bind", None)
