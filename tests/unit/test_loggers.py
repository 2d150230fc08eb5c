"""A command that ran in the process of the tests has set up its logs there: the next test hears everything again."""

from __future__ import annotations

import sys
import threading

import structlog

from hub.cli.logs import set_up_logs
from hub.ingress import server
from tests.support.loggers import as_before


def test_loggers_are_heard_again_after_a_command_has_set_up_its_own() -> None:
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    with as_before():
        set_up_logs(level="critical")
        # Now it remembers that nothing but a catastrophe is told.
        server.log.error("request_failed")

    with structlog.testing.capture_logs() as logs:
        server.log.error("request_failed")

    assert [line["event"] for line in logs] == ["request_failed"]
    assert (sys.excepthook, sys.unraisablehook, threading.excepthook) == hooks
