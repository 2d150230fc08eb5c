"""The tour of PayPay's page, as printed, against a hub that was started as ``make run`` starts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.printed import blocks_of, daemon, free_port, run_as_printed, section
from tests.support.running import PROJECT

TOUR = blocks_of(section((PROJECT / "docs/providers/paypay.md").read_text(), "The tour"))
PROMISED = (
    "/sessions",
    "hub sandbox paypay login",
    "/cashback",
    "hub queue read loyalty.platform",
    "hub paypay members points",
    "hub queue read paypay.results",
    "hub paypay cashback reverse",
    "/codes",
    "hub sandbox paypay pay",
    "/refund",
    "hub paypay files show",
    "hub reconcile paypay",
    "hub report finance-points",
)


@pytest.mark.slow
@pytest.mark.long
# Twenty commands, each a process of its own.
@pytest.mark.timeout(1_200)
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
