"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

from hub.cli.reference import reference
from tests.support.running import PROJECT


def test_the_page_of_commands_is_up_to_date() -> None:
    written = (PROJECT / "docs" / "cli.md").read_text()

    assert written == reference(), "run: .venv/bin/python -m hub.cli.reference > docs/cli.md"
