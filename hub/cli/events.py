"""``hub events``: what came, what became of it, and the rules of today applied to what came before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hub.cli.event_sheet import details_as_json, print_details
from hub.cli.lazy import new_group
from hub.cli.opening import Look, looking
from hub.cli.options import LimitOption, RawOption, as_moment
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.cli.prune import archive_of
from hub.cli.replay import replay_events
from hub.operate.archived import ArchivedHit, list_archived
from hub.operate.event_details import payload_of, show_event
from hub.operate.event_view import EventDetails
from hub.operate.events import EventFilter, EventPage, list_events
from hub.operate.lookup import ArchivedError

group = new_group("Look at events: what came, and what became of it.")


@group.command("list")
def show_events(
    *,
    event: Annotated[str | None, typer.Option("--id", help="The beginning of an event's id.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key, such as a customer's id.")] = None,
    dedupe_id: Annotated[str | None, typer.Option(help="Only this id of the sender.")] = None,
    trace: Annotated[str | None, typer.Option(help="Only this trace id: all that came of one message.")] = None,
    caused_by: Annotated[
        str | None, typer.Option(metavar="EVENT_ID", help="Only events that handlers of this event emitted.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="A business name, as order_code=TOP12345 or its value.")] = None,
    state: Annotated[
        str | None, typer.Option(help="parked, waiting, refused, discarded, applied or unmatched.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="A time (2026-01-31T12:00Z) or how long ago (90m, 2d).")] = None,
    before: Annotated[
        int | None, typer.Option(help="Only those accepted before this number, to turn the page.")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List events, newest first.

    Those in the archive are found by their ids, a sender's id, a key or a tag, and told by themselves; hub events show
    says what they were.

    Example: hub events list --source shop --state parked --since 2d
    """

    async def work() -> tuple[EventPage, Sequence[ArchivedHit]]:
        wanted = EventFilter(
            event_id=event,
            trace=trace,
            cause=caused_by,
            source=source,
            type=type_,
            key=key,
            dedupe_id=dedupe_id,
            tag=tag,
            state=state,
            since=as_moment(since, "--since"),
        )
        async with looking() as hub:
            page = await list_events(hub.store, wanted, before=before, limit=limit)
            if before is not None:
                return page, ()
            return page, await list_archived(hub.store, wanted, hub.wiring.config.sources, limit=limit)

    page, hits = run(work)
    if as_json:
        print_json([*page.events, *hits])
        return
    columns = ["event", "number", "source", "type", "key", "received", "state"]
    rows = [[one.id, one.seq, one.source, one.type, one.key, one.received_at, one.state] for one in page.events]
    print_table("Events", columns, rows)
    if page.before is not None:
        say(f"There are more: --before {page.before}")
    if hits:
        print_table(
            "In the archive", ["event", "number", "received"], [[one.id, one.seq, one.received_at] for one in hits]
        )


@group.command("show")
def show(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id or its beginning.")],
    payload: Annotated[
        bool, typer.Option("--payload", help="Write only the payload, byte for byte as it came.")
    ] = False,
    corrected: Annotated[bool, typer.Option("--corrected", help="With --payload: the latest correction.")] = False,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show everything about one event: deliveries, attempts, calls, postings, messages, and what people did.

    An event that was archived is read from the archive.

    Example: hub events show 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10
    """
    if payload:
        sys.stdout.buffer.write(run(lambda: _payload(event, corrected)))
        sys.stdout.buffer.flush()
        return

    async def work() -> tuple[EventDetails, str | None]:
        async with looking() as hub:
            details = await _details(hub, event)
            body = await _payload_in(hub, str(details.id)) if raw else None
            return details, None if body is None else body.decode("utf-8", "replace")

    details, text = run(work)
    if as_json:
        print_json(details_as_json(details, payload=text))
    else:
        print_details(details, payload=text)


async def _details(hub: Look, event: str) -> EventDetails:
    sources = hub.wiring.config.sources
    try:
        return await show_event(hub.store, event, sources, now=hub.clock.now(), provider_of=hub.wiring.provider_of)
    except ArchivedError as found:
        return await archive_of(hub).show(found.event_id, sources)


async def _payload(event: str, corrected: bool) -> bytes:
    async with looking() as hub:
        return await _payload_in(hub, event, corrected=corrected)


async def _payload_in(hub: Look, event: str, *, corrected: bool = False) -> bytes:
    try:
        return await payload_of(hub.store, event, corrected=corrected)
    except ArchivedError as found:
        return await archive_of(hub).payload(found.event_id, corrected=corrected)


group.command("replay")(replay_events)
