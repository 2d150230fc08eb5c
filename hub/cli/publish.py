"""``hub publish``: one event out of a file, accepted straight into the inbox as its source declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.cli.opening import Look, looking
from hub.cli.options import HeaderOption
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, run, say
from hub.cli.received import received_from
from hub.inbox.draft import Draft
from hub.inbox.received import Accepted, Received
from hub.inbox.rows import store_drafts
from hub.ownership.announcing import announce
from hub.ownership.holding import DELIVER


def publish(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The payload, byte for byte; - for standard input.")],
    *,
    source: Annotated[str, typer.Option(help="A source that routing.yaml declares.")],
    type_: Annotated[
        str, typer.Option("--type", help="The type, as the routing key; not needed where the source fixes it.")
    ] = "",
    message_id: Annotated[str, typer.Option("--id", help="The message id; without it the message has none.")] = "",
    header: HeaderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give the hub one event out of a file; exit 1 when it is unreadable or contradicts an earlier one.

    The running hub delivers it; without one it waits in the inbox.

    Example: hub publish order.json --source shop --type order.paid --id 42
    """

    async def work() -> tuple[Accepted, Draft]:
        async with looking() as hub:
            sources = hub.wiring.drafter.sources
            received = received_from(
                file, source=source, sources=sources, type_=type_, message_id=message_id, header=header
            )
            return await _accept(hub, received)

    accepted, draft = run(work)
    routes = [match.route.name for match in draft.matches] if accepted.kind == "event" else []
    if as_json:
        answer = {"event_id": accepted.event_id, "kind": accepted.kind, "type": draft.event.type, "routes": routes}
        print_json({**answer, "problem": accepted.problem} if accepted.problem else answer)
    else:
        say(_sentence(accepted, routes))
    if accepted.kind in ("unreadable", "conflict"):
        raise typer.Exit(EXIT_PROBLEM)


async def _accept(hub: Look, received: Received) -> tuple[Accepted, Draft]:
    route_ids = await hub.route_ids()
    draft = hub.wiring.drafter.draft(received)

    async def work(conn: AsyncConnection) -> Accepted:
        [(accepted, event)] = await store_drafts(conn, [draft], route_ids=route_ids, now=hub.clock.now())
        if accepted.kind == "event":
            await announce(conn, DELIVER, [event.lane])
        return accepted

    return await hub.store.write(work), draft


def _sentence(accepted: Accepted, routes: Sequence[str]) -> str:
    event = f"event {accepted.event_id}"
    match accepted.kind:
        case "event":
            taken: Mapping[bool, str] = {True: f"routes: {', '.join(routes)}", False: "no route takes it"}
            return f"{event}  event  {taken[bool(routes)]}"
        case "duplicate":
            return f"{event}  duplicate  accepted before with the same content"
        case "conflict":
            return f"{event}  conflict  accepted before with other content; see hub conflicts list"
        case "unreadable":
            return f"{event}  unreadable  stored and parked: {accepted.problem}"
