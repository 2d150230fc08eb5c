"""``hub calls``: calls to providers of which nobody knows yet what they did."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.calls.naming import call_name
from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import ByOption, LimitOption, ReasonOption, actor
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.operate.closing import ClosedCall, close_calls
from hub.operate.undecided import CallView, list_undecided

group = new_group("Calls to providers of which nobody knows yet what they did.")


@group.command("list")
def show_calls(
    provider: Annotated[str | None, typer.Option(help="Only calls to this provider.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List calls without an outcome that nobody has answered for, the oldest first.

    Money may have moved: nothing of it is sent again before the provider has said what became of it.

    Example: hub calls list --provider acme
    """

    async def work() -> list[CallView]:
        async with looking() as hub:
            return await list_undecided(hub.store, provider=provider, limit=limit)

    found = run(work)
    if as_json:
        print_json(found)
        return
    columns = ["delivery", "event", "asked", "state", "since", "delivery is", "next", "key"]
    rows = [
        [
            one.delivery_id,
            one.event_id,
            call_name(one),
            one.state,
            one.started_at,
            one.delivery_state,
            one.next_at,
            one.key,
        ]
        for one in found
    ]
    print_table("Unknown outcomes", columns, rows, empty="every call has an outcome")
    if found and len(found) == limit:
        say("There may be more: --limit")


@group.command("close")
def close(
    target: Annotated[
        str, typer.Argument(metavar="EVENT_ID|DELIVERY", help="An event's id or its beginning, or a delivery's number.")
    ],
    reason: ReasonOption = "",
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what became of calls whose delivery is over and that no handler has answered for; nothing is run or sent.

    Look at the provider's side first, by the key. While a delivery goes on, its provider is asked by the hub.

    Example: hub calls close 0197f3a2 --reason "paid, as the provider's dashboard shows; booked by hand"
    """

    async def work() -> list[ClosedCall]:
        async with looking() as hub:
            return list(await close_calls(hub.store, hub.clock, target, actor=actor(by), reason=reason))

    closed = run(work)
    if as_json:
        print_json(closed)
    else:
        say(f"Closed: {', '.join(f'{call_name(one)} ({one.state})' for one in closed)}")
