"""``hub parked``: deliveries that the hub could not run, and what a person may do about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeAlias

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import Look, looking
from hub.cli.options import ByOption, LimitOption, ReasonOption, actor, expect_known, read_file
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.operate import parked
from hub.operate.parked import Changed, ParkedDelivery
from hub.operate.reading import TodaysRules
from hub.routing.fields import RESERVED_SOURCES

group = new_group("Deliveries that the hub could not run: retry, discard or correct them.")

TargetArgument = Annotated[
    str, typer.Argument(metavar="EVENT_ID|DELIVERY", help="An event's id or its beginning, or a delivery's number.")
]
RequiredReason = Annotated[str, typer.Option("--reason", help="Why; kept on record.")]
Action: TypeAlias = Callable[[Look], Awaitable[Sequence[Changed]]]


@group.command("list")
def list_parked(
    source: Annotated[str | None, typer.Option(help="Only events of this source.")] = None,
    route: Annotated[str | None, typer.Option(help="Only deliveries of this route.")] = None,
    after: Annotated[int, typer.Option(help="Only those behind this delivery, to turn the page.")] = 0,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List the parked deliveries with their reasons, oldest first.

    Example: hub parked list --source shop
    """

    async def work() -> list[ParkedDelivery]:
        async with looking() as hub:
            found = await parked.list_parked(hub.store, source=source, route=route, after=after, limit=limit)
            if not found:
                # A name that once was may have parked deliveries; one that has none is a slip.
                expect_known("--source", source, [*hub.wiring.config.sources, *RESERVED_SOURCES])
                expect_known("--route", route, [one.name for one in hub.wiring.config.routes])
            return found

    found = run(work)
    if as_json:
        print_json(found)
        return
    columns = ["delivery", "event", "source", "type", "route", "received", "attempts", "behind it", "reason"]
    rows = [
        [
            one.delivery_id,
            one.event_id,
            one.source,
            one.type,
            one.route,
            one.received_at,
            one.attempts,
            one.behind,
            one.reason,
        ]
        for one in found
    ]
    print_table("Parked", columns, rows)
    if found and len(found) == limit:
        say(f"There may be more: --after {found[-1].delivery_id}")


@group.command("retry")
def retry(target: TargetArgument, by: ByOption = "", reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Run what is parked of an event again, with all its attempts; an unreadable one is read again by today's rules.

    Example: hub parked retry 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10
    """

    async def work(hub: Look) -> Sequence[Changed]:
        rules = TodaysRules(hub.wiring.drafter, await hub.route_ids())
        return await parked.retry(hub.store, hub.clock, target, actor=actor(by), reason=reason, rules=rules)

    _act(work, as_json)


@group.command("discard")
def discard(target: TargetArgument, reason: RequiredReason, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Give up what is parked of an event; what waits behind it goes on.

    Example: hub parked discard 0197f3a2 --reason "a test of the partner"
    """

    async def work(hub: Look) -> Sequence[Changed]:
        return await parked.discard(hub.store, hub.clock, target, actor=actor(by), reason=reason)

    _act(work, as_json)


@group.command("edit")
def edit(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id or its beginning.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The corrected payload; - for standard input.")],
    reason: RequiredReason,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put a corrected payload in the place of a parked event's own, and run it; what came is kept.

    Get the original with hub events show ID --payload.

    Example: hub parked edit 0197f3a2 corrected.json --reason "the amount was text"
    """

    async def work(hub: Look) -> Sequence[Changed]:
        rules = TodaysRules(hub.wiring.drafter, await hub.route_ids())
        body = read_file(file)
        return await parked.edit(hub.store, hub.clock, event, body, actor=actor(by), reason=reason, rules=rules)

    _act(work, as_json)


def _act(action: Action, as_json: bool) -> None:
    async def work() -> Sequence[Changed]:
        async with looking() as hub:
            return await action(hub)

    changed = run(work)
    if as_json:
        print_json(list(changed))
        return
    rows = [[one.delivery_id, one.event_id, one.route, one.state] for one in changed]
    print_table("", ["delivery", "event", "route", "state"], rows, empty="It was read again, and no route takes it.")
