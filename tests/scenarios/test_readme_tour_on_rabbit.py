"""The tour of the README, as printed, with one setting changed: the queues are RabbitMQ's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.test_readme_tour import TOUR
from tests.support.printed import STOP_S_MAX, daemon, free_port, run_as_printed
from tests.support.rabbit import own_vhost
from tests.support.running import PROJECT


@pytest.fixture
def vhost() -> Iterator[str]:
    with own_vhost() as address:
        yield address


@pytest.mark.long
def test_the_tour_works_as_printed(vhost: str, tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "HUB_HOME": str(tmp_path / "var"),
        "HUB_PORT": str(free_port()),
        "HUB_BROKER_URL": vhost,
    }

    with daemon(PROJECT, environ, tmp_path / "hub.log") as hub:
        run_as_printed(TOUR, PROJECT, environ)
        hub.send_signal(signal.SIGTERM)
        stopped_with = hub.wait(STOP_S_MAX)

    assert stopped_with == 0
