"""``hub conflicts``: messages under the identity of an accepted event, with other content."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import looking
from hub.cli.options import AllOption, ByOption, LimitOption, NoteOption, actor, as_uuid
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.operate.conflicts import Conflict, list_conflicts, resolve_conflict

group = new_group("Events that came again under one id with other content.")


@group.command("list")
def show_conflicts(
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    every: AllOption = False,
    after: Annotated[str | None, typer.Option(help="Only those behind this id, to turn the page.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List the conflicts, oldest first; hub events show of their event shows both contents.

    Example: hub conflicts list
    """

    async def work() -> list[Conflict]:
        behind = as_uuid(after, "--after") if after is not None else None
        state: Literal["open"] | None = None if every else "open"
        async with looking() as hub:
            return await list_conflicts(hub.store, state=state, source=source, after=behind, limit=limit)

    found = run(work)
    if as_json:
        print_json(found)
        return
    rows = [
        [one.id, one.event_id, one.source, one.received_at, one.payload_bytes, one.state, one.note] for one in found
    ]
    print_table("Conflicts", ["conflict", "event", "source", "received", "bytes", "state", "note"], rows)
    if found and len(found) == limit:
        say(f"There may be more: --after {found[-1].id}")


@group.command("resolve")
def resolve(
    conflict: Annotated[str, typer.Argument(metavar="CONFLICT", help="The conflict's id or its beginning.")],
    note: NoteOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Close a conflict with a note that says what was decided; nothing is run.

    Example: hub conflicts resolve 0197f3a2-5c41 --note "the first one holds, says the provider"
    """

    async def work() -> UUID:
        async with looking() as hub:
            return await resolve_conflict(hub.store, hub.clock, conflict, actor=actor(by), note=note)

    closed = run(work)
    if as_json:
        print_json({"resolved": closed})
    else:
        say(f"Resolved: {closed}")
