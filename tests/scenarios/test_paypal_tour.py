"""The tour of PayPal's page, as printed, against a hub that was started as ``make run`` starts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.printed import blocks_of, daemon, free_port, run_as_printed, section
from tests.support.running import PROJECT

TOUR = blocks_of(section((PROJECT / "docs/providers/paypal.md").read_text(), "A tour"))
PROMISED = (
    "/plans/list",
    "/subscription/create",
    "action=approve",
    "hub paypal subscriptions show",
    "hub paypal invoices list",
    "hub paypal records list",
    "hub paypal held",
    "hub paypal release",
    "hub sandbox paypal misbehave",
)


@pytest.mark.long
def test_the_tour_works_as_printed(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "HUB_HOME": str(tmp_path / "var"),
        "HUB_PORT": str(free_port()),
    }

    with daemon(PROJECT, environ, tmp_path / "hub.log"):
        run_as_printed(TOUR, PROJECT, environ)


def test_the_tour_shows_what_it_promises() -> None:
    commands = "\n".join(command for block in TOUR for command in block.commands)

    assert [word for word in PROMISED if word not in commands] == []
    assert all(block.printed for block in TOUR)
