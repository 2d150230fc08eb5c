"""``hub sandbox``: one group per capability that can play its provider."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from typer.core import TyperCommand
from typer.main import get_group

from hub.cli.glimpse import Glimpse, Glimpses, load_part
from hub.cli.lazy import CapabilityGroup, LazyCommand

HELP = """Play a provider, to try things without one.

The commands below are the providers of routing.yaml; each plays its part against the running hub.

Example: hub sandbox NAME --help
"""


def build_group() -> CapabilityGroup:
    """The group, with what the capabilities of routing.yaml bring now."""
    return CapabilityGroup(
        more=_groups,
        name="sandbox",
        help=HELP,
        no_args_is_help=True,
    )


def _groups(glimpses: Glimpses) -> Sequence[TyperCommand]:
    return [_group(one) for one in glimpses.members if one.has_sandbox]


def _group(glimpse: Glimpse) -> TyperCommand:
    def load() -> object:
        app = load_part(glimpse, "sandbox_cli")
        if app is None:
            raise typer.BadParameter(f"the capability {glimpse.name} brings no sandbox")
        # A group also where it holds a single command: its name is part of the call.
        return get_group(app)

    return LazyCommand(glimpse.name, f"Play the provider of {glimpse.name}.", load)
