"""Every command by name: its sentence, the module that carries it out, and the panel it is shown in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from hub.cli.glimpse import Glimpse, Glimpses, load_part
from hub.cli.lazy import CapabilityGroup, LazyCommand, imported

CAPABILITIES_PANEL = "Capabilities"

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("hub.cli.run:run_command", "Run the hub until it is told to stop."),
        "check": ("hub.cli.check:check", "Prove that nothing was lost and that the books add up."),
        "db": ("hub.cli.db:group", "Bring the database's tables up to date."),
        "prune": ("hub.cli.prune:prune", "Take old, finished events out of the tables and into the archive."),
        "archive": ("hub.cli.prune:archive_group", "Events that were taken out of the tables."),
        "move": ("hub.cli.move:move_database", "Carry the whole database from SQLite to PostgreSQL."),
        "doctor": ("hub.cli.doctor:build_group", "Find out what is wrong with a webhook or with a provider's access."),
        "console": ("hub.cli.console:group", "Who may sign in at the console, and as what."),
        "token": ("hub.cli.token:token", "Print a token for an end user, for development."),
    },
    "Rules": {
        "routes": ("hub.cli.routes:group", "List, test and draw the rules of routing.yaml."),
        "explain": ("hub.cli.explain:explain", "Say what the hub would do with an event, and why, without doing it."),
        "schemas": ("hub.cli.schemas:group", "The JSON Schemas of the messages that come in and go out."),
        "asyncapi": (
            "hub.cli.schemas:print_asyncapi",
            "Print the AsyncAPI document: messages, queues and exchanges.",
        ),
    },
    "Events": {
        "publish": ("hub.cli.publish:publish", "Give the hub one event out of a file."),
        "prove": ("hub.cli.prove:prove", "Prove one event, from the bytes that came to postings and messages."),
        "verify": ("hub.cli.prove:verify", "Verify a proof, or everything that is sealed."),
        "events": ("hub.cli.events:group", "Look at events: what came, and what became of it."),
        "parked": ("hub.cli.parked:group", "Deliveries that the hub could not run: retry, discard or correct them."),
        "review": ("hub.cli.review:group", "Results that a person must look at."),
        "pause": ("hub.cli.pause:group", "Let a route, a destination or a provider stand still."),
        "resume": ("hub.cli.pause:resume_group", "Let a route, a destination or a provider go on."),
        "providers": ("hub.cli.providers:group", "Whom the handlers call, and how it is with each."),
        "calls": ("hub.cli.calls:group", "Calls to providers of which nobody knows yet what they did."),
        "conflicts": ("hub.cli.conflicts:group", "Events that came again under one id with other content."),
    },
    "Messages": {
        "queue": ("hub.cli.queue:group", "Look into the queues, and acknowledge by hand."),
        "topology": ("hub.cli.topology:group", "Compare and declare the exchanges, queues and bindings."),
        "outbox": ("hub.cli.outbox:group", "Messages that could not be sent: retry or discard them."),
    },
    "Money": {
        "ledger": ("hub.cli.ledger:group", "Ask the books: accounts, entries, and the proof that they add up."),
        "reconcile": ("hub.cli.reconcile:build_group", "Compare a provider's statement with the books."),
        "report": ("hub.cli.report:build_group", "Figures for finance, as files."),
    },
    CAPABILITIES_PANEL: {
        "sandbox": ("hub.cli.sandbox:build_group", "Play a provider, to try things without one."),
    },
}


def root() -> TyperGroup:
    """The whole command line."""
    app = typer.Typer(add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.callback()(_hub)
    plain = get_command(app)
    commands = {
        name: LazyCommand(name, sentence, imported(target, name), panel=panel)
        for panel, entries in COMMANDS.items()
        for name, (target, sentence) in entries.items()
    }
    return CapabilityGroup(
        more=_groups,
        name="hub",
        commands=dict(commands),
        callback=plain.callback,
        params=plain.params,
        help=plain.help,
        no_args_is_help=True,
        rich_markup_mode="rich",
    )


def _groups(glimpses: Glimpses) -> Sequence[TyperCommand]:
    return [_group(one) for one in glimpses.members if one.has_cli]


def _group(glimpse: Glimpse) -> TyperCommand:
    def load() -> object:
        app = load_part(glimpse, "cli")
        if app is None:
            raise typer.BadParameter(f"the capability {glimpse.name} brings no commands")
        # A group also where it holds a single command: its name is part of the call.
        return get_group(app)

    return LazyCommand(glimpse.name, glimpse.summary, load, panel=CAPABILITIES_PANEL)


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version  # noqa: PLC0415 - reads the installation

        typer.echo(f"hub {version('hub')}")
        raise typer.Exit


ABOUT = """Take in events, route them by rules, deliver them once, keep the books, send the results.

`hub run` starts it; every other command looks at its database or acts on it, whether it runs or not. All of them read
routing.yaml of this folder and the HUB_ variables (HUB_HOME is where the data is, by default ./var), so call them where
and as you started the hub. Each answers --help with an example; those that answer in tables take --json.
"""


def _hub(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


_hub.__doc__ = ABOUT
