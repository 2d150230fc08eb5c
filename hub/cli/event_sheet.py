"""One event on one sheet: for people as sections, for programs as one object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hub.cli.entries import ENTRY_COLUMNS, entry_as_json, entry_rows
from hub.cli.output import print_table, say, text_of
from hub.operate.event_view import DeliveryDetails, EventDetails


def details_as_json(details: EventDetails, *, payload: str | None = None) -> Mapping[str, Any]:
    """Everything; ``payload`` is the text without masking, where it was asked for."""
    shown = {field.name: getattr(details, field.name) for field in dataclasses.fields(details)}
    shown["postings"] = [entry_as_json(one) for one in details.postings]
    shown["tags"] = [{"name": name, "value": value} for name, value in details.tags]
    if payload is not None:
        shown["content"] = dataclasses.replace(details.content, text=payload)
    return shown


def print_details(details: EventDetails, *, payload: str | None = None) -> None:
    """The sheet; sections without a row are left out."""
    _print_head(details)
    _section("Headers", ["name", "value"], details.headers.items())
    say("")
    say("Payload")
    say(details.content.text if payload is None else payload)
    say("")
    columns = ["delivery", "route", "state", "outcome", "attempts", "next", "note"]
    print_table("Deliveries", columns, [_delivery(one) for one in details.deliveries], empty="no route took it")
    _print_work(details)
    _print_effects(details)
    _print_history(details)


def _print_head(details: EventDetails) -> None:
    rows: list[tuple[str, object]] = [
        ("state", details.state),
        ("stands still", "; ".join(details.standing_still)),
        ("archived in", ", ".join(details.archived_in)),
        ("problem", details.problem),
        ("source", details.source),
        ("type", details.type),
        ("key", details.key),
        ("waits also for", ", ".join(details.after)),
        ("dedupe id", details.dedupe_id),
        ("message id", details.message_id),
        ("occurred", details.occurred_at),
        ("received", details.received_at),
        ("sender", details.verdict),
        ("trace", details.trace_id),
        ("caused by", details.cause),
        ("number", details.seq),
        ("content", f"{details.content_type}, {details.content.payload_bytes} bytes, sha256 {details.content.sha256}"),
    ]
    say(f"Event {details.id}")
    for name, value in rows:
        if value not in (None, ""):
            say(f"  {name:<15} {text_of(value)}")


def _delivery(one: DeliveryDetails) -> list[object]:
    note = one.reason
    if one.waits_behind is not None:
        note = f"waiting behind {one.waits_behind}"
    elif one.review is not None:
        note = f"review ({one.review.state}): {one.review.reason}"
    return [one.id, one.route, one.state, one.outcome, one.attempts, one.next_at, note]


def _print_work(details: EventDetails) -> None:
    _section(
        "Failed attempts",
        ["route", "started", "took ms", "error"],
        (
            (delivery.route, one.started_at, f"{one.duration_ms:.0f}", one.error)
            for delivery in details.deliveries
            for one in delivery.failed
        ),
    )
    _section(
        "Calls",
        ["route", "provider", "step", "state", "key", "started", "settled"],
        (
            (
                delivery.route,
                one.provider,
                f"{one.step}#{one.number}",
                one.state,
                one.key,
                one.started_at,
                one.settled_at,
            )
            for delivery in details.deliveries
            for one in delivery.calls
        ),
    )


def _print_effects(details: EventDetails) -> None:
    _section("Postings", ENTRY_COLUMNS, (row for one in details.postings for row in entry_rows(one)))
    _section(
        "Messages",
        ["number", "destination", "routing key", "message id", "state", "sent", "note"],
        (
            (one.seq, one.destination, one.routing_key, one.message_id, one.state, one.sent_at, one.reason)
            for one in details.messages
        ),
    )
    _section("Tags", ["name", "value"], details.tags)
    _section("Timers", ["due", "type", "key"], ((one.due_at, one.type, one.key) for one in details.timers))
    _section(
        "Other events of its trace",
        ["event", "source", "type", "received", "caused by"],
        ((one.id, one.source, one.type, one.received_at, one.cause) for one in details.trace),
    )


def _print_history(details: EventDetails) -> None:
    _section("Repeats", ["received"], ((at,) for at in details.duplicates))
    _section(
        "Conflicts",
        ["conflict", "received", "state", "content"],
        ((one.id, one.received_at, one.state, one.content.text) for one in details.conflicts),
    )
    _section(
        "Corrections",
        ["number", "at", "by", "reason", "content"],
        ((one.number, one.corrected_at, one.corrected_by, one.reason, one.content.text) for one in details.corrections),
    )
    _section(
        "What people did",
        ["at", "who", "what", "why"],
        ((one.at, one.actor, one.action, one.reason) for one in details.operations),
    )


def _section(title: str, columns: Any, rows: Any) -> None:
    found = [list(row) for row in rows]
    if found:
        say("")
        print_table(title, columns, found)
