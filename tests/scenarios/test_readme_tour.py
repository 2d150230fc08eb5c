"""The tour of the README, as printed, against a hub that was started as ``make run`` starts it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.printed import STOP_S_MAX, blocks_of, daemon, free_port, run_as_printed, section
from tests.support.running import PROJECT

TOUR = blocks_of(section((PROJECT / "README.md").read_text(), "Five minutes with it"))
PROMISED = (
    "/api/seapay/wallet/topup/",
    "hub sandbox sepay pay",
    "/api/seapay/wallet/",
    "hub queue read loyalty.platform",
    "hub queue read smc.customerEvents",
    "hub explain",
    "hub parked list",
    "hub parked retry",
    "hub parked edit",
    "hub events show",
    "hub check",
    "hub ledger verify",
)


@pytest.mark.slow
def test_the_tour_works_as_printed(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "HUB_HOME": str(tmp_path / "var"),
        "HUB_PORT": str(free_port()),
    }

    with daemon(PROJECT, environ, tmp_path / "hub.log") as hub:
        run_as_printed(TOUR, PROJECT, environ)
        hub.send_signal(signal.SIGTERM)
        stopped_with = hub.wait(STOP_S_MAX)

    assert stopped_with == 0


def test_the_tour_shows_what_it_promises() -> None:
    commands = "\n".join(command for block in TOUR for command in block.commands)

    assert [word for word in PROMISED if word not in commands] == []
    assert all(block.printed for block in TOUR)
