"""``hub review``: results that a person must look at, such as money that nobody could place."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import AllOption, ByOption, LimitOption, NoteOption, actor
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.operate.review import Review, list_reviews, resolve_review

group = new_group("Results that a person must look at.")


@group.command("list")
def show_reviews(
    outcome: Annotated[str | None, typer.Option(help="Only this outcome.")] = None,
    every: AllOption = False,
    after: Annotated[int, typer.Option(help="Only those behind this delivery, to turn the page.")] = 0,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List what waits for a person's look, oldest first.

    Example: hub review list
    """

    async def work() -> list[Review]:
        state: Literal["open"] | None = None if every else "open"
        async with looking() as hub:
            return await list_reviews(hub.store, state=state, outcome=outcome, after=after, limit=limit)

    found = run(work)
    if as_json:
        print_json(found)
        return
    columns = ["delivery", "event", "route", "outcome", "since", "state", "reason"]
    rows = [
        [one.delivery_id, one.event_id, one.route, one.outcome, one.created_at, one.state, one.note or one.reason]
        for one in found
    ]
    print_table("To review", columns, rows)
    if found and len(found) == limit:
        say(f"There may be more: --after {found[-1].delivery_id}")


@group.command("resolve")
def resolve(
    target: Annotated[
        str, typer.Argument(metavar="EVENT_ID|DELIVERY", help="An event's id or its beginning, or a delivery's number.")
    ],
    note: NoteOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Close the reviews of an event with a note; nothing is run and no money moves.

    Example: hub review resolve 0197f3a2 --note "refunded by the bank"
    """

    async def work() -> list[int]:
        async with looking() as hub:
            return await resolve_review(hub.store, hub.clock, target, actor=actor(by), note=note)

    closed = run(work)
    if as_json:
        print_json({"resolved": closed})
    else:
        say(f"Resolved: {', '.join(map(str, closed))}")
