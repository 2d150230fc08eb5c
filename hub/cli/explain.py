"""``hub explain``: what the hub would do with an event, clause by clause, and what it did with one that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.opening import opened
from hub.cli.options import HeaderOption, RawOption
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.cli.received import received_from
from hub.errors import UsageError
from hub.explain import Explanation, explain_event, explain_message, sections
from hub.operate.lookup import id_range


def explain(
    target: Annotated[
        str, typer.Argument(metavar="FILE|EVENT_ID", help="A payload, - for standard input, or an event's id.")
    ],
    *,
    source: Annotated[str | None, typer.Option(help="For a file: the source that would send it.")] = None,
    type_: Annotated[str, typer.Option("--type", help="For a file: the type, as the routing key.")] = "",
    message_id: Annotated[str, typer.Option("--id", help="For a file: the message id.")] = "",
    header: HeaderOption = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the hub would do with an event, and why, without doing it.

    Shows its identity, every rule with the clause that failed, and a dry run of its handlers: postings, messages and
    calls, rolled back and not sent. Exit 1 when it cannot be read, no route takes it, or a handler would fail.

    Example: hub explain order.json --source shop --type order.paid

    Example: hub explain 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10
    """

    async def work() -> Explanation:
        is_file = _is_file(target, source)
        async with opened(needs_secrets=False) as hub:
            if not is_file:
                return await explain_event(hub, target)
            received = received_from(
                target,
                source=source or "",
                sources=hub.wiring.drafter.sources,
                type_=type_,
                message_id=message_id,
                header=header,
            )
            return await explain_message(hub, received)

    explanation = run(work)
    if as_json:
        print_json(explanation.to_dict(raw=raw))
    else:
        for section in sections(explanation, raw=raw):
            print_table(section.title, section.columns, section.rows, empty=section.empty)
            say("")
    if not explanation.ok:
        raise typer.Exit(EXIT_PROBLEM)


def _is_file(target: str, source: str | None) -> bool:
    """Whether a file is meant. Raises UsageError when it can be neither, or when its source is not named."""
    if target == "-" or source is not None or Path(target).exists():
        if source is None:
            raise UsageError(f"{target} is a file: name the source that would send it, with --source")
        return True
    try:
        id_range(target)
    except UsageError as error:
        raise UsageError(f"{target} is neither a file that is there nor the id of an event") from error
    return False
