"""``hub report``: figures for people outside the hub, one command each, as the capabilities bring them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from typer.core import TyperCommand
from typer.main import get_command

from hub.cli.glimpse import Glimpses, load_part
from hub.cli.lazy import CapabilityGroup, LazyCommand, new_group


def build_group() -> CapabilityGroup:
    """The group, with what the capabilities of routing.yaml bring now."""
    return CapabilityGroup(
        more=_commands,
        name="report",
        help="Figures for finance, as files.\n\nExample: hub report finance-points --month 2026-10",
        no_args_is_help=True,
    )


def _commands(glimpses: Glimpses) -> Sequence[TyperCommand]:
    return list(_found(glimpses))


def _found(glimpses: Glimpses) -> Iterator[TyperCommand]:
    """A report's name stands in its capability alone, so that those are imported here."""
    for one in glimpses.members:
        for name, function in (load_part(one, "reports") if one.has_reports else {}).items():
            yield LazyCommand(name, _first_sentence(function), partial(_load, name, function))


def _load(name: str, function: Callable[..., None]) -> object:
    single = new_group()
    single.command(name)(function)
    return get_command(single)


def _first_sentence(function: Callable[..., None]) -> str:
    return " ".join((function.__doc__ or "").split("\n\n", 1)[0].split())
