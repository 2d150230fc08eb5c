"""``hub reconcile``: one command per capability whose provider has a statement to compare the books with."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from typer.core import TyperCommand
from typer.main import get_command

from hub.cli.glimpse import Glimpse, Glimpses, load_part
from hub.cli.lazy import CapabilityGroup, LazyCommand, new_group


def build_group() -> CapabilityGroup:
    """The group, with what the capabilities of routing.yaml bring now."""
    return CapabilityGroup(
        more=_commands,
        name="reconcile",
        help="Compare a provider's statement with the books; exit 1 where they differ.\n\nExample: hub reconcile bank",
        no_args_is_help=True,
    )


def _commands(glimpses: Glimpses) -> Sequence[TyperCommand]:
    return [_command(one) for one in glimpses.members if one.has_reconcile]


def _command(glimpse: Glimpse) -> TyperCommand:
    def load() -> object:
        function = load_part(glimpse, "reconcile")
        if function is None:
            raise typer.BadParameter(f"the capability {glimpse.name} has no statement to compare with")
        single = new_group()
        single.command(glimpse.name)(function)
        return get_command(single)

    return LazyCommand(glimpse.name, f"Compare the statement of {glimpse.name} with the books.", load)
