"""``hub events``: what came, what became of it, and the rules of today applied to what came before."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from hub.cli.event_sheet import details_as_json, print_details
from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import ByOption, LimitOption, RawOption, ReasonOption, actor
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.operate.event_details import payload_of, show_event
from hub.operate.event_view import EventDetails
from hub.operate.events import EventFilter, EventPage, list_events
from hub.operate.reading import TodaysRules
from hub.operate.replay import Pair, replay
from hub.routing.fields import parse_duration

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

    Example: hub events list --source shop --state parked --since 2d
    """

    async def work() -> EventPage:
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
            since=_since(since) if since is not None else None,
        )
        async with looking() as hub:
            return await list_events(hub.store, wanted, before=before, limit=limit)

    page = run(work)
    if as_json:
        print_json(list(page.events))
        return
    columns = ["event", "number", "source", "type", "key", "received", "state"]
    rows = [[one.id, one.seq, one.source, one.type, one.key, one.received_at, one.state] for one in page.events]
    print_table("Events", columns, rows)
    if page.before is not None:
        say(f"There are more: --before {page.before}")


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

    Example: hub events show 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10
    """
    if payload:
        sys.stdout.buffer.write(run(lambda: _payload(event, corrected)))
        sys.stdout.buffer.flush()
        return

    async def work() -> tuple[EventDetails, str | None]:
        async with looking() as hub:
            details = await show_event(
                hub.store, event, hub.wiring.config.sources, now=hub.clock.now(), provider_of=hub.wiring.provider_of
            )
            body = await payload_of(hub.store, str(details.id)) if raw else None
            return details, None if body is None else body.decode("utf-8", "replace")

    details, text = run(work)
    if as_json:
        print_json(details_as_json(details, payload=text))
    else:
        print_details(details, payload=text)


async def _payload(event: str, corrected: bool) -> bytes:
    async with looking() as hub:
        return await payload_of(hub.store, event, corrected=corrected)


@group.command("replay")
def replay_events(
    events: Annotated[list[str], typer.Argument(metavar="EVENT_ID...", help="Ids of events or their beginnings.")],
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Route events by today's rules and run what never ran, was parked or refused; what is done is never run again.

    Exit 1 when an event still cannot be read.

    Example: hub events replay 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10 --apply
    """

    async def work() -> list[Pair]:
        async with looking() as hub:
            rules = TodaysRules(hub.wiring.drafter, await hub.route_ids())
            who = actor(by) if apply else ""
            return await replay(hub.store, hub.clock, events, rules, apply=apply, actor=who, reason=reason)

    pairs = run(work)
    if as_json:
        print_json({"applied": apply, "pairs": pairs})
    else:
        rows = [[one.event_id, one.route, one.verdict, one.state, one.detail] for one in pairs]
        print_table("Replay", ["event", "route", "verdict", "state", "detail"], rows, empty="no route takes it")
        if not apply:
            say("Nothing was done. To do it, add --apply.")
    if any(one.verdict == "unreadable" for one in pairs):
        raise typer.Exit(EXIT_PROBLEM)


def _since(text: str) -> datetime:
    """A time, or a duration before now. Raises UsageError."""
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since: expected 2026-01-31T12:00Z, 90m or 2d, found {text!r}") from None
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
