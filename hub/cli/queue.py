"""``hub queue``: look into the embedded queues without consuming them, and acknowledge by exact id."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from hub.cli.lazy import new_group
from hub.cli.masking import shown_payload
from hub.cli.opening import Look, looking
from hub.cli.options import RawOption
from hub.cli.output import JsonOption, plain, print_json, print_table, run, say
from hub.errors import UsageError
from hub.transports import QueuedMessage, QueueInfo, QueueReader, open_transport

group = new_group("Look into the queues, and acknowledge by hand.")

TABLE_LIMIT = 50
"""How many messages a table shows where no number is given; JSON shows all."""
PAGE = 500
FOLLOW_S = 0.5
"""How often a follower looks for new messages."""


@group.command("list")
def list_queues(as_json: JsonOption = False) -> None:
    """List the queues with the number of messages in each.

    Example: hub queue list
    """

    async def work() -> list[QueueInfo]:
        async with looking() as hub, _reader(hub) as reader:
            return await reader.queue_list()

    queues = run(work)
    if as_json:
        print_json(queues)
        return
    rows = [
        [
            one.name,
            "unknown" if one.messages is None else one.messages,
            one.oldest_at,
            "" if one.is_declared else "no longer in routing.yaml",
        ]
        for one in queues
    ]
    print_table("Queues", ["queue", "messages", "oldest", "note"], rows)


@group.command("read")
def read_queue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The queue.")],
    more_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Further ids for --ack.")] = None,
    *,
    ack: Annotated[
        list[str] | None, typer.Option("--ack", metavar="ID", help="Remove exactly these messages instead of reading.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new messages until stopped.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"How many at most. Default: {TABLE_LIMIT}; all with --json.")
    ] = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the messages of a queue, which stay there until they are acknowledged.

    With --json: a list of {message_id, routing_key, headers, payload_base64}; with --follow one such object per line.

    Example: hub queue read orders.paid --follow

    Example: hub queue read orders.paid --ack 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10
    """
    if ack:
        _acknowledge(name, [*ack, *(more_ids or ())], as_json)
    elif more_ids:
        run(_refuse_ids)
    elif follow:
        _follow(name, limit, raw, as_json)
    else:
        _read(name, limit if limit is not None or as_json else TABLE_LIMIT, raw, as_json)


async def _refuse_ids() -> None:
    raise UsageError("ids are given to acknowledge messages: write --ack before them")


def _acknowledge(name: str, ids: Sequence[str], as_json: bool) -> None:
    async def work() -> list[str]:
        async with looking() as hub, _reader(hub) as reader:
            return await reader.queue_ack(name, ids)

    done = run(work)
    missing = [one for one in dict.fromkeys(ids) if one not in set(done)]
    if as_json:
        print_json({"acknowledged": done, "not_in_queue": missing})
        return
    say(f"Acknowledged in {name}: {len(done)}")
    for one in missing:
        say(f"  {one} is not in the queue: acknowledged before, or never there")


def _read(name: str, limit: int | None, raw: bool, as_json: bool) -> None:
    async def work() -> tuple[list[QueuedMessage], list[list[object]], int | None]:
        async with looking() as hub, _reader(hub) as reader:
            messages: list[QueuedMessage] = []
            async for page in _pages(reader, name, limit):
                messages += page
            total = next((one.messages for one in await reader.queue_list() if one.name == name), 0)
            return messages, [] if as_json else [_row(hub, one, raw) for one in messages], total

    messages, rows, total = run(work)
    if as_json:
        print_json([_as_json(one) for one in messages])
        return
    print_table(name, ["message id", "routing key", "published", "payload"], rows, empty="no messages")
    if total is not None and total > len(messages):
        say(f"{total - len(messages)} more: --limit {total}")


async def _pages(reader: QueueReader, name: str, limit: int | None) -> AsyncIterator[Sequence[QueuedMessage]]:
    last, left = 0, limit
    while left is None or left > 0:
        page = await reader.queue_read(name, limit=PAGE if left is None else min(PAGE, left), after_id=last)
        if not page:
            return
        yield page
        last = page[-1].id
        left = None if left is None else left - len(page)


def _follow(name: str, limit: int | None, raw: bool, as_json: bool) -> None:
    async def work() -> None:
        left, last = limit, 0
        async with looking() as hub, _reader(hub) as reader:
            while left is None or left > 0:
                page = await reader.queue_read(name, limit=min(PAGE, left or PAGE), after_id=last)
                for message in page:
                    _print_line(hub, message, raw, as_json)
                if page:
                    last = page[-1].id
                    left = None if left is None else left - len(page)
                else:
                    await asyncio.sleep(FOLLOW_S)

    try:
        run(work)
    except KeyboardInterrupt:
        # The way to stop following; nothing went wrong.
        raise typer.Exit from None


def _print_line(hub: Look, message: QueuedMessage, raw: bool, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(_as_json(message), default=plain, ensure_ascii=False) + "\n")
    else:
        say("  ".join(str(cell) for cell in _row(hub, message, raw)))
    sys.stdout.flush()


def _as_json(message: QueuedMessage) -> Mapping[str, Any]:
    return {
        "message_id": message.message_id,
        "routing_key": message.routing_key,
        "headers": dict(message.headers),
        "payload_base64": base64.b64encode(message.payload).decode(),
    }


def _row(hub: Look, message: QueuedMessage, raw: bool) -> list[object]:
    payload = shown_payload(message.payload, hub.wiring.config.sources, raw=raw)
    return [message.message_id, message.routing_key, message.published_at.strftime("%Y-%m-%d %H:%M:%SZ"), payload]


@asynccontextmanager
async def _reader(hub: Look) -> AsyncIterator[QueueReader]:
    """What reads the queues. Raises UsageError where they live at a broker."""
    transport = open_transport(hub.settings.broker, hub.store, hub.clock)
    try:
        if not isinstance(transport, QueueReader):
            raise UsageError("these queues are the broker's: look at them with its own tools")
        yield transport
    finally:
        await transport.close()
