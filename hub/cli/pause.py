"""``hub pause`` and ``hub resume``: letting a route, a destination or a provider stand still, and go on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import Look, looking
from hub.cli.options import ByOption, ReasonOption, actor, expect_known
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.flow.pauses import Kind, Pause
from hub.operate.pausing import list_pauses, pause, resume
from hub.routing.fields import parse_duration

group = new_group("Let a route, a destination or a provider stand still; what comes for it waits.")
resume_group = new_group("Let a route, a destination or a provider go on.")

RouteArgument = Annotated[str, typer.Argument(metavar="NAME", help="The route's name.")]
DestinationArgument = Annotated[str, typer.Argument(metavar="NAME", help="The destination's name.")]
ProviderArgument = Annotated[str, typer.Argument(metavar="NAME", help="The provider's name: see hub providers list.")]
ForOption = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="Such as 30m or 2h. Default: until it is resumed.")
]


@group.command("route")
def pause_route(
    name: RouteArgument,
    reason: ReasonOption = "",
    for_: ForOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Begin no delivery of this route; its events wait, in order, and other routes go on.

    Commands over HTTP are answered all the same.

    Example: hub pause route give-cashback --reason "the campaign is checked"
    """
    _pause("route", name, reason=reason, for_=for_, by=by, as_json=as_json)


@group.command("destination")
def pause_destination(
    name: DestinationArgument,
    reason: ReasonOption = "",
    for_: ForOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send nothing to this destination; its messages wait in the outbox, in order.

    Example: hub pause destination loyalty --for 30m --reason "they deploy"
    """
    _pause("destination", name, reason=reason, for_=for_, by=by, as_json=as_json)


@group.command("provider")
def pause_provider(
    name: ProviderArgument,
    reason: ReasonOption = "",
    for_: ForOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Begin no delivery whose handler calls this provider; calls under way end.

    Example: hub pause provider acme --reason "announced maintenance"
    """
    _pause("provider", name, reason=reason, for_=for_, by=by, as_json=as_json)


@group.command("list")
def show_pauses(as_json: JsonOption = False) -> None:
    """List what stands still: since when, by whom, why, and until when.

    Example: hub pause list
    """

    async def work() -> list[Pause]:
        async with looking() as hub:
            return await list_pauses(hub.store, hub.clock)

    found = run(work)
    if as_json:
        print_json(found)
        return
    columns = ["kind", "name", "cause", "since", "until", "by", "reason"]
    rows = [[one.kind, one.name, one.cause, one.since, one.until, one.paused_by, one.reason] for one in found]
    print_table("Standing still", columns, rows, empty="nothing")


@resume_group.command("route")
def resume_route(
    name: RouteArgument, reason: ReasonOption = "", by: ByOption = "", as_json: JsonOption = False
) -> None:
    """Let the deliveries of this route go on.

    Example: hub resume route give-cashback
    """
    _resume("route", name, reason=reason, by=by, as_json=as_json)


@resume_group.command("destination")
def resume_destination(
    name: DestinationArgument, reason: ReasonOption = "", by: ByOption = "", as_json: JsonOption = False
) -> None:
    """Send what waits for this destination; an open circuit is closed.

    Example: hub resume destination loyalty
    """
    _resume("destination", name, reason=reason, by=by, as_json=as_json)


@resume_group.command("provider")
def resume_provider(
    name: ProviderArgument, reason: ReasonOption = "", by: ByOption = "", as_json: JsonOption = False
) -> None:
    """Call this provider again; an open circuit is closed.

    Example: hub resume provider acme --reason "they say it works again"
    """
    _resume("provider", name, reason=reason, by=by, as_json=as_json)


def _pause(kind: Kind, name: str, *, reason: str, for_: str | None, by: str, as_json: bool) -> None:
    async def work() -> Pause:
        for_s = _seconds(for_)
        async with looking() as hub:
            expect_known(kind, name, _known(hub, kind))
            return await pause(hub.store, hub.clock, kind, name, actor=actor(by), reason=reason, for_s=for_s)

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say(f"Now standing still: {done}")


def _resume(kind: Kind, name: str, *, reason: str, by: str, as_json: bool) -> None:
    async def work() -> list[Pause]:
        async with looking() as hub:
            standing = {one.name for one in await list_pauses(hub.store, hub.clock) if one.kind == kind}
            expect_known(kind, name, {*_known(hub, kind), *standing})
            return await resume(hub.store, hub.clock, kind, name, actor=actor(by), reason=reason)

    lifted = run(work)
    if as_json:
        print_json(lifted)
    elif lifted:
        say(f"Going on: {kind} {name}")
    else:
        say(
            f"No row says that the {kind} {name} stands still. A process that holds it back and could not write it down"
            " while the database was away lets go as soon as it can write again."
        )


def _known(hub: Look, kind: Kind) -> Collection[str]:
    match kind:
        case "route":
            return [one.name for one in hub.wiring.config.routes]
        case "destination":
            return hub.wiring.destinations.keys()
        case "provider":
            return hub.wiring.capabilities.providers


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None
