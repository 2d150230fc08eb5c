"""Commands that are known by name and sentence, and imported when they are called.

``make_context`` is where a command begins to read its own arguments: there the real one takes over.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from hub.cli.glimpse import Glimpses


class LazyCommand(TyperCommand):
    """Stands for a command, or for a group of them, in the list of commands."""

    def __init__(self, name: str, help_text: str, load: Callable[[], Any], *, panel: str | None = None) -> None:
        super().__init__(name=name, help=help_text, rich_help_panel=panel, callback=None)
        self._load = load

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command."""
        return self._load().make_context(info_name, args, parent=parent, **extra)


def imported(target: str, name: str) -> Callable[[], Any]:
    """What loads ``module:attribute``: a group, ``build_group`` that makes one, or the function of a single command."""

    def load() -> Any:
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if attribute == "build_group":
            return found()
        if isinstance(found, typer.Typer):
            return get_command(found)
        single = new_group()
        single.command(name)(found)
        return get_command(single)

    return load


def new_group(help_text: str | None = None) -> typer.Typer:
    """A group of commands; without arguments it shows its help."""
    return typer.Typer(help=help_text, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


class CapabilityGroup(TyperGroup):
    """A group to which the capabilities of routing.yaml add commands. Says why they are absent where it cannot know."""

    def __init__(self, *, more: Callable[[Glimpses], Sequence[TyperCommand]], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._more = more
        self._glimpses: Glimpses | None = None

    def list_commands(self, ctx: Any) -> list[str]:
        """The fixed ones, then those of the capabilities."""
        self._look()
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """By name; the capabilities are asked only for a name that is not known."""
        if cmd_name not in self.commands:
            self._look()
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raises a usage error for an unknown name, which says so when capabilities could not be asked."""
        absence = "" if self.get_command(ctx, args[0]) is not None else self._look().absence
        if absence and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. {absence}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, and below it why some are absent."""
        self.epilog = _unmarked(self._look().absence) or None
        super().format_help(ctx, formatter)

    def _look(self) -> Glimpses:
        if self._glimpses is None:
            self._glimpses = Glimpses.of_environment()
            for command in self._more(self._glimpses):
                # The hub's own commands keep their names.
                self.commands.setdefault(command.name or "", command)
        return self._glimpses


def _unmarked(text: str) -> str:
    return text.replace("[", "\\[")
