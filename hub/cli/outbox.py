"""``hub outbox``: messages that cannot be sent as things are."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import ByOption, LimitOption, ReasonOption, actor, expect_known
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.outbox.parked import ParkedMessage, discard_message, parked_messages, retry_message

group = new_group("Messages that could not be sent: retry or discard them.")

NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The message's number in the outbox.")]


@group.command("parked")
def list_parked(
    destination: Annotated[str | None, typer.Option(help="Only messages for this destination.")] = None,
    after: Annotated[int, typer.Option(help="Only those behind this number, to turn the page.")] = 0,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the messages that no queue takes; each holds back what waits behind it for the same key.

    Example: hub outbox parked --destination loyalty
    """

    async def work() -> list[ParkedMessage]:
        async with looking() as hub:
            found = await parked_messages(hub.store, destination=destination, after_seq=after, limit=limit)
            if not found:
                expect_known("--destination", destination, hub.wiring.destinations)
            return found

    found = run(work)
    if as_json:
        print_json(found)
        return
    rows = [
        [one.seq, one.destination, one.routing_key, one.created_at, one.attempts, one.behind, one.reason]
        for one in found
    ]
    columns = ["number", "destination", "routing key", "created", "attempts", "behind it", "reason"]
    print_table("Parked messages", columns, rows)


@group.command("retry")
def retry(number: NumberArgument, by: ByOption = "", reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Send a parked message again under its own id, and what waits behind it after it.

    Example: hub outbox retry 1204
    """

    async def work() -> None:
        async with looking() as hub:
            await retry_message(hub.store, hub.clock, number, actor=actor(by), reason=reason)

    run(work)
    _print_done(number, "retried", as_json)


@group.command("discard")
def discard(number: NumberArgument, by: ByOption = "", reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Give a parked message up for good; what waits behind it goes on.

    Example: hub outbox discard 1204 --reason "the partner has left"
    """

    async def work() -> None:
        async with looking() as hub:
            await discard_message(hub.store, hub.clock, number, actor=actor(by), reason=reason)

    run(work)
    _print_done(number, "discarded", as_json)


def _print_done(number: int, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"number": number, "done": what})
    else:
        say(f"Message {number}: {what}")
